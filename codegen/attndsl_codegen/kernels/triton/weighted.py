"""Sums with weights that are no softmax: sigmoids of scores, scores, or these divided by the sum of a row.

As softmax goes, one program per query tile, first over full key tiles, then over partial ones; no maximum is
needed, and nothing is scaled anew on the way.
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.forward import factors_of
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
):
    """Output of one query tile, and what its rows are divided by; arguments as of the softmax kernel.

    Args:
        divisors: per query, float32; 1 where rows are not divided.
        NORMALIZE: `sigmoid`, `none`, or `linear`: divided by the sum of the row.
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
    divisor = tl.full([QUERIES], 0.0 if NORMALIZE == "linear" else 1.0, tl.float32)
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
            seen = s != float("-inf")
            if MASKED:
                seen = seen & WHERE(i, j, batch, head, env) & key_exists
            weight = weights_of_scores(s, seen, NORMALIZE)
            if NORMALIZE == "linear":
                divisor += tl.sum(weight, 1)
            if TIMES is not None:
                weight *= factors_of(seen, i, j, batch, head, env, TIMES)
            across = tl.arange(0, VALUE_CHANNELS)[None, :]
            values = rows_at(v, strides[2], batch, kv_head, tl.trans(key_token), across)
            z = tl.load(values, mask=tl.trans(key_exists) & (across < VALUE_WIDTH), other=0.0)
            mixed += tl.dot(weight.to(z.dtype), z, input_precision=PRECISION)
            run, key_tile, left = next_tile(runs, run, key_tile, left)
    if NORMALIZE == "linear":
        divisor = kept_from_zero(divisor)
        mixed = mixed / divisor[:, None]
    across = tl.arange(0, VALUE_CHANNELS)[None, :]
    results = rows_at(out, strides[3], batch, head, token, across)
    tl.store(results, mixed.to(out.dtype.element_ty), mask=exists & (across < VALUE_WIDTH))
    sums = divisors + (batch.to(tl.int64) * sizes[2] + head) * tokens + token
    tl.store(sums, divisor[:, None], mask=exists)
