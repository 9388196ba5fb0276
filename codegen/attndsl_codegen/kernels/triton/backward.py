"""Gradients of attention: queries from the schedule, keys and values from its transpose.

Both recompute the weights from the log-sum-exp (of weights that are no softmax: from divisors), and gather:
nothing is added to memory that another program writes, so gradients are the same in every run.
"""

# Triton takes defaults for constants.
# pyright: reportArgumentType=false

from __future__ import annotations

from attndsl_codegen.kernels.triton.forward import factors_of
from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import read_rows, slot_places, write_rows
from attndsl_codegen.kernels.triton.support import jit, tl
from attndsl_codegen.kernels.triton.visits import first_tile, next_tile, row_of, tiles_seen, turn_of
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
    """Weights, how they change with shaped scores, and how these change with raw ones.

    A weight changes by its own score; what that takes from the others of the row, `delta` holds. Nothing of
    hidden pairs changes.

    Args:
        row_lse: natural log-sum-exps, or divisors; plus infinity for rows without a key.
    """
    shaped = s if SHAPE is None else SHAPE(s, i, j, batch, head, env)
    if NORMALIZE == "softmax":
        weight = tl.exp2((tl.where(visible, shaped, float("-inf")) - row_lse) * 1.4426950408889634)
        change = weight
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
    return weight, change, slope


@jit
def counted(weight, change):
    """Which pairs take part: a score of zero has no weight, but would get some if it changed."""
    return (weight != 0.0) | (change != 0.0)


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
    sizes,
    extents,
    env,
    scale,
    visits,
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
    SEEN: tl.constexpr = None,
    LAST_FIRST: tl.constexpr = False,
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
    tile, head, batch = turn_of(visits, sizes, SEEN, LAST_FIRST)
    kv_head = head // sizes[3]
    slot, key_slot = tl.arange(0, QUERIES)[:, None], tl.arange(0, KEYS)[None, :]
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
    i, token, exists = slot_places(
        tile, slot, extents[0], QUERY_TILE, QUERY_STEP, orders, batch, head, 0, ORDERED
    )
    x = read_rows(q, strides[0], batch, head, token, exists, across, WIDTH)
    g = read_rows(grad_out, strides[3], batch, head, token, exists, value_across, VALUE_WIDTH)
    number = (batch.to(tl.int64) * sizes[2] + head) * plain(sizes[1]) + token
    row_lse, row_delta = sums_of_rows(lse, delta, number, exists)
    found = tl.zeros([QUERIES, CHANNELS], tl.float32)
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
            z = read_rows(v, strides[2], batch, kv_head, key_token, key_exists, value_down, VALUE_WIDTH)
            s = tl.dot(x, y, input_precision=PRECISION) * scale
            visible = tl.full([QUERIES, KEYS], True, tl.int1)
            if MASKED:
                visible = WHERE(i, j, batch, head, env) & key_exists & visible
            weight, change, slope = weights_and_slopes(
                s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, NORMALIZE
            )
            sent = tl.dot(g, z, input_precision=PRECISION)
            if TIMES is not None:
                sent *= factors_of(counted(weight, change), i, j, batch, head, env, TIMES)
            grad_s = (change * (sent - row_delta) * slope).to(y.dtype)
            found += tl.dot(grad_s, tl.trans(y), input_precision=PRECISION)
            key_tile, left, run = next_tile(key_tile, left, run, visits, SEEN)
    write_rows(found * scale, grad_q, strides[4], batch, head, token, exists, across, WIDTH)


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
    sizes,
    extents,
    env,
    scale,
    visits,
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
    SEEN: tl.constexpr = None,
    LAST_FIRST: tl.constexpr = False,
):
    """Gradients of one tile of keys and values, summed over the query heads that share them.

    Scores are transposed here: a row per key, a column per query.

    Args:
        strides: of q, k, v, grad_out, grad_k and grad_v.
        sizes: key tiles, query tokens, key heads, query heads per key head.
        visits, SEEN: of the transpose: which query tiles see a key tile.
    """
    if ORDERED is not None:  # noqa: SIM102  # Triton would load from None
        if tl.load(orders[2]) == ORDERED:  # the other launch computes it
            return
    tile, kv_head, batch = turn_of(visits, sizes, SEEN, LAST_FIRST)
    slot, key_slot = tl.arange(0, QUERIES)[None, :], tl.arange(0, KEYS)[:, None]
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
    j, token, exists = slot_places(
        tile, key_slot, extents[1], KEY_TILE, KEY_STEP, orders, batch, kv_head, 1, ORDERED
    )
    y = read_rows(k, strides[1], batch, kv_head, token, exists, across, WIDTH)
    z = read_rows(v, strides[2], batch, kv_head, token, exists, value_across, VALUE_WIDTH)
    found_k, found_v = tl.zeros([KEYS, CHANNELS], tl.float32), tl.zeros([KEYS, VALUE_CHANNELS], tl.float32)
    for member in range(sizes[3]):
        head = kv_head * sizes[3] + member
        visited = (
            row_of(tile, batch, head, visits)
            if SEEN is None
            else tiles_seen(tile, head, extents[1], extents[0], env, SEEN, KEYS, QUERIES)
        )
        for MASKED in tl.static_range(2):  # type: ignore[misc]
            count, query_tile, left, run = first_tile(visited, visits, MASKED, SEEN)
            for _ in range(count):
                i, query_token, query_exists = slot_places(
                    query_tile, slot, extents[0], QUERY_TILE, QUERY_STEP, orders, batch, head, 0, ORDERED
                )
                x = read_rows(q, strides[0], batch, head, query_token, query_exists, down, WIDTH)
                g = read_rows(
                    grad_out, strides[3], batch, head, query_token, query_exists, value_down, VALUE_WIDTH
                )
                number = (batch.to(tl.int64) * sizes[2] * sizes[3] + head) * plain(sizes[1]) + query_token
                row_lse, row_delta = sums_of_rows(lse, delta, number, query_exists)
                s = tl.dot(y, x, input_precision=PRECISION) * scale
                visible = tl.full([KEYS, QUERIES], True, tl.int1)
                if MASKED:
                    visible = WHERE(i, j, batch, head, env) & exists & visible
                weight, change, slope = weights_and_slopes(
                    s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, NORMALIZE
                )
                if TIMES is not None:
                    times = factors_of(counted(weight, change), i, j, batch, head, env, TIMES)
                    weight = weight * times
                found_v += tl.dot(weight.to(g.dtype), tl.trans(g), input_precision=PRECISION)
                sent = tl.dot(z, g, input_precision=PRECISION)
                if TIMES is not None:
                    sent = sent * times
                grad_s = (change * (sent - row_delta) * slope).to(x.dtype)
                found_k += tl.dot(grad_s, tl.trans(x), input_precision=PRECISION)
                query_tile, left, run = next_tile(query_tile, left, run, visits, SEEN)
    write_rows(found_k * scale, grad_k, strides[4], batch, kv_head, token, exists, across, WIDTH)
    write_rows(found_v, grad_v, strides[5], batch, kv_head, token, exists, value_across, VALUE_WIDTH)
