"""Sums with weights that are no softmax: sigmoids of scores, scores, or these divided by the sum of a row.

As softmax goes, one program per query tile, first over full key tiles, then over partial ones; no maximum is
needed, and nothing is scaled anew on the way.
"""

# Triton takes defaults for constants.
# pyright: reportArgumentType=false

from __future__ import annotations

from attndsl_codegen.kernels.triton.forward import factors_of
from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import read_rows, slot_places, write_rows
from attndsl_codegen.kernels.triton.support import jit, tl
from attndsl_codegen.kernels.triton.visits import first_tile, next_tile, row_of, tiles_seen, turn_of


@jit
def weights_of_scores(s, seen, NORMALIZE: tl.constexpr):
    """Weights before any division; zero where a key is hidden."""
    if NORMALIZE == "sigmoid":
        return tl.where(seen, 1.0 / (1.0 + tl.exp2(s * -1.4426950408889634)), 0.0)  # 1 / log(2)
    else:  # noqa: RET505  # Triton decides branches that exclude each other
        return tl.where(seen, s, 0.0)


@jit
def kept_from_zero(total):
    """A divisor of at least 1e-6; its sign is kept."""
    return tl.where(tl.abs(total) < 1e-6, tl.where(total < 0.0, -1e-6, 1e-6), total)


@jit
def weighted_forward_kernel(
    q,
    k,
    v,
    out,
    divisors,
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
    NORMALIZE: tl.constexpr,
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
    """Output of one query tile, and what its rows are divided by; arguments as of the softmax kernel.

    Args:
        divisors: per query, float32; 1 where rows are not divided.
        NORMALIZE: `sigmoid`, `none`, or `linear`: divided by the sum of the row.
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
    divisor = tl.full([QUERIES], 0.0 if NORMALIZE == "linear" else 1.0, tl.float32)
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
            seen = s != float("-inf")
            if MASKED:
                seen = seen & WHERE(i, j, batch, head, env) & key_exists
            weight = weights_of_scores(s, seen, NORMALIZE)
            if NORMALIZE == "linear":
                divisor += tl.sum(weight, 1)
            if TIMES is not None:
                weight *= factors_of(seen, i, j, batch, head, env, TIMES)
            key_token, key_exists = tl.trans(key_token), tl.trans(key_exists)
            z = read_rows(v, strides[2], batch, kv_head, key_token, key_exists, value_across, VALUE_WIDTH)
            mixed += tl.dot(weight.to(z.dtype), z, input_precision=PRECISION)
            key_tile, left, run = next_tile(key_tile, left, run, visits, SEEN)
    if NORMALIZE == "linear":
        divisor = kept_from_zero(divisor)
        mixed = mixed / divisor[:, None]
    write_rows(mixed, out, strides[3], batch, head, token, exists, value_across, VALUE_WIDTH)
    number = (batch.to(tl.int64) * sizes[2] + head) * plain(sizes[1]) + token
    tl.store(divisors + number, divisor[:, None], mask=exists)
