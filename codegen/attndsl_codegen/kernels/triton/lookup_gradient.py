"""Gradients of looked-up fields, first half: what each visited pair of a query and a key sends.

Which pairs meet in one entry of a field, the spec decides, with any expression. So kernels write what pairs
send, to places that no other program writes, and `sums.py` adds up what belongs together in fixed order: any
index is served, in the same bits every time. What is written is small: batch elements that share a field
are summed before, and so are all keys (queries) of a tile where the index depends on the query (key) alone.
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.backward import counted, sums_of_rows, weights_and_slopes
from attndsl_codegen.kernels.triton.forward import factors_of
from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import read_rows, slot_places
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def softmax_lookup_gradient_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    sent,
    strides,
    pairs,
    sizes,
    extents,
    env,
    scale,
    WHERE: tl.constexpr,
    SHAPE: tl.constexpr,
    SLOPE: tl.constexpr,
    TIMES: tl.constexpr,
    NORMALIZE: tl.constexpr,
    OF_FACTOR: tl.constexpr,
    BY_QUERY: tl.constexpr,
    BY_KEY: tl.constexpr,
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
):
    """What one pair of tiles sends to one look-up; arguments as in the other backward kernels.

    Args:
        sent: (layers, pairs of tiles, queries or 1, keys or 1), rows of numbers.
        pairs: rows (batch element, head, query tile, key tile); the layer adds to the first two.
        sizes: pairs of tiles, query tokens, heads, query heads per key head, heads that layers hold, batch
            elements to be summed, numbers per layer; tiles, tokens and numbers as for `plain`.
        SLOPE: how scores (with OF_FACTOR: factors) change with what is looked up; None if by as much.
        BY_QUERY, BY_KEY: whether the entry that is looked up depends on the query, and on the key.
    """
    count, tokens = plain(sizes[0]), plain(sizes[1])
    number = tl.program_id(0) % count
    layer = tl.program_id(0) // count
    first = tl.load(pairs + 4 * number) + layer // sizes[4]
    head = tl.load(pairs + 4 * number + 1) + layer % sizes[4]
    kv_head = head // sizes[3]
    query_tile = tl.load(pairs + 4 * number + 2)
    key_tile = tl.load(pairs + 4 * number + 3)
    slot, key_slot = tl.arange(0, QUERIES)[:, None], tl.arange(0, KEYS)[None, :]
    i, token, exists = slot_places(query_tile, slot, extents[0], QUERY_TILE, QUERY_STEP)
    j, key_token, key_exists = slot_places(key_tile, key_slot, extents[1], KEY_TILE, KEY_STEP)
    across, value_across = tl.arange(0, CHANNELS)[None, :], tl.arange(0, VALUE_CHANNELS)[None, :]
    down, value_down = tl.arange(0, CHANNELS)[:, None], tl.arange(0, VALUE_CHANNELS)[:, None]
    total = tl.zeros([QUERIES, KEYS], tl.float32)
    for member in range(sizes[5]):
        batch = first + member
        x = read_rows(q, strides[0], batch, head, token, exists, across, WIDTH)
        y = read_rows(k, strides[1], batch, kv_head, key_token, key_exists, down, WIDTH)
        z = read_rows(v, strides[2], batch, kv_head, key_token, key_exists, value_down, VALUE_WIDTH)
        g = read_rows(grad_out, strides[3], batch, head, token, exists, value_across, VALUE_WIDTH)
        row = (batch.to(tl.int64) * sizes[2] + head) * tokens + token
        row_lse, row_delta = sums_of_rows(lse, delta, row, exists)
        s = tl.dot(x, y, input_precision=PRECISION) * scale
        visible = WHERE(i, j, batch, head, env) & key_exists & exists
        weight, change, slope = weights_and_slopes(
            s, row_lse, visible, i, j, batch, head, env, SHAPE, SLOPE, NORMALIZE
        )
        grad = tl.dot(g, z, input_precision=PRECISION)
        if OF_FACTOR:
            change = weight
        else:
            if TIMES is not None:
                grad *= factors_of(counted(weight, change), i, j, batch, head, env, TIMES)
            grad -= row_delta
        total += change * grad * slope
    place = tl.zeros([1, 1], tl.int32)
    if BY_KEY:
        place = place + key_slot
    else:
        total = tl.sum(total, 1, keep_dims=True)
    if BY_QUERY:
        place = place + slot * (KEYS if BY_KEY else 1)
    else:
        total = tl.sum(total, 0, keep_dims=True)
    room = (QUERIES if BY_QUERY else 1) * (KEYS if BY_KEY else 1)
    tl.store(sent + layer.to(tl.int64) * plain(sizes[6]) + number.to(tl.int64) * room + place, total)
