"""Gradients of attention: queries from the schedule, keys and values from its transpose.

Both recompute the weights from the log-sum-exp (of weights that are no softmax: from divisors), and gather:
nothing is added to memory that another program writes, so gradients are the same in every run.
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
from attndsl_codegen.kernels.triton.weighted import weights_of_scores


@jit
def sums_of_rows(lse, delta, number, exists):
    """What weights need of their rows, plus infinity for rows without a key, and what `delta` holds."""
    row_lse = tl.load(lse + number, mask=exists, other=float("inf"))
    row_lse = tl.where(row_lse == float("-inf"), float("inf"), row_lse)
    return row_lse, tl.load(delta + number, mask=exists, other=0.0)


@jit
def weights_and_slopes(
    s,
    row_lse,
    visible,
    i,
    j,
    batch,
    head,
    env,
    SHAPE: tl.constexpr,
    SLOPE: tl.constexpr,
    NORMALIZE: tl.constexpr,
):
    """Weights, how they change with shaped scores, how these change with raw ones, and which pairs count.

    A weight changes by its own score; what that takes from the others of the row, `delta` holds. Nothing of
    hidden pairs changes.

    Args:
        row_lse: natural log-sum-exps, or divisors; plus infinity for rows without a key.
    """
    shaped = s if SHAPE is None else SHAPE(s, i, j, batch, head, env)
    if NORMALIZE == "softmax":
        weight = tl.exp2((tl.where(visible, shaped, float("-inf")) - row_lse) * 1.4426950408889634)
        change, counts = weight, weight > 0.0
    else:
        counts = visible & (shaped != float("-inf")) & (row_lse != float("inf"))
        weight = weights_of_scores(shaped, counts, NORMALIZE)
        if NORMALIZE == "sigmoid":
            change = weight * (1.0 - weight)
        else:
            change = tl.where(counts, 1.0 / row_lse, 0.0)
            weight *= change
    slope = visible.to(tl.float32)
    if SLOPE is not None:
        seen = visible & (shaped != float("-inf"))
        slope = tl.where(seen, SLOPE(s, i, j, batch, head, env), 0.0)
    return weight, change, slope, counts


@jit
def softmax_query_gradient_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    grad_q,
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
    SLOPE: tl.constexpr,
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
    """The gradient of one query tile; arguments as in the forward kernel.

    Args:
        strides: of q, k, v, grad_out and grad_q.
        lse: natural log-sum-exps; where weights are no softmax, divisors.
        delta: per query the sum of grad_out * out, less the gradient of the log-sum-exp; zero where rows are
            not divided.
    """
    if ORDERED is not None:  # noqa: SIM102  # Triton would load from None
        if tl.load(orders[2]) == ORDERED:  # the other launch computes it
            return
    tile, head, batch = turn_of(turns, sizes)
    tokens = plain(sizes[1])
    kv_head = head // sizes[3]
    slot = tl.arange(0, QUERIES)[:, None]
    if ORDERED:
        i, token, exists = ordered_places(tile, slot, extents[0], orders[0], orders[3], batch, head, QUERIES)
    else:
        i, token, exists = slot_places(tile, slot, extents[0], QUERY_TILE, QUERY_STEP)
    across = tl.arange(0, CHANNELS)[None, :]
    value_across = tl.arange(0, VALUE_CHANNELS)[None, :]
    x = tl.load(rows_at(q, strides[0], batch, head, token, across), mask=exists & (across < WIDTH), other=0.0)
    upstream = rows_at(grad_out, strides[3], batch, head, token, value_across)
    g = tl.load(upstream, mask=exists & (value_across < VALUE_WIDTH), other=0.0)
    number = (batch.to(tl.int64) * sizes[2] + head) * tokens + token
    row_lse, row_delta = sums_of_rows(lse, delta, number, exists)
    found = tl.zeros([QUERIES, CHANNELS], tl.float32)
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
            down = tl.arange(0, CHANNELS)[:, None]
            keys = rows_at(k, strides[1], batch, kv_head, key_token, down)
            y = tl.load(keys, mask=key_exists & (down < WIDTH), other=0.0)
            value_down = tl.arange(0, VALUE_CHANNELS)[:, None]
            values = rows_at(v, strides[2], batch, kv_head, key_token, value_down)
            z = tl.load(values, mask=key_exists & (value_down < VALUE_WIDTH), other=0.0)
            s = tl.dot(x, y, input_precision=PRECISION) * scale
            visible = tl.full([QUERIES, KEYS], True, tl.int1)
            if MASKED:
                visible = WHERE(i, j, batch, head, env) & key_exists & visible
            change, slope, counts = weights_and_slopes(
                s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, NORMALIZE
            )[1:]
            sent = tl.dot(g, z, input_precision=PRECISION)
            if TIMES is not None:
                sent *= factors_of(counts, i, j, batch, head, env, TIMES)
            grad_s = (change * (sent - row_delta) * slope).to(y.dtype)
            found += tl.dot(grad_s, tl.trans(y), input_precision=PRECISION)
            run, key_tile, left = next_tile(runs, run, key_tile, left)
    results = rows_at(grad_q, strides[4], batch, head, token, across)
    tl.store(results, (found * scale).to(grad_q.dtype.element_ty), mask=exists & (across < WIDTH))


@jit
def softmax_key_gradient_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    grad_k,
    grad_v,
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
    SLOPE: tl.constexpr,
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
    """Gradients of one tile of keys and values, summed over the query heads that share them.

    Scores are transposed here: a row per key, a column per query.

    Args:
        strides: of q, k, v, grad_out, grad_k and grad_v.
        rows, runs, turns: of the transpose: per key tile the query tiles that see it.
        sizes: key tiles, query tokens, key heads, query heads per key head, steps of `rows`.
    """
    if ORDERED is not None:  # noqa: SIM102  # Triton would load from None
        if tl.load(orders[2]) == ORDERED:  # the other launch computes it
            return
    tile, kv_head, batch = turn_of(turns, sizes)
    key_slot = tl.arange(0, KEYS)[:, None]
    if ORDERED:
        j, token, exists = ordered_places(
            tile, key_slot, extents[1], orders[1], orders[3], batch, kv_head, KEYS
        )
    else:
        j, token, exists = slot_places(tile, key_slot, extents[1], KEY_TILE, KEY_STEP)
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    here, value_here = exists & (across < WIDTH), exists & (value_across < VALUE_WIDTH)
    y = tl.load(rows_at(k, strides[1], batch, kv_head, token, across), mask=here, other=0.0)
    z = tl.load(rows_at(v, strides[2], batch, kv_head, token, value_across), mask=value_here, other=0.0)
    found_k, found_v = tl.zeros([KEYS, CHANNELS], tl.float32), tl.zeros([KEYS, VALUE_CHANNELS], tl.float32)
    for member in range(sizes[3]):
        head = kv_head * sizes[3] + member
        row = rows + 4 * (batch * plain(sizes[4]) + head * plain(sizes[5]) + tile)
        for MASKED in tl.static_range(2):  # type: ignore[misc]
            run, count = tl.load(row + 2 * MASKED), tl.load(row + 2 * MASKED + 1)
            query_tile, left = first_tile(runs, run)
            for _ in range(count):
                slot = tl.arange(0, QUERIES)[None, :]
                if ORDERED:
                    i, query_token, query_exists = ordered_places(
                        query_tile, slot, extents[0], orders[0], orders[3], batch, head, QUERIES
                    )
                else:
                    i, query_token, query_exists = slot_places(
                        query_tile, slot, extents[0], QUERY_TILE, QUERY_STEP
                    )
                down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
                queries = rows_at(q, strides[0], batch, head, query_token, down)
                x = tl.load(queries, mask=query_exists & (down < WIDTH), other=0.0)
                upstream = rows_at(grad_out, strides[3], batch, head, query_token, value_down)
                g = tl.load(upstream, mask=query_exists & (value_down < VALUE_WIDTH), other=0.0)
                number = (batch.to(tl.int64) * sizes[2] * sizes[3] + head) * plain(sizes[1]) + query_token
                row_lse, row_delta = sums_of_rows(lse, delta, number, query_exists)
                s = tl.dot(y, x, input_precision=PRECISION) * scale
                visible = tl.full([KEYS, QUERIES], True, tl.int1)
                if MASKED:
                    visible = WHERE(i, j, batch, head, env) & exists & visible
                weight, change, slope, counts = weights_and_slopes(
                    s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, NORMALIZE
                )
                if TIMES is not None:
                    times = factors_of(counts, i, j, batch, head, env, TIMES)
                    found_v += tl.dot((weight * times).to(g.dtype), tl.trans(g), input_precision=PRECISION)
                    sent = tl.dot(z, g, input_precision=PRECISION) * times
                else:
                    found_v += tl.dot(weight.to(g.dtype), tl.trans(g), input_precision=PRECISION)
                    sent = tl.dot(z, g, input_precision=PRECISION)
                grad_s = (change * (sent - row_delta) * slope).to(x.dtype)
                found_k += tl.dot(grad_s, tl.trans(x), input_precision=PRECISION)
                run, query_tile, left = next_tile(runs, run, query_tile, left)
    keys = rows_at(grad_k, strides[4], batch, kv_head, token, across)
    tl.store(keys, (found_k * scale).to(grad_k.dtype.element_ty), mask=here)
    values = rows_at(grad_v, strides[5], batch, kv_head, token, value_across)
    tl.store(values, found_v.to(grad_v.dtype.element_ty), mask=value_here)
