"""Products of the causal sums of linear attention: one program walks over all chunks of one head.

What earlier chunks add up to is a matrix, keys by values, that is carried along; so the cost is linear in the
tokens (Katharopoulos et al., Linear transformers, 2020). Each of the gradients is such a sum again. Terms may
fade on the way (Sun et al., Retentive networks, 2023).
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.places import read_rows, write_rows
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def running_products_kernel(
    a,
    b,
    c,
    out,
    sums,
    terms,
    since,
    change,
    strides,
    sizes,
    LATER: tl.constexpr,
    SUMS: tl.constexpr,
    TERMS: tl.constexpr,
    DECAY: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr,
    VALUE_CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out[i] = sum over j <= i, or with LATER over j >= i, of (a[i] . b[j] + term) * c[j].

    With DECAY each of these is multiplied by what is left of it.

    Args:
        sums: the factors before c[j], summed over the same j, (batch, heads, tokens), where wanted.
        terms: (batch, heads, tokens), a term for each i (TERMS is "rows") or for each j ("columns").
        since: with DECAY, the logarithm to base 2 of what is left at a token of the first one of its chunk
            (LATER: of the last one), (batch, heads, tokens).
        change: the same at the first token of the next chunk, (batch, heads, chunks).
        strides: of a, b, c and out, each (batch, head, token), see `row_steps`.
        sizes: tokens, as for `plain`; heads; heads that share one of a, of b, and of c.
        CHUNK: tokens of a step.
        BLOCKS: into how many blocks of VALUE_CHANNELS the channels of c and out are cut, a program for each.
        CHANNELS: the width of a and b, rounded up to what a product of tiles takes.
    """
    program = tl.program_id(0)
    tokens = plain(sizes[0])
    block = program % BLOCKS
    head = program // BLOCKS % sizes[1]
    batch = program // BLOCKS // sizes[1]
    across = tl.arange(0, CHANNELS)[None, :]
    value_across = block * VALUE_CHANNELS + tl.arange(0, VALUE_CHANNELS)[None, :]
    state = tl.zeros([CHANNELS, VALUE_CHANNELS], tl.float32)
    carried = tl.zeros([1, VALUE_CHANNELS], tl.float32)  # of terms: sums of c, or of terms times c
    passed = tl.zeros([1, CHANNELS], tl.float32)  # sums of b
    first = (batch.to(tl.int64) * sizes[1] + head) * tokens
    chunks = (tokens + CHUNK - 1) // CHUNK
    for step in range(chunks):
        chunk = chunks - 1 - step if LATER else step
        place = tl.arange(0, CHUNK)[:, None]
        other = tl.arange(0, CHUNK)[None, :]
        token = chunk * CHUNK + place
        exists = token < tokens
        x = read_rows(a, strides[0], batch, head // sizes[2], token, exists, across, WIDTH)
        y = read_rows(b, strides[1], batch, head // sizes[3], token, exists, across, WIDTH)
        z = read_rows(c, strides[2], batch, head // sizes[4], token, exists, value_across, VALUE_WIDTH)
        s = tl.dot(x, tl.trans(y), input_precision=PRECISION)
        mixed = tl.dot(x, state.to(x.dtype), input_precision=PRECISION)
        if TERMS != "":
            term = tl.load(terms + first + token, mask=exists, other=0.0)
            s += term if TERMS == "rows" else tl.trans(term)
            mixed += term * carried if TERMS == "rows" else carried
        if SUMS:
            total = tl.sum(x.to(tl.float32) * passed, 1, keep_dims=True)
        if DECAY:
            left = tl.load(since + first + token, mask=exists, other=0.0)
            s *= tl.exp2(tl.minimum(left - tl.trans(left), 126.0))  # what is hidden below might overflow
            mixed *= tl.exp2(left)
            if SUMS:
                total *= tl.exp2(left)
        s = tl.where(other >= place if LATER else other <= place, s, 0.0)
        mixed += tl.dot(s.to(z.dtype), z, input_precision=PRECISION)
        write_rows(mixed, out, strides[3], batch, head, token, exists, value_across, VALUE_WIDTH)
        if SUMS:
            total += tl.sum(s, 1, keep_dims=True)
            tl.store(sums + first + token, total, mask=exists & (block == 0))
        if DECAY:
            at_next = tl.load(change + (batch.to(tl.int64) * sizes[1] + head) * chunks + chunk)
            until = tl.exp2(at_next - left)
            z = (z * until).to(z.dtype)
            state *= tl.exp2(at_next)
            if TERMS != "":
                carried *= tl.exp2(at_next)
            if SUMS:
                passed *= tl.exp2(at_next)
        if TERMS != "":
            carried += tl.sum(z.to(tl.float32) if TERMS == "rows" else term * z, 0, keep_dims=True)
        if SUMS:
            passed += tl.sum(y * until if DECAY else y.to(tl.float32), 0, keep_dims=True)
        state += tl.dot(tl.trans(y), z, input_precision=PRECISION)
