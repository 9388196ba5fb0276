"""The exact definition against PyTorch's attention, against naive loops, and against its own derivatives."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from torch.nn.functional import scaled_dot_product_attention

import attndsl
from attndsl.exact import oracle
from attndsl.language import load_text
from tests.strategies import Spec, specs, thorough


def exact(text, **tensors):
    return oracle(load_text(text))(**tensors)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


SPEC = "attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v{}) }}"


# --- PyTorch's attention --------------------------------------------------------------------------


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("where", ["", ", where = causal", ", where = sliding(2)"])
def test_sdpa(where, heads, kv_heads):
    q, k, v = randn(2, heads, 11, 6), randn(2, kv_heads, 11, 6, seed=1), randn(2, kv_heads, 11, 9, seed=2)
    i = torch.arange(11)
    mask = {
        "": None,
        ", where = causal": i[:, None] >= i,
        ", where = sliding(2)": (i[:, None] - i).abs() <= 2,
    }[where]
    expected = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    close(exact(SPEC.format(where), q=q, k=k, v=v), expected)


@thorough(40)
@given(specs(reals=False))
def test_sdpa_with_any_mask(spec: Spec) -> None:
    """Rows without keys aside, which PyTorch leaves undefined."""
    inputs = {name: torch.from_numpy(values) for name, values in spec.inputs().items()}
    mask = torch.from_numpy(
        np.stack([np.stack([spec.mask(b, h) for h in range(spec.heads)]) for b in range(spec.batch)])
    )
    q, k, v = (inputs[name].flatten(2, -2) for name in "qkv")
    seen = mask.any(-1, keepdim=True)
    expected = scaled_dot_product_attention(
        q, k, v, attn_mask=mask | ~seen, scale=spec.width**-0.5, enable_gqa=True
    )
    found = oracle(spec.program)(**inputs)
    assert found.shape == (spec.batch, spec.heads, *spec.query.extents, spec.value_width)
    close(found.flatten(2, -2), torch.where(seen, expected, 0.0))


# --- naive loops ----------------------------------------------------------------------------------


def naive(spec: Spec, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Output and log-sum-exp of every query by Python's arithmetic, one pair at a time."""
    q, k, v = (inputs[name].reshape(*inputs[name].shape[:2], -1, inputs[name].shape[-1]) for name in "qkv")
    out = np.zeros((spec.batch, spec.heads, spec.query.count, spec.value_width))
    lse = np.full(out.shape[:3], -math.inf)
    for b in range(spec.batch):
        for h in range(spec.heads):
            kv = h // (spec.heads // spec.kv_heads)
            s = spec.value("scale", b, h) * (q[b, h] @ k[b, kv].T)
            s = spec.value("score", b, h, s) + spec.value("bias", b, h)
            visible = spec.mask(b, h)
            for i in np.flatnonzero(visible.any(1)):
                keys = np.flatnonzero(visible[i])
                top = max(s[i, j] for j in keys)
                weights = [math.exp(s[i, j] - top) for j in keys]
                lse[b, h, i] = math.log(math.fsum(weights)) + top
                out[b, h, i] = sum(w * v[b, kv, j] for w, j in zip(weights, keys)) / math.fsum(weights)
    return out, lse


@thorough(100)
@given(specs(most=25))
def test_naive_loops(spec: Spec) -> None:
    """Random masks, biases, score functions, scales and fields, as Python evaluates them."""
    inputs = spec.inputs()
    ((found, lse),) = oracle(spec.program).with_lse({n: torch.from_numpy(t) for n, t in inputs.items()})
    expected, expected_lse = naive(spec, inputs)
    np.testing.assert_allclose(found.flatten(2, -2).numpy(), expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(lse.flatten(2).numpy(), expected_lse, rtol=0, atol=1e-11)


# --- rows without keys ----------------------------------------------------------------------------


def test_rows_without_keys():
    """Zeros, a log-sum-exp of minus infinity, no gradient; other rows are as if they were alone."""
    program = load_text(SPEC.format(", where = j < i - 2"))
    q, k, v = (randn(1, 2, 8, 4, seed=s).requires_grad_() for s in range(3))
    ((out, lse),) = oracle(program).with_lse({"q": q, "k": k, "v": v})
    (out.square().sum() + lse[lse > -math.inf].sum()).backward()
    assert not out[:, :, :3].any()
    assert (lse[:, :, :3] == -math.inf).all()
    assert torch.isfinite(lse[:, :, 3:]).all()
    assert not q.grad[:, :, :3].any()
    assert q.grad[:, :, 4:].any()
    assert not k.grad[:, :, 5:].any()
    for tensor in (q, k, v):
        assert torch.isfinite(tensor.grad).all()


def test_nothing_is_visible():
    q = randn(2, 3, 5, 4).requires_grad_()
    ((out, lse),) = oracle(load_text(SPEC.format(", where = i < 0"))).with_lse({"q": q, "k": q, "v": q})
    out.sum().backward()
    assert not out.any()
    assert (lse == -math.inf).all()
    assert not q.grad.any()


def test_a_bias_of_minus_infinity_is_invisible():
    text = SPEC.format(", bias = log(1 if i >= j else 0)")
    q, k, v = (randn(1, 1, 7, 4, seed=s) for s in range(3))
    close(exact(text, q=q, k=k, v=v), scaled_dot_product_attention(q, k, v, is_causal=True))


def test_hidden_scores_do_not_matter():
    """Where the mask hides a pair, its bias may be anything."""
    text = SPEC.format(", where = j < i, bias = log(i - j)")
    q, k, v = (randn(1, 1, 7, 4, seed=s).requires_grad_() for s in range(3))
    found = exact(text, q=q, k=k, v=v)
    found.sum().backward()
    for tensor in (found, q.grad, k.grad, v.grad):
        assert torch.isfinite(tensor).all()


def test_scores_of_any_size():
    """Scores of thousands neither overflow nor lose the largest."""
    q, k, v = (1000 * randn(1, 1, 9, 4, seed=s).requires_grad_() for s in range(3))
    found = exact(SPEC.format(", where = causal"), q=q, k=k, v=v)
    close(found / 1000, scaled_dot_product_attention(q, k, v, is_causal=True) / 1000)


# --- derivatives ----------------------------------------------------------------------------------

DIFFERENTIATED = {
    "dense": "",
    "masked": ", where = sliding(1)",
    "empty rows": ", where = j < i",
    "scored": ", where = causal, score = 3 * tanh(s / 3), scale = 0.7",
    "biased": ", where = causal, bias = b[i] - b[j] + tanh(b[i] * b[j]) * (i - j)",
    "both": ", score = s * tanh(b[j]) + 0.1 * (i - j), bias = exp(b[i] / 3)",
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients(name):
    """The derivatives are those of finite differences, for output and log-sum-exp."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; input b : x scalar; return attend(q, k, v"
        + DIFFERENTIATED[name]
        + ") }"
    )
    tensors = [
        randn(1, 2, 4, 3),
        randn(1, 1, 4, 3, seed=1),
        randn(1, 1, 4, 2, seed=2),
        randn(1, 2, 4, seed=3),
    ]

    def run(q, k, v, b):
        ((out, lse),) = oracle(program).with_lse({"q": q, "k": k, "v": v, "b": b})
        return out, lse[lse > -math.inf]

    assert torch.autograd.gradcheck(run, [tensor.requires_grad_() for tensor in tensors])


# --- shapes, types, rows --------------------------------------------------------------------------


def test_results_are_float64_and_shaped_like_the_queries():
    text = "attention a { tokens x[h, w]; tokens y[m]; input q : x; input k, v : y; return attend(q, k, v) }"
    q, k, v = torch.randn(2, 4, 3, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 6)
    out = exact(text, q=q, k=k, v=v)
    assert out.shape == (2, 4, 3, 5, 6)
    assert out.dtype == torch.float64
    half = exact(text, q=q.bfloat16(), k=k.bfloat16(), v=v.bfloat16())
    assert half.dtype == torch.float64  # of the rounded inputs, exactly
    close(half, exact(text, q=q.bfloat16().double(), k=k.bfloat16().double(), v=v.bfloat16().double()))


def test_several_results():
    text = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v), attend(k, q, v, where = causal) }"
    q, k, v = (randn(1, 2, 6, 4, seed=s) for s in range(3))
    first, second = exact(text, q=q, k=k, v=v)
    close(first, scaled_dot_product_attention(q, k, v))
    close(second, scaled_dot_product_attention(k, q, v, is_causal=True))


def test_chains():
    text = "attention a { tokens x[n]; tokens c[3]; input q, k, v : x; input m : c\n z = attend(m, k, v)\n return attend(q, m, z) }"
    q, k, v, m = (randn(1, 2, 6, 4, seed=s) for s in range(4))
    m = m[:, :, :3]
    expected = scaled_dot_product_attention(q, m, scaled_dot_product_attention(m, k, v))
    close(exact(text, q=q, k=k, v=v, m=m), expected)


@thorough(30)
@given(specs())
def test_rows_are_rows_of_the_whole(spec: Spec) -> None:
    """Asked for some queries, the oracle gives those and no others, in that order."""
    inputs = {name: torch.from_numpy(values) for name, values in spec.inputs().items()}
    ((out, lse),) = oracle(spec.program).with_lse(inputs)
    rows = torch.from_numpy(np.random.default_rng(spec.seed).permutation(spec.query.count)[:5])
    ((some, some_lse),) = oracle(spec.program).with_lse(inputs, rows)
    close(some, out.flatten(2, -2)[:, :, rows])
    close(some_lse, lse.flatten(2)[:, :, rows])


def test_missing_inputs_are_named():
    with pytest.raises(TypeError, match="missing inputs: k, v"):
        exact(SPEC.format(""), q=randn(1, 1, 3, 2))


def test_the_oracle_is_the_mask():
    """With one-hot values, the weights show which keys are seen."""
    program = attndsl.load("swin", size=3, shift=1)
    q = torch.zeros(1, 1, 6, 8, 4)
    v = torch.eye(48).view(1, 1, 6, 8, 48)
    table = {"table": torch.zeros(1, 5, 5)}
    weights = oracle(program)(params=table, q=q, k=q, v=v)[0, 0].flatten(0, 1)
    np.testing.assert_array_equal(weights.numpy() > 0, attndsl.mask(program, h=6, w=8))
    np.testing.assert_allclose(weights.sum(-1).numpy(), 1.0)


def test_fields_at_coordinates_from_fields():
    text = "attention a { tokens x[n]; input q, k, v : x; input lab : x int; input b : x scalar; return attend(q, k, v, bias = b[lab[j]]) }"
    q, b = randn(2, 1, 5, 4), randn(2, 1, 5)
    lab = torch.tensor([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
    bias = b.gather(2, lab[:, None])[:, :, None].expand(2, 1, 5, 5)
    close(exact(text, q=q, k=q, v=q, lab=lab, b=b), scaled_dot_product_attention(q, q, q, attn_mask=bias))


def test_extents_under_another_name():
    text = "attention a { tokens x[n]; tokens y[m = n]; input q, k, v : y; return attend(q, k, v) }"
    q = randn(1, 1, 5, 4)
    close(exact(text, q=q, k=q, v=q), scaled_dot_product_attention(q, q, q))
