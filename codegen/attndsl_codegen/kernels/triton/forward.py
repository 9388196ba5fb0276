"""Softmax attention forward: one program per query tile, first over full key tiles, then over partial ones.

Exponentials are in base 2, sums and maxima in float32. `lse` is in natural logarithms.
"""

# Triton takes defaults for constants.
# pyright: reportArgumentType=false

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import read_rows, slot_places, write_rows
from attndsl_codegen.kernels.triton.support import jit, tl
from attndsl_codegen.kernels.triton.visits import first_tile, next_tile, row_of, tiles_seen, turn_of


@jit
def factors_of(seen, i, j, batch, head, env, TIMES: tl.constexpr):
    """Factors of weights: those of hidden pairs may be anything."""
    return tl.where(seen, TIMES(i, j, batch, head, env), 0.0)


@jit
def next_weights(s, top, total):
    """Weights of scores to base 2 beside the largest so far, the factor by which earlier sums shrink, and the
    new maxima and sums of rows."""
    new_top = tl.maximum(top, tl.max(s, 1))
    safe = tl.where(new_top == float("-inf"), 0.0, new_top)
    weight = tl.exp2(s - safe[:, None])
    shrunk = tl.exp2(top - safe)
    return weight, shrunk, new_top, total * shrunk + tl.sum(weight, 1)


@jit
def divisor_and_lse(top, total):
    """What rows are divided by, and their natural log-sum-exps: minus infinity for rows without a key."""
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    return total, tl.where(empty, float("-inf"), (top + tl.log2(total)) * 0.6931471805599453)  # log(2)


@jit
def softmax_forward_kernel(
    q,
    k,
    v,
    out,
    lse,
    strides,
    sizes,
    extents,
    env,
    scale,
    visits,
    orders,
    WHERE: tl.constexpr,
    SHAPE: tl.constexpr,
    TIMES: tl.constexpr,
    QUERY_TILE: tl.constexpr,
    KEY_TILE: tl.constexpr,
    QUERY_STEP: tl.constexpr,
    KEY_STEP: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUE_CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    ORDERED: tl.constexpr,
    SEEN: tl.constexpr = None,
    LAST_FIRST: tl.constexpr = False,
):
    """Output and log-sum-exp of one query tile.

    Args:
        strides: of q, k, v and out, each (batch, head, token), see `row_steps`.
        sizes: query tiles, query tokens, heads, query heads per key head; tiles and tokens as for `plain`.
        extents: of queries and of keys, as for `plain`.
        env: what the hooks read.
        visits: the tables of a schedule, see `visits.py`; None where a query tile sees a range of keys.
        orders: None, or where schedules are of tokens in an order: that of queries and that of keys, see
            `ordered_places`; whether all tokens are in their places, 0 or 1; and the steps of layers.
        WHERE, SHAPE, TIMES, SEEN: hooks; those that an attend does not need are None.
        LAST_FIRST: whether later query tiles see more.
        QUERIES, KEYS: slots of a tile.
        CHANNELS, VALUE_CHANNELS: widths rounded up to what a product of tiles takes.
        ORDERED: whether `orders` are read, or None if there are none. Of the launches that do and that do not
            one does the work.
    """
    if ORDERED is not None:  # noqa: SIM102  # Triton would load from None
        if tl.load(orders[2]) == ORDERED:  # the other launch computes it
            return
    tile, head, batch = turn_of(visits, sizes, SEEN, LAST_FIRST)
    kv_head = head // sizes[3]
    slot, key_slot = tl.arange(0, QUERIES)[:, None], tl.arange(0, KEYS)[None, :]
    across, down = tl.arange(0, CHANNELS)[None, :], tl.arange(0, CHANNELS)[:, None]
    value_across = tl.arange(0, VALUE_CHANNELS)[None, :]
    i, token, exists = slot_places(
        tile, slot, extents[0], QUERY_TILE, QUERY_STEP, orders, batch, head, 0, ORDERED
    )
    x = read_rows(q, strides[0], batch, head, token, exists, across, WIDTH)
    top, total = tl.full([QUERIES], float("-inf"), tl.float32), tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, VALUE_CHANNELS], tl.float32)
    visited = (
        row_of(tile, batch, head, visits)
        if SEEN is None
        else tiles_seen(tile, head, extents[0], extents[1], env, SEEN, QUERIES, KEYS)
    )
    for MASKED in tl.static_range(2):
        count, key_tile, left, run = first_tile(visited, visits, MASKED, SEEN)
        for _ in range(count):
            j, key_token, key_exists = slot_places(
                key_tile, key_slot, extents[1], KEY_TILE, KEY_STEP, orders, batch, head, 1, ORDERED
            )
            y = read_rows(k, strides[1], batch, kv_head, key_token, key_exists, down, WIDTH)
            s = tl.dot(x, y, input_precision=PRECISION) * scale
            if SHAPE is not None:
                s = SHAPE(s, i, j, batch, head, env)
            s = s * 1.4426950408889634  # 1 / log(2)
            if MASKED:
                s = tl.where(WHERE(i, j, batch, head, env) & key_exists, s, float("-inf"))
            weight, shrunk, top, total = next_weights(s, top, total)
            if TIMES is not None:
                weight *= factors_of(weight > 0.0, i, j, batch, head, env, TIMES)
            key_token, key_exists = tl.trans(key_token), tl.trans(key_exists)
            z = read_rows(v, strides[2], batch, kv_head, key_token, key_exists, value_across, VALUE_WIDTH)
            mixed = mixed * shrunk[:, None] + tl.dot(weight.to(z.dtype), z, input_precision=PRECISION)
            key_tile, left, run = next_tile(key_tile, left, run, visits, SEEN)
    divisor, natural = divisor_and_lse(top, total)
    mixed = mixed / divisor[:, None]
    write_rows(mixed, out, strides[3], batch, head, token, exists, value_across, VALUE_WIDTH)
    number = (batch.to(tl.int64) * sizes[2] + head) * plain(sizes[1]) + token
    tl.store(lse + number, natural[:, None], mask=exists)
