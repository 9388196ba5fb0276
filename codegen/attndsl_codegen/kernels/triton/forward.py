"""Softmax attention forward: one program per query tile, first over full key tiles, then over partial ones.

Exponentials are in base 2, sums and maxima in float32. `lse` is in natural logarithms.
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import (
    first_tile,
    next_tile,
    ordered_places,
    rows_at,
    slot_places,
    turn_of,
)
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def factors_of(seen, i, j, batch, head, env, TIMES: tl.constexpr):
    """Factors of weights: those of hidden pairs may be anything."""
    return tl.where(seen, TIMES(i, j, batch, head, env), 0.0)


@jit
def softmax_forward_kernel(
    q,
    k,
    v,
    out,
    lse,
    strides,
    rows,
    runs,
    turns,
    sizes,
    extents,
    env,
    scale,
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
):
    """Output and log-sum-exp of one query tile.

    Args:
        strides: of q, k, v and out, each (batch, head, token), see `row_steps`.
        rows: per query tile the first run and the number of tiles, of full tiles and of partial ones.
        runs: the first key tile and the length of every run.
        turns: the query tiles in the order in which programs take them.
        sizes: query tiles, query tokens, heads, query heads per key head, and the steps of `rows` by batch
            element and head; all but the numbers of heads as for `plain`.
        extents: of queries and of keys, as for `plain`.
        env: what the hooks read.
        orders: None, or where schedules are of tokens in an order: that of queries and that of keys, see
            `ordered_places`; whether all tokens are in their places, 0 or 1; and the steps of layers.
        WHERE, SHAPE, TIMES: hooks; SHAPE is None if scores are plain products, TIMES if there are no factors.
        QUERIES, KEYS: slots of a tile.
        CHANNELS, VALUE_CHANNELS: widths rounded up to what a product of tiles takes.
        ORDERED: whether `orders` are read, or None if there are none. Of the launches that do and that do not
            one does the work.
    """
    if ORDERED is not None:  # noqa: SIM102  # Triton would load from None
        if tl.load(orders[2]) == ORDERED:  # the other launch computes it
            return
    tile, head, batch = turn_of(turns, sizes)
    tokens = plain(sizes[1])
    slot = tl.arange(0, QUERIES)[:, None]
    if ORDERED:
        i, token, exists = ordered_places(tile, slot, extents[0], orders[0], orders[3], batch, head, QUERIES)
    else:
        i, token, exists = slot_places(tile, slot, extents[0], QUERY_TILE, QUERY_STEP)
    channel = tl.arange(0, CHANNELS)[None, :]
    queries = rows_at(q, strides[0], batch, head, token, channel)
    x = tl.load(queries, mask=exists & (channel < WIDTH), other=0.0)
    top, total = tl.full([QUERIES], float("-inf"), tl.float32), tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, VALUE_CHANNELS], tl.float32)
    row = rows + 4 * (batch * plain(sizes[4]) + head * plain(sizes[5]) + tile)
    for MASKED in tl.static_range(2):
        run = tl.load(row + 2 * MASKED)
        count = tl.load(row + 2 * MASKED + 1)
        key_tile, left = first_tile(runs, run)
        for _ in range(count):
            key_slot = tl.arange(0, KEYS)[None, :]
            if ORDERED:
                j, key_token, key_exists = ordered_places(
                    key_tile, key_slot, extents[1], orders[1], orders[3], batch, head, KEYS
                )
            else:
                j, key_token, key_exists = slot_places(key_tile, key_slot, extents[1], KEY_TILE, KEY_STEP)
            kv_head = head // sizes[3]
            down = tl.arange(0, CHANNELS)[:, None]
            keys = rows_at(k, strides[1], batch, kv_head, key_token, down)
            y = tl.load(keys, mask=key_exists & (down < WIDTH), other=0.0)
            s = tl.dot(x, y, input_precision=PRECISION) * scale
            if SHAPE is not None:
                s = SHAPE(s, i, j, batch, head, env)
            s = s * 1.4426950408889634  # 1 / log(2)
            if MASKED:
                s = tl.where(WHERE(i, j, batch, head, env) & key_exists, s, float("-inf"))
            new_top = tl.maximum(top, tl.max(s, 1))
            safe = tl.where(new_top == float("-inf"), 0.0, new_top)
            weight = tl.exp2(s - safe[:, None])
            shrunk = tl.exp2(top - safe)
            total = total * shrunk + tl.sum(weight, 1)
            if TIMES is not None:
                weight *= factors_of(weight > 0.0, i, j, batch, head, env, TIMES)
            across = tl.arange(0, VALUE_CHANNELS)[None, :]
            values = rows_at(v, strides[2], batch, kv_head, tl.trans(key_token), across)
            z = tl.load(values, mask=tl.trans(key_exists) & (across < VALUE_WIDTH), other=0.0)
            mixed = mixed * shrunk[:, None] + tl.dot(weight.to(z.dtype), z, input_precision=PRECISION)
            top = new_top
            run, key_tile, left = next_tile(runs, run, key_tile, left)
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    across = tl.arange(0, VALUE_CHANNELS)[None, :]
    results = rows_at(out, strides[3], batch, head, token, across)
    mixed = (mixed / total[:, None]).to(out.dtype.element_ty)
    tl.store(results, mixed, mask=exists & (across < VALUE_WIDTH))
    natural = tl.where(empty, float("-inf"), (top + tl.log2(total)) * 0.6931471805599453)
    sums = lse + (batch.to(tl.int64) * sizes[2] + head) * tokens + token
    tl.store(sums, natural[:, None], mask=exists)
