"""Softmax over pairs of tokens: keys and values are products of two factors, made in registers and not kept.

s[i, (a, b)] = scale * sum over c of q[i, c] k1[a, c] k2[b, c]
out[i] = sum over pairs of softmax(s)[i, (a, b)] * v1[a] * v2[b]

A key tile is a box of ROWS tokens of one factor and KEYS of the other. The KEYS are loaded once for it, and
multiplied by one row after the other. Schedules, base 2 and log-sum-exps are those of `forward.py`.
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.backward import weights_and_slopes
from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import first_tile, next_tile, rows_at, slot_places, turn_of
from attndsl_codegen.kernels.triton.support import jit, tl


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
    rows,
    runs,
    turns,
    sizes,
    extents,
    env,
    scale,
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
    tile, head, batch = turn_of(turns, sizes)
    tokens = plain(sizes[1])
    kv_head = head // sizes[3]
    i, token, exists = slot_places(tile, tl.arange(0, QUERIES)[:, None], extents[0], QUERY_TILE, QUERY_STEP)
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down = tl.arange(0, CHANNELS)[:, None]
    x = tl.load(rows_at(q, strides[0], batch, head, token, across), mask=exists & (across < WIDTH), other=0.0)
    top = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, VALUE_CHANNELS], tl.float32)
    ones, others = plain(extents[1][0]), plain(extents[1][1])
    row = rows + 4 * (batch * plain(sizes[4]) + head * plain(sizes[5]) + tile)
    for MASKED in tl.static_range(2):
        run = tl.load(row + 2 * MASKED)
        count = tl.load(row + 2 * MASKED + 1)
        key_tile, left = first_tile(runs, run)
        for _ in range(count):
            beside = (others + KEYS - 1) // KEYS
            start = key_tile // beside * ROWS
            b = key_tile % beside * KEYS + tl.arange(0, KEYS)[None, :]
            keys = rows_at(k2, strides[2], batch, kv_head, b, down)
            tile_k = tl.load(keys, mask=(b < others) & (down < WIDTH), other=0.0)
            values = rows_at(v2, strides[4], batch, kv_head, tl.trans(b), value_across)
            tile_v = tl.load(values, mask=tl.trans(b < others) & (value_across < VALUE_WIDTH), other=0.0)
            for step in range(tl.minimum(ROWS, ones - start)):
                a = start + step
                row_k = tl.load(
                    rows_at(k1, strides[1], batch, kv_head, a, down), mask=down < WIDTH, other=0.0
                )
                s = tl.dot(x, times_row(tile_k, row_k), input_precision=PRECISION) * scale
                if SHAPE is not None:
                    s = SHAPE(s, i, (a, b), batch, head, env)
                s = s * 1.4426950408889634  # 1 / log(2)
                if MASKED:
                    s = tl.where(WHERE(i, (a, b), batch, head, env) & (b < others), s, float("-inf"))
                new_top = tl.maximum(top, tl.max(s, 1))
                safe = tl.where(new_top == float("-inf"), 0.0, new_top)
                weight = tl.exp2(s - safe[:, None])
                shrunk = tl.exp2(top - safe)
                total = total * shrunk + tl.sum(weight, 1)
                row_v = rows_at(v1, strides[3], batch, kv_head, a, value_across)
                z = times_row(tile_v, tl.load(row_v, mask=value_across < VALUE_WIDTH, other=0.0))
                mixed = mixed * shrunk[:, None] + tl.dot(weight.to(z.dtype), z, input_precision=PRECISION)
                top = new_top
            run, key_tile, left = next_tile(runs, run, key_tile, left)
    empty = total == 0.0
    mixed = mixed / tl.where(empty, 1.0, total)[:, None]
    results = rows_at(out, strides[5], batch, head, token, value_across)
    tl.store(results, mixed.to(out.dtype.element_ty), mask=exists & (value_across < VALUE_WIDTH))
    natural = (top + tl.log2(tl.where(empty, 1.0, total))) * 0.6931471805599453
    sums = lse + (batch.to(tl.int64) * sizes[2] + head) * tokens + token
    tl.store(sums, tl.where(empty, float("-inf"), natural)[:, None], mask=exists)


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
    rows,
    runs,
    turns,
    sizes,
    extents,
    env,
    scale,
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
    tile, head, batch = turn_of(turns, sizes)
    tokens = plain(sizes[1])
    kv_head = head // sizes[3]
    i, token, exists = slot_places(tile, tl.arange(0, QUERIES)[:, None], extents[0], QUERY_TILE, QUERY_STEP)
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
    x = tl.load(rows_at(q, strides[0], batch, head, token, across), mask=exists & (across < WIDTH), other=0.0)
    upstream = rows_at(grad_out, strides[5], batch, head, token, value_across)
    g = tl.load(upstream, mask=exists & (value_across < VALUE_WIDTH), other=0.0)
    number = (batch.to(tl.int64) * sizes[2] + head) * tokens + token
    row_lse = tl.load(lse + number, mask=exists, other=float("inf"))
    row_lse = tl.where(row_lse == float("-inf"), float("inf"), row_lse)
    row_delta = tl.load(delta + number, mask=exists, other=0.0)
    found = tl.zeros([QUERIES, CHANNELS], tl.float32)
    ones, others = plain(extents[1][0]), plain(extents[1][1])
    row = rows + 4 * (batch * plain(sizes[4]) + head * plain(sizes[5]) + tile)
    for MASKED in tl.static_range(2):
        run = tl.load(row + 2 * MASKED)
        count = tl.load(row + 2 * MASKED + 1)
        key_tile, left = first_tile(runs, run)
        for _ in range(count):
            beside = (others + KEYS - 1) // KEYS
            start = key_tile // beside * ROWS
            b = key_tile % beside * KEYS + tl.arange(0, KEYS)[None, :]
            keys = rows_at(k2, strides[2], batch, kv_head, b, down)
            tile_k = tl.load(keys, mask=(b < others) & (down < WIDTH), other=0.0)
            values = rows_at(v2, strides[4], batch, kv_head, b, value_down)
            tile_v = tl.load(values, mask=(b < others) & (value_down < VALUE_WIDTH), other=0.0)
            for step in range(tl.minimum(ROWS, ones - start)):
                a = start + step
                row_k = tl.load(
                    rows_at(k1, strides[1], batch, kv_head, a, down), mask=down < WIDTH, other=0.0
                )
                row_v = rows_at(v1, strides[3], batch, kv_head, a, value_down)
                z = times_row(tile_v, tl.load(row_v, mask=value_down < VALUE_WIDTH, other=0.0))
                y = times_row(tile_k, row_k)
                s = tl.dot(x, y, input_precision=PRECISION) * scale
                visible = tl.full([QUERIES, KEYS], True, tl.int1)
                if MASKED:
                    visible = WHERE(i, (a, b), batch, head, env) & (b < others) & visible
                change, slope = weights_and_slopes(
                    s, row_lse, visible, i, (a, b), batch, head, env, SHAPE, SLOPE, "softmax"
                )[1:3]
                grad_s = change * (tl.dot(g, z, input_precision=PRECISION) - row_delta)
                grad_s = (grad_s * slope).to(y.dtype)
                found += tl.dot(grad_s, tl.trans(y), input_precision=PRECISION)
            run, key_tile, left = next_tile(runs, run, key_tile, left)
    results = rows_at(grad_q, strides[6], batch, head, token, across)
    tl.store(results, (found * scale).to(grad_q.dtype.element_ty), mask=exists & (across < WIDTH))


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
    rows,
    runs,
    sizes,
    extents,
    env,
    scale,
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
        rows, runs: the transpose: per key tile the query tiles that see it.
        sizes: tiles of the factor, query tokens, key heads, query heads per key head, steps of `rows`.
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
    here, value_here = exists & (across < WIDTH), exists & (value_across < VALUE_WIDTH)
    tile_k = tl.load(rows_at(keys_k, strides[2], batch, kv_head, place, across), mask=here, other=0.0)
    tile_v = rows_at(keys_v, strides[4], batch, kv_head, place, value_across)
    tile_v = tl.load(tile_v, mask=value_here, other=0.0)
    found_k = tl.zeros([KEYS, CHANNELS], tl.float32)
    found_v = tl.zeros([KEYS, VALUE_CHANNELS], tl.float32)
    beside = (others + ROWS - 1) // ROWS
    for turn in range(sizes[3] * beside):
        head = kv_head * sizes[3] + turn // beside
        start = turn % beside
        key_tile = tile * beside + start if FIRST else start * tiles + tile
        row = rows + 4 * (batch * plain(sizes[4]) + head * plain(sizes[5]) + key_tile)
        start = start * ROWS
        for MASKED in tl.static_range(2):
            run, count = tl.load(row + 2 * MASKED), tl.load(row + 2 * MASKED + 1)
            query_tile, left = first_tile(runs, run)
            for _ in range(count):
                i, token, query_exists = slot_places(
                    query_tile, tl.arange(0, QUERIES)[None, :], extents[0], QUERY_TILE, QUERY_STEP
                )
                queries = rows_at(q, strides[0], batch, head, token, down)
                x = tl.load(queries, mask=query_exists & (down < WIDTH), other=0.0)
                upstream = rows_at(grad_out, strides[5], batch, head, token, value_down)
                g = tl.load(upstream, mask=query_exists & (value_down < VALUE_WIDTH), other=0.0)
                number = (batch.to(tl.int64) * sizes[2] * sizes[3] + head) * tokens + token
                row_lse = tl.load(lse + number, mask=query_exists, other=float("inf"))
                row_lse = tl.where(row_lse == float("-inf"), float("inf"), row_lse)
                row_delta = tl.load(delta + number, mask=query_exists, other=0.0)
                for step in range(tl.minimum(ROWS, others - start)):
                    a = start + step
                    row_k = rows_at(rows_k, strides[1], batch, kv_head, a, down)
                    xs = times_row(x, tl.load(row_k, mask=down < WIDTH, other=0.0))
                    row_v = rows_at(rows_v, strides[3], batch, kv_head, a, value_down)
                    gs = times_row(g, tl.load(row_v, mask=value_down < VALUE_WIDTH, other=0.0))
                    j = (place, a) if FIRST else (a, place)
                    s = tl.dot(tile_k, xs, input_precision=PRECISION) * scale
                    visible = tl.full([KEYS, QUERIES], True, tl.int1)
                    if MASKED:
                        visible = WHERE(i, j, batch, head, env) & exists & visible
                    weight, change, slope = weights_and_slopes(
                        s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, "softmax"
                    )[:3]
                    found_v += tl.dot(weight.to(gs.dtype), tl.trans(gs), input_precision=PRECISION)
                    grad_s = change * (tl.dot(tile_v, gs, input_precision=PRECISION) - row_delta)
                    grad_s = (grad_s * slope).to(xs.dtype)
                    found_k += tl.dot(grad_s, tl.trans(xs), input_precision=PRECISION)
                run, query_tile, left = next_tile(runs, run, query_tile, left)
    results = rows_at(grad_k, strides[6], batch, kv_head, place, across)
    tl.store(results, (found_k * scale).to(grad_k.dtype.element_ty), mask=here)
    results = rows_at(grad_v, strides[7], batch, kv_head, place, value_across)
    tl.store(results, found_v.to(grad_v.dtype.element_ty), mask=value_here)
