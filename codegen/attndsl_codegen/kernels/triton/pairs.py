"""Softmax over pairs of tokens: keys and values are products of two factors, made in registers and not kept.

s[i, (a, b)] = scale * sum over c of q[i, c] k1[a, c] k2[b, c]
out[i] = sum over pairs of softmax(s)[i, (a, b)] * v1[a] * v2[b]

A key tile is a box of ROWS tokens of one factor and KEYS of the other. The KEYS are loaded once for it, and
multiplied by one row after the other. Schedules, base 2 and log-sum-exps are those of `forward.py`.
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.backward import sums_of_rows, weights_and_slopes
from attndsl_codegen.kernels.triton.forward import divisor_and_lse, next_weights
from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import read_rows, slot_places, write_rows
from attndsl_codegen.kernels.triton.support import jit, tl
from attndsl_codegen.kernels.triton.visits import first_tile, next_tile, row_of, turn_of


@jit
def times_row(tile, row):
    """A tile times one row (or column) for all of its own, rounded to the type of the tile."""
    return (tile.to(tl.float32) * row.to(tl.float32)).to(tile.dtype)


@jit
def paired_forward_kernel(
    q,
    k1,
    k2,
    v1,
    v2,
    out,
    lse,
    strides,
    sizes,
    extents,
    env,
    scale,
    visits,
    WHERE: tl.constexpr,
    SHAPE: tl.constexpr,
    QUERY_TILE: tl.constexpr,
    QUERY_STEP: tl.constexpr,
    QUERIES: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUE_CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Output and log-sum-exp of one query tile; arguments as of `softmax_forward_kernel`.

    Args:
        strides: of q, k1, k2, v1, v2 and out.
    """
    tile, head, batch = turn_of(visits, sizes)
    kv_head = head // sizes[3]
    slot, place = tl.arange(0, QUERIES)[:, None], tl.arange(0, KEYS)[None, :]
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down = tl.arange(0, CHANNELS)[:, None]
    i, token, exists = slot_places(tile, slot, extents[0], QUERY_TILE, QUERY_STEP)
    x = read_rows(q, strides[0], batch, head, token, exists, across, WIDTH)
    top, total = tl.full([QUERIES], float("-inf"), tl.float32), tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, VALUE_CHANNELS], tl.float32)
    ones, others = plain(extents[1][0]), plain(extents[1][1])
    beside = (others + KEYS - 1) // KEYS
    visited = row_of(tile, batch, head, visits)
    for MASKED in tl.static_range(2):
        count, key_tile, left, run = first_tile(visited, visits, MASKED)
        for _ in range(count):
            start, b = key_tile // beside * ROWS, key_tile % beside * KEYS + place
            tile_k = read_rows(k2, strides[2], batch, kv_head, b, b < others, down, WIDTH)
            down_b = tl.trans(b)
            tile_v = read_rows(
                v2, strides[4], batch, kv_head, down_b, down_b < others, value_across, VALUE_WIDTH
            )
            for step in range(tl.minimum(ROWS, ones - start)):
                a = start + step
                row_k = read_rows(k1, strides[1], batch, kv_head, a, a < ones, down, WIDTH)
                row_v = read_rows(v1, strides[3], batch, kv_head, a, a < ones, value_across, VALUE_WIDTH)
                s = tl.dot(x, times_row(tile_k, row_k), input_precision=PRECISION) * scale
                if SHAPE is not None:
                    s = SHAPE(s, i, (a, b), batch, head, env)
                s = s * 1.4426950408889634  # 1 / log(2)
                if MASKED:
                    s = tl.where(WHERE(i, (a, b), batch, head, env) & (b < others), s, float("-inf"))
                weight, shrunk, top, total = next_weights(s, top, total)
                z = times_row(tile_v, row_v)
                mixed = mixed * shrunk[:, None] + tl.dot(weight.to(z.dtype), z, input_precision=PRECISION)
            key_tile, left, run = next_tile(key_tile, left, run, visits)
    divisor, natural = divisor_and_lse(top, total)
    mixed = mixed / divisor[:, None]
    write_rows(mixed, out, strides[5], batch, head, token, exists, value_across, VALUE_WIDTH)
    number = (batch.to(tl.int64) * sizes[2] + head) * plain(sizes[1]) + token
    tl.store(lse + number, natural[:, None], mask=exists)


@jit
def paired_query_gradient_kernel(
    q,
    k1,
    k2,
    v1,
    v2,
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
    WHERE: tl.constexpr,
    SHAPE: tl.constexpr,
    SLOPE: tl.constexpr,
    QUERY_TILE: tl.constexpr,
    QUERY_STEP: tl.constexpr,
    QUERIES: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUE_CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of one query tile; arguments as of `softmax_query_gradient_kernel`.

    Args:
        strides: of q, k1, k2, v1, v2, grad_out and grad_q.
    """
    tile, head, batch = turn_of(visits, sizes)
    kv_head = head // sizes[3]
    slot, place = tl.arange(0, QUERIES)[:, None], tl.arange(0, KEYS)[None, :]
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
    i, token, exists = slot_places(tile, slot, extents[0], QUERY_TILE, QUERY_STEP)
    x = read_rows(q, strides[0], batch, head, token, exists, across, WIDTH)
    g = read_rows(grad_out, strides[5], batch, head, token, exists, value_across, VALUE_WIDTH)
    number = (batch.to(tl.int64) * sizes[2] + head) * plain(sizes[1]) + token
    row_lse, row_delta = sums_of_rows(lse, delta, number, exists)
    found = tl.zeros([QUERIES, CHANNELS], tl.float32)
    ones, others = plain(extents[1][0]), plain(extents[1][1])
    beside = (others + KEYS - 1) // KEYS
    visited = row_of(tile, batch, head, visits)
    for MASKED in tl.static_range(2):
        count, key_tile, left, run = first_tile(visited, visits, MASKED)
        for _ in range(count):
            start, b = key_tile // beside * ROWS, key_tile % beside * KEYS + place
            tile_k = read_rows(k2, strides[2], batch, kv_head, b, b < others, down, WIDTH)
            tile_v = read_rows(v2, strides[4], batch, kv_head, b, b < others, value_down, VALUE_WIDTH)
            for step in range(tl.minimum(ROWS, ones - start)):
                a = start + step
                row_k = read_rows(k1, strides[1], batch, kv_head, a, a < ones, down, WIDTH)
                row_v = read_rows(v1, strides[3], batch, kv_head, a, a < ones, value_down, VALUE_WIDTH)
                y, z = times_row(tile_k, row_k), times_row(tile_v, row_v)
                s = tl.dot(x, y, input_precision=PRECISION) * scale
                visible = tl.full([QUERIES, KEYS], True, tl.int1)
                if MASKED:
                    visible = WHERE(i, (a, b), batch, head, env) & (b < others) & visible
                change, slope = weights_and_slopes(
                    s, row_lse, visible, i, (a, b), batch, head, env, SHAPE, SLOPE, "softmax"
                )[1:]
                grad_s = change * (tl.dot(g, z, input_precision=PRECISION) - row_delta)
                grad_s = (grad_s * slope).to(y.dtype)
                found += tl.dot(grad_s, tl.trans(y), input_precision=PRECISION)
            key_tile, left, run = next_tile(key_tile, left, run, visits)
    write_rows(found * scale, grad_q, strides[6], batch, head, token, exists, across, WIDTH)


@jit
def paired_key_gradient_kernel(
    q,
    rows_k,
    keys_k,
    rows_v,
    keys_v,
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
    WHERE: tl.constexpr,
    SHAPE: tl.constexpr,
    SLOPE: tl.constexpr,
    FIRST: tl.constexpr,
    QUERY_TILE: tl.constexpr,
    QUERY_STEP: tl.constexpr,
    QUERIES: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUE_CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of KEYS tokens of one factor, summed over all tokens of the other, and over queries.

    Here queries are multiplied by the rows of the other factor: products with them are then in place.

    Args:
        keys_k, keys_v: the factors that get gradients.
        rows_k, rows_v: the other ones.
        strides: of q, rows_k, keys_k, rows_v, keys_v, grad_out, grad_k and grad_v.
        visits: of the transpose: per key tile the query tiles that see it.
        sizes: tiles of the factor, query tokens, key heads, query heads per key head.
        FIRST: whether the factor with gradients is the first one of a pair.
    """
    tiles, tokens = plain(sizes[0]), plain(sizes[1])
    tile = tl.program_id(0) % tiles
    kv_head = tl.program_id(0) // tiles % sizes[2]
    batch = tl.program_id(0) // tiles // sizes[2]
    place = tile * KEYS + tl.arange(0, KEYS)[:, None]
    exists = place < plain(extents[1][0 if FIRST else 1])
    others = plain(extents[1][1 if FIRST else 0])
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
    slot = tl.arange(0, QUERIES)[None, :]
    tile_k = read_rows(keys_k, strides[2], batch, kv_head, place, exists, across, WIDTH)
    tile_v = read_rows(keys_v, strides[4], batch, kv_head, place, exists, value_across, VALUE_WIDTH)
    found_k = tl.zeros([KEYS, CHANNELS], tl.float32)
    found_v = tl.zeros([KEYS, VALUE_CHANNELS], tl.float32)
    beside = (others + ROWS - 1) // ROWS
    for turn in range(sizes[3] * beside):
        head, start = kv_head * sizes[3] + turn // beside, turn % beside * ROWS
        key_tile = tile * beside + turn % beside if FIRST else turn % beside * tiles + tile
        visited = row_of(key_tile, batch, head, visits)
        for MASKED in tl.static_range(2):
            count, query_tile, left, run = first_tile(visited, visits, MASKED)
            for _ in range(count):
                i, token, query_exists = slot_places(query_tile, slot, extents[0], QUERY_TILE, QUERY_STEP)
                x = read_rows(q, strides[0], batch, head, token, query_exists, down, WIDTH)
                g = read_rows(grad_out, strides[5], batch, head, token, query_exists, value_down, VALUE_WIDTH)
                number = (batch.to(tl.int64) * sizes[2] * sizes[3] + head) * tokens + token
                row_lse, row_delta = sums_of_rows(lse, delta, number, query_exists)
                for step in range(tl.minimum(ROWS, others - start)):
                    a = start + step
                    row_k = read_rows(rows_k, strides[1], batch, kv_head, a, a < others, down, WIDTH)
                    row_v = read_rows(
                        rows_v, strides[3], batch, kv_head, a, a < others, value_down, VALUE_WIDTH
                    )
                    xs, gs = times_row(x, row_k), times_row(g, row_v)
                    j = (place, a) if FIRST else (a, place)
                    s = tl.dot(tile_k, xs, input_precision=PRECISION) * scale
                    visible = tl.full([KEYS, QUERIES], True, tl.int1)
                    if MASKED:
                        visible = WHERE(i, j, batch, head, env) & exists & visible
                    weight, change, slope = weights_and_slopes(
                        s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, "softmax"
                    )
                    found_v += tl.dot(weight.to(gs.dtype), tl.trans(gs), input_precision=PRECISION)
                    grad_s = change * (tl.dot(tile_v, gs, input_precision=PRECISION) - row_delta)
                    grad_s = (grad_s * slope).to(xs.dtype)
                    found_k += tl.dot(grad_s, tl.trans(xs), input_precision=PRECISION)
                query_tile, left, run = next_tile(query_tile, left, run, visits)
    write_rows(found_k * scale, grad_k, strides[6], batch, kv_head, place, exists, across, WIDTH)
    write_rows(found_v, grad_v, strides[7], batch, kv_head, place, exists, value_across, VALUE_WIDTH)
