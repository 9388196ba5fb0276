"""The kernels one by one against their formulas, written out here; gradients by finite differences."""

import math
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attndsl_codegen.kernels import chunked as chunked_module
from attndsl_codegen.kernels import operators
from attndsl_codegen.kernels import paired as paired_module
from attndsl_codegen.kernels.arguments import Tokens
from attndsl_codegen.kernels.attend import by_definition, by_kernel
from attndsl_codegen.kernels.chunked import chunked
from attndsl_codegen.kernels.contracted import contracted
from attndsl_codegen.kernels.fields import Field
from attndsl_codegen.kernels.paired import Factors, paired

QUERIES, KEYS, WIDTH, VALUES = 7, 5, 4, 3
X = Tokens("x", ("n",), ("n",), lambda at: (at["n"],))
Y = Tokens("y", ("m",), ("m",), lambda at: (at["m"],))
PAIRS = Tokens("pairs", ("0", "1"), (None, None), lambda at: (at["a"], at["b"]))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 31 * sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def mechanism(**hooks: Any) -> Any:
    """The hooks of an attend; every key is visible and nothing is added unless said otherwise."""
    given = {
        "operands": ("q", "k"),
        "query": X,
        "key": Y,
        "mask_fields": (),
        "real_fields": (),
        "normalize": "softmax",
        "causal": False,
        "decay": None,
        "score": None,
        "bias_by_distance": False,
        "bias": None,
        "times": None,
        "where": lambda *_: torch.tensor(True),
        "scale": lambda at: 0.5,
    }
    return SimpleNamespace(**{**given, **hooks})


def earlier(i: Tensor, j: Tensor, at: dict[str, Any]) -> Tensor:
    """Query 0 sees nothing, and query 4 neither."""
    return (j < i) & (i != 4)


def shifted(b: Any, i: Tensor, j: Tensor) -> Any:
    """A bias from a field of the keys."""
    return b(j) * (i - j) / 3 + 0.1 * b(j)


VARIANTS = {
    "plain": {},
    "masked": {"where": earlier},
    "biased": {
        "where": earlier,
        "real_fields": ("b",),
        "bias": lambda i, j, at: shifted(at["b"], i, j),
        "score": lambda s, i, j, at: 2 * torch.tanh(s / 2),
    },
    "times": {
        "where": earlier,
        "real_fields": ("b",),
        "times": lambda i, j, at: torch.exp(at["b"](j) - 0.1 * (i - j)),
    },
}


def weights_of(s: Tensor, visible: Tensor, normalize: str) -> Tensor:
    """Weights of scores by the words of the language reference."""
    match normalize:
        case "softmax":
            raised = torch.where(visible, s, -torch.inf).exp()
            total = raised.sum(-1, keepdim=True)
            return raised / torch.where(total == 0, 1.0, total)
        case "sigmoid":
            return torch.where(visible, 1 / (1 + torch.exp(-s)), 0.0)
        case "linear":
            kept = torch.where(visible, s, 0.0)
            total = kept.sum(-1, keepdim=True)
            least = torch.where(total < 0, -1e-6, 1e-6)
            return kept / torch.where(total.abs() < 1e-6, least, total)
        case _:
            return torch.where(visible, s, 0.0)


def formula(name: str, normalize: str, q: Tensor, k: Tensor, v: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The attend of a variant, dense, with its log-sum-exp."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    i, j = torch.arange(q.shape[2]).view(-1, 1), torch.arange(k.shape[2])
    s = 0.5 * q @ k.transpose(-1, -2)
    visible = torch.ones_like(s, dtype=torch.bool) if name == "plain" else earlier(i, j, {}).expand_as(s)
    if name == "biased":
        s = 2 * torch.tanh(s / 2) + b.unsqueeze(2) * (i - j) / 3 + 0.1 * b.unsqueeze(2)
    weight = weights_of(s, visible, normalize)
    if name == "times":
        weight = weight * torch.exp(b.unsqueeze(2) - 0.1 * (i - j))
    return weight @ v, torch.where(visible, s, -torch.inf).logsumexp(-1)


def operands(heads: int, kv_heads: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Queries, keys, values, and a field of the keys."""
    return (
        random(2, heads, QUERIES, WIDTH, seed=1, dtype=dtype),
        random(2, kv_heads, KEYS, WIDTH, seed=2, dtype=dtype),
        random(2, kv_heads, KEYS, VALUES, seed=3, dtype=dtype),
        random(2, heads, KEYS, seed=4, dtype=dtype),
    )


def attend(kernel: Any, hooks: Any, q: Tensor, k: Any, v: Any, b: Tensor, how: Any = by_kernel) -> Any:
    """One call of a kernel as generated code makes it."""
    real = torch.float64 if q.dtype == torch.float64 else torch.float32
    sizes = {"n": q.shape[2], "m": KEYS, "a": 3, "b": 5, "heads": q.shape[1], "real dtype": real}
    if hooks.key is PAIRS:
        sizes |= {"a": k.a.shape[2], "b": k.b.shape[2]}
    fields = {"b": Field(b)} if hooks.real_fields else {}
    return how(kernel, hooks, {**sizes, **fields}, q, k, v)


def with_finite_lse(call: Any) -> Any:
    """A call whose results finite differences can be taken of: rows without keys have no log-sum-exp."""

    def finite(*tensors: Tensor) -> tuple[Tensor, ...]:
        out, lse = call(*tensors)
        return (out,) if lse is None else (out, torch.where(torch.isfinite(lse), lse, 0.0))

    return finite


# --- chunked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 70, 1 << 21], ids=lambda chunk: f"chunk{chunk}")
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("normalize", ["softmax", "linear", "sigmoid", "none"])
@pytest.mark.parametrize("name", VARIANTS)
def test_chunked_is_the_formula(name, normalize, heads, chunk, monkeypatch):
    monkeypatch.setattr(chunked_module, "CHUNK_SCORES", chunk)
    hooks = mechanism(normalize=normalize, **VARIANTS[name])
    q, k, v, b = operands(*heads)
    out, lse = attend(chunked, hooks, q, k, v, b)
    expected, expected_lse = formula(name, normalize, q, k, v, b)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    if normalize == "softmax":
        torch.testing.assert_close(lse, expected_lse, rtol=1e-12, atol=1e-12)
    else:
        assert lse is None


@pytest.mark.parametrize("normalize", ["softmax", "linear", "sigmoid", "none"])
@pytest.mark.parametrize("name", VARIANTS)
def test_chunked_gradients(name, normalize, monkeypatch):
    """Of output and log-sum-exp, through queries, keys, values and the field, over several chunks."""
    monkeypatch.setattr(chunked_module, "CHUNK_SCORES", 64)
    hooks = mechanism(normalize=normalize, **VARIANTS[name])
    leaves = [t[:1].clone().requires_grad_() for t in operands(2, 1)]
    assert torch.autograd.gradcheck(with_finite_lse(partial(attend, chunked, hooks)), leaves, atol=1e-6)


@pytest.mark.parametrize("normalize", ["softmax", "linear", "sigmoid", "none"])
def test_chunked_rows_without_keys_are_zero_and_send_nothing(normalize):
    leaves = [t.requires_grad_() for t in operands(2, 2)]
    hooks = mechanism(normalize=normalize, **VARIANTS["biased"])
    out, lse = attend(chunked, hooks, *leaves)
    assert (out[:, :, [0, 4]] == 0).all()
    if lse is not None:
        assert (lse[:, :, [0, 4]] == -torch.inf).all()
    out[:, :, [0, 4]].sum().backward()
    assert all((t.grad == 0).all() for t in leaves if t.grad is not None)


def test_chunked_log_sum_exp_of_plain_numbers_has_no_gradient():
    hooks = mechanism(score=lambda s, i, j, at: (i - j).double())
    q, k, v, b = (t.requires_grad_() for t in operands(2, 2))
    _, lse = attend(chunked, hooks, q, k, v, b)
    lse.sum().backward()
    assert all(t.grad is None or (t.grad == 0).all() for t in (q, k, v))


@pytest.mark.parametrize("normalize", ["softmax", "linear", "sigmoid", "none"])
@pytest.mark.parametrize("kernel", [chunked, None], ids=["chunked", "definition"])
def test_chunked_in_bfloat16(kernel, normalize):
    hooks = mechanism(normalize=normalize, **VARIANTS["times"])
    half = operands(4, 2, torch.bfloat16)
    if normalize == "linear":
        half = tuple(t.abs() for t in half)  # positive sums, as feature maps give
    found, _ = attend(kernel, hooks, *half, how=by_kernel if kernel else by_definition())
    expected, _ = formula("times", normalize, *(t.double() for t in half))
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max() <= 2e-2 * expected.abs().max()


# --- contracted -------------------------------------------------------------------------------------


def sequences(heads: int, kv_heads: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Queries, keys and values of one length, positive: their products may be divided by."""
    shapes = ((heads, WIDTH), (kv_heads, WIDTH), (kv_heads, VALUES))
    return tuple(
        random(2, count, QUERIES, width, seed=at, dtype=dtype).abs() + 0.1
        for at, (count, width) in enumerate(shapes)
    )


def products(normalize: str, causal: bool, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same dense."""
    group = q.shape[1] // k.shape[1]
    s = 0.5 * q @ k.repeat_interleave(group, 1).transpose(-1, -2)
    visible = torch.ones_like(s, dtype=torch.bool)
    return weights_of(s, visible.tril() if causal else visible, normalize) @ v.repeat_interleave(group, 1)


def in_chunks(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Causal sums in chunks of so many tokens, three of them at a time."""
    monkeypatch.setattr("attndsl_codegen.kernels.causal.CAUSAL_CHUNK", tokens)
    monkeypatch.setattr("attndsl_codegen.kernels.causal.CAUSAL_CHUNKS", 3)


@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("normalize", ["linear", "none"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 128])
def test_contracted_is_the_formula(normalize, causal, heads, chunk, monkeypatch):
    in_chunks(monkeypatch, chunk)
    hooks = mechanism(normalize=normalize, causal=causal, key=X)
    q, k, v = sequences(*heads)
    out, lse = attend(contracted, hooks, q, k, v, q)
    assert lse is None
    torch.testing.assert_close(out, products(normalize, causal, q, k, v), rtol=1e-12, atol=1e-12)
    few = tuple(t[:, :, :2] for t in (q, k, v))  # fewer tokens than channels: the other order
    found = attend(contracted, hooks, *few, q)[0]
    torch.testing.assert_close(found, products(normalize, causal, *few), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("normalize", ["linear", "none"])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_contracted_gradients(normalize, causal, chunk, monkeypatch):
    in_chunks(monkeypatch, chunk)
    hooks = mechanism(normalize=normalize, causal=causal, key=X)
    leaves = [t[:1].clone().requires_grad_() for t in sequences(2, 1)]
    assert torch.autograd.gradcheck(lambda q, k, v: attend(contracted, hooks, q, k, v, q)[0], leaves)


def faded() -> Any:
    """Hooks of causal products with a decay from a field and from the distance."""
    return mechanism(
        normalize="none",
        causal=True,
        key=X,
        where=lambda i, j, at: j <= i,
        real_fields=("b",),
        times=lambda i, j, at: torch.exp(at["b"](i) - at["b"](j)) * 0.9 ** (i - j).double(),
        decay=lambda i, at: at["b"](i) + math.log(0.9) * i.double(),
    )


@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 128])
def test_decay_is_the_formula(heads, chunk, monkeypatch):
    """Also a decay so strong that exp(-decay) alone would be infinite."""
    in_chunks(monkeypatch, chunk)
    q, k, v = sequences(*heads)
    b = -400 * random(2, heads[0], QUERIES, seed=4, dtype=torch.float64).abs().cumsum(-1)
    for field in (b, b / 1000):
        found = attend(contracted, faded(), q, k, v, field)[0]
        expected = attend(contracted, faded(), q, k, v, field, how=by_definition())[0]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert expected[:, :, 2:].abs().min() > 0


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_gradients_of_a_decay(chunk, monkeypatch):
    in_chunks(monkeypatch, chunk)
    b = random(1, 2, QUERIES, seed=4, dtype=torch.float64)
    leaves = [t[:1].clone().requires_grad_() for t in (*sequences(2, 1), b)]
    assert torch.autograd.gradcheck(lambda *given: attend(contracted, faded(), *given)[0], leaves)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("normalize", ["linear", "none"])
def test_contracted_in_bfloat16(normalize, causal):
    half = sequences(4, 2, torch.bfloat16)
    found, _ = attend(contracted, mechanism(normalize=normalize, causal=causal, key=X), *half, half[0])
    expected = products(normalize, causal, *(t.double() for t in half))
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max() <= 2e-2 * expected.abs().max()


def test_a_small_sum_is_divided_by_as_the_language_says():
    """The sum of weights is 1e-9 and -1e-9: the divisor is 1e-6 with its sign."""
    q, k = torch.tensor([[1e-9], [-1e-9]]).double().view(1, 1, 2, 1), torch.ones(1, 1, 2, 1).double()
    v = torch.tensor([1.0, 3.0]).double().view(1, 1, 2, 1)
    hooks = mechanism(normalize="linear", key=X, scale=lambda at: 0.5)
    out, _ = attend(contracted, hooks, q, k, v, q)
    torch.testing.assert_close(out.flatten(), torch.tensor([2e-3, 2e-3]).double())


# --- paired -----------------------------------------------------------------------------------------


def factors(heads: int, kv_heads: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Queries, two factors of keys and of values, a field of the pairs' first tokens."""
    return (
        random(2, heads, QUERIES, WIDTH, seed=1, dtype=dtype),
        *(random(2, kv_heads, n, WIDTH, seed=n, dtype=dtype) for n in (3, 5)),
        *(random(2, kv_heads, n, VALUES, seed=n + 9, dtype=dtype) for n in (3, 5)),
        random(2, heads, 3, seed=8, dtype=dtype),
    )


PAIRED = {
    "plain": {},
    "masked": {"where": lambda i, a, b, at: (a + b < i) & (i != 4)},
    "biased": {
        "where": lambda i, a, b, at: (a + b < i) & (i != 4),
        "real_fields": ("b",),
        "bias": lambda i, a, b, at: at["b"](a) * (i - b) / 3,
        "score": lambda s, i, a, b, at: 2 * torch.tanh(s / 2),
    },
}


def pair_formula(name: str, q: Tensor, k1: Tensor, k2: Tensor, v1: Tensor, v2: Tensor, b: Tensor) -> Any:
    """Softmax over all pairs, dense."""
    group = q.shape[1] // k1.shape[1]
    k1, k2, v1, v2 = (t.repeat_interleave(group, 1) for t in (k1, k2, v1, v2))
    s = 0.5 * torch.einsum("bhic,bhxc,bhyc->bhixy", q, k1, k2)
    i, x, y = torch.arange(QUERIES).view(-1, 1, 1), torch.arange(3).view(-1, 1), torch.arange(5)
    visible = torch.ones_like(s, dtype=torch.bool)
    if name != "plain":
        visible = ((x + y < i) & (i != 4)).expand_as(s)
    if name == "biased":
        s = 2 * torch.tanh(s / 2) + b[:, :, None, :, None] * (i - y) / 3
    weight = weights_of(s.flatten(3), visible.flatten(3), "softmax").view_as(s)
    lse = torch.where(visible, s, -torch.inf).flatten(3).logsumexp(-1)
    return torch.einsum("bhixy,bhxc,bhyc->bhic", weight, v1, v2), lse


def attend_pairs(hooks: Any, q: Tensor, k1: Tensor, k2: Tensor, v1: Tensor, v2: Tensor, b: Tensor) -> Any:
    return attend(paired, hooks, q, Factors(k1, k2), Factors(v1, v2), b)


@pytest.mark.parametrize("scores", [1, 200, 1 << 21], ids=lambda scores: f"scores{scores}")
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("name", PAIRED)
def test_paired_is_the_formula(name, heads, scores, monkeypatch):
    monkeypatch.setattr(paired_module, "PAIR_SCORES", scores)
    given = factors(*heads)
    found = attend_pairs(mechanism(key=PAIRS, **PAIRED[name]), *given)
    for part, expected in zip(found, pair_formula(name, *given)):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PAIRED)
def test_paired_gradients(name, monkeypatch):
    """Query 4 sees no pair at all, unless nothing is masked."""
    monkeypatch.setattr(paired_module, "PAIR_SCORES", 60)
    hooks = mechanism(key=PAIRS, **PAIRED[name])
    leaves = [t[:1].clone().requires_grad_() for t in factors(2, 1)]
    assert torch.autograd.gradcheck(with_finite_lse(partial(attend_pairs, hooks)), leaves, atol=1e-6)


def test_paired_in_bfloat16():
    half = factors(4, 2, torch.bfloat16)
    found, _ = attend_pairs(mechanism(key=PAIRS), *half)
    expected, _ = pair_formula("plain", *(t.double() for t in half))
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max() <= 2e-2 * expected.abs().max()


def test_paired_large_scores_do_not_overflow():
    given = factors(2, 2)
    found = attend_pairs(mechanism(key=PAIRS), 300 * given[0], *given[1:])
    expected = pair_formula("plain", 300 * given[0], *given[1:])[1]
    torch.testing.assert_close(found[1], expected)
    assert torch.isfinite(found[0]).all()


# --- operators --------------------------------------------------------------------------------------


def grid(*shape: int, seed: int = 0) -> Tensor:
    """A feature on a 3 x 5 grid."""
    return random(2, shape[0], 15, shape[1], seed=seed)


def each_token(extents: tuple[int, ...]) -> Any:
    """Row-major numbers and coordinates."""
    return enumerate(product(*map(range, extents)))


def test_gathered_reads_row_by_row():
    f = grid(2, 4)
    i = torch.arange(6).view(1, -1, 1)
    places = (i // 2 - 1, 2 * i - 3)
    zero = operators.gathered(f, places, (3, 5), "zero")
    near = operators.gathered(f, places, (3, 5), "clamp")
    for token in range(6):
        a, b = token // 2 - 1, 2 * token - 3
        inside = 0 <= a < 3 and 0 <= b < 5
        expected = f[:, :, a * 5 + b] if inside else torch.zeros_like(f[:, :, 0])
        assert torch.equal(zero[:, :, token], expected)
        number = min(max(a, 0), 2) * 5 + min(max(b, 0), 4)
        assert torch.equal(near[:, :, token], f[:, :, number])
    with pytest.raises(ValueError, match=r"gather: a place lies outside the \(3, 5\) tokens"):
        operators.gathered(f, places, (3, 5), "error")


LABELS = torch.tensor(
    [[0, 2, 2, 7, 1, 0, -1, 2, 0, 1, 1, 5, 0, 2, 2], [3, 3, 0, 0, 0, 4, 4, 4, 1, 1, 9, 2, 2, 2, 2]]
)


@pytest.mark.parametrize("how", ["sum", "mean", "max", "count"])
def test_regrouped_is_a_loop(how):
    """Places outside the five groups are left out; a group without tokens is zero."""
    f, labels = grid(2, 3) - 5, LABELS.view(2, 1, 1, 15, 1)
    found = operators.regrouped(None if how == "count" else f, how, (labels,), (5,))
    for batch, group in product(range(2), range(5)):
        members = [at for at in range(15) if int(LABELS[batch, at]) == group]
        rows = f[batch, :, members]
        empty = torch.zeros(2, 3).double()
        expected = {
            "sum": rows.sum(1),
            "mean": rows.mean(1) if members else empty,
            "max": rows.amax(1) if members else empty,
            "count": torch.full((1, 1), float(len(members))).double(),
        }[how]
        torch.testing.assert_close(found[batch, :, group].double(), expected)


@pytest.mark.parametrize("bins", [(2, 2), (3, 4), (1, 5), (7, 7)], ids=str)
def test_pooled_is_pytorchs(bins):
    f = grid(2, 3)
    pictures = f.transpose(-1, -2).unflatten(-1, (3, 5)).flatten(0, 1)
    expected = (
        functional.adaptive_avg_pool2d(pictures, bins).unflatten(0, (2, 2)).flatten(3).transpose(-1, -2)
    )
    torch.testing.assert_close(operators.pooled(f, (3, 5), bins), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_running_sum_is_a_loop(axis):
    f = grid(2, 3)
    found = operators.running_sum(f, (3, 5), axis).unflatten(2, (3, 5))
    cells = f.unflatten(2, (3, 5))
    for _, (a, b) in each_token((3, 5)):
        before = cells[:, :, : a + 1, b].sum(2) if axis == 0 else cells[:, :, a, : b + 1].sum(2)
        torch.testing.assert_close(found[:, :, a, b], before)


def test_depthwise_and_convolved_are_loops():
    f, weight, mixing = grid(2, 3), random(1, 2, 9, 3), random(1, 2, 27, 4)
    single = operators.depthwise(f, weight, (3, 5), 3)
    mixed = operators.convolved(f, mixing, (3, 5), 3)
    for token, (a, b) in each_token((3, 5)):
        alone, together = torch.zeros(2, 2, 3).double(), torch.zeros(2, 2, 4).double()
        for offset, (da, db) in each_token((3, 3)):
            x, y = a + da - 1, b + db - 1
            if 0 <= x < 3 and 0 <= y < 5:
                alone += weight[:, :, offset] * f[:, :, x * 5 + y]
                kernel = mixing[0].unflatten(1, (9, 3))[:, offset]
                together += torch.einsum("bhc,hcw->bhw", f[:, :, x * 5 + y], kernel)
        torch.testing.assert_close(single[:, :, token], alone)
        torch.testing.assert_close(mixed[:, :, token], together)


def test_joint_softmax_is_one_softmax():
    """Three parts, one without keys for some queries, one without keys for all: as if side by side."""
    scores = [random(2, 2, QUERIES, n, seed=n) * 30 for n in (3, 4, 2)]
    scores[0][:, :, :2] = -torch.inf
    scores[1][:, :, 1] = -torch.inf
    scores[2][:] = -torch.inf
    values = [random(2, 2, n, VALUES, seed=n + 5) for n in (3, 4, 2)]
    parts = [(weights_of(s, s > -torch.inf, "softmax") @ v, s.logsumexp(-1)) for s, v in zip(scores, values)]
    out, lse = operators.joint_softmax(*parts)
    every = torch.cat(scores, -1)
    torch.testing.assert_close(out, weights_of(every, every > -torch.inf, "softmax") @ torch.cat(values, 2))
    torch.testing.assert_close(lse, every.logsumexp(-1))


def test_joint_softmax_gradients():
    def joint(a: Tensor, b: Tensor, la: Tensor, lb: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tensor([True, False, False])
        out, lse = operators.joint_softmax((a, la.masked_fill(hidden, -torch.inf)), (b, lb))
        return out, lse

    leaves = [random(1, 2, 3, 4), random(1, 2, 3, 4, seed=1), random(1, 2, 3), random(1, 2, 3, seed=1)]
    assert torch.autograd.gradcheck(joint, [t.requires_grad_() for t in leaves])


def test_joint_softmax_of_nothing_sends_no_gradient():
    out = random(1, 1, 2, 3).requires_grad_()
    lse = torch.full((1, 1, 2), -torch.inf).double().requires_grad_()
    found, total = operators.joint_softmax((out, lse), (out, lse))
    assert (found == 0).all()
    assert (total == -torch.inf).all()
    found.sum().backward()
    assert (out.grad == 0).all()
    assert (lse.grad == 0).all()


def test_rotated_scores_depend_on_the_distance_alone():
    q = random(1, 1, 1, 8).expand(1, 1, 9, 8)
    k = random(1, 1, 1, 8, seed=1).expand(1, 1, 9, 8)
    turned = [operators.rotated(t, (9,), 10000.0) for t in (q, k)]
    s = (turned[0] @ turned[1].transpose(-1, -2))[0, 0]
    for distance in range(-8, 9):
        diagonal = s.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm(dim=-1))
    assert not torch.allclose(turned[0], q)


def test_heads_and_channels_come_back():
    f = random(2, 1, 15, 12)
    assert torch.equal(operators.merged_heads(operators.split_heads(f, 4)), f)
    assert operators.split_heads(f, 4)[:, 1].equal(f[:, 0, :, 3:6])
    assert torch.equal(operators.swapped_channels(operators.swapped_channels(f)), f)
    with pytest.raises(ValueError, match="a width of 12 does not divide into 5 heads"):
        operators.split_heads(f, 5)


def test_nearest_code_is_the_nearest():
    f, code = grid(2, 4), random(1, 2, 6, 4)
    code[:, :, 5] = code[:, :, 2]  # equals: the lowest
    label = operators.nearest_code(f, code)
    distance = ((f.unsqueeze(3) - code.unsqueeze(2)) ** 2).sum(-1)
    assert torch.equal(label[..., 0], distance[..., :5].argmin(-1))
    chosen = operators.codes_of(code, label, f.dtype)
    torch.testing.assert_close(((f - chosen) ** 2).sum(-1), distance.amin(-1))
    assert operators.nearest_code(f[:0], code).shape == (0, 2, 15, 1)


def test_a_codebook_passes_gradients_straight_through():
    f, code = grid(2, 4).requires_grad_(), random(1, 2, 6, 4).requires_grad_()
    label = operators.nearest_code(f, code)
    upstream = grid(2, 4, seed=3)
    operators.assigned_code(f, code, label).backward(upstream)
    assert torch.equal(f.grad, upstream)
    f.grad = None
    operators.commitment(f, code, label).sum().backward()
    torch.testing.assert_close(f.grad, 2 * (f - operators.codes_of(code, label, f.dtype)).detach() / 60)
    assert code.grad is None


def test_codewords_follow_the_mean_of_their_tokens():
    """Without memory a codeword becomes the mean; without tokens it stays."""
    f, code = grid(2, 4), random(1, 2, 40, 4)
    label = operators.nearest_code(f, code)
    moved, weight = operators.followed_tokens(f, code, torch.ones(1, 2, 40, 1).double(), label, 0.0)
    for head, number in product(range(2), range(40)):
        members = f[:, head][label[:, head, :, 0] == number]
        assert float(weight[0, head, number]) == len(members)
        if len(members):
            torch.testing.assert_close(moved[0, head, number], members.mean(0))
    kept, _ = operators.followed_tokens(f, code, torch.ones(1, 2, 40, 1).double(), label, 0.9)
    unused = weight[0, 0, :, 0] == 0
    torch.testing.assert_close(kept[0, 0, unused], code[0, 0, unused])


def test_projected_by_class_is_a_loop():
    f, weight, classes = grid(1, 4), random(1, 1, 12, 3), LABELS.clamp(0, 2).view(2, 1, 15, 1)
    found = operators.projected_by_class(f, weight, classes)
    for batch, token in product(range(2), range(15)):
        own = weight[0, 0].unflatten(0, (3, 4))[int(classes[batch, 0, token, 0])]
        torch.testing.assert_close(found[batch, 0, token], f[batch, 0, token] @ own)


PLACES = (LABELS.view(2, 1, 1, 15, 1),)
OPERATORS = {
    "sum over heads": lambda f: operators.reduced(f, "sum", (3, 5), (1,)),
    "mean over an axis": lambda f: operators.reduced(f, "mean", (3, 5), (3,)),
    "var over tokens": lambda f: operators.reduced(f, "var", (3, 5), (2, 3)),
    "max over width": lambda f: operators.reduced(f, "max", (3, 5), (-1,)),
    "norm over heads": lambda f: operators.reduced(f, "norm", (3, 5), (1,)),
    "softmax over an axis": lambda f: operators.reduced(f, "softmax", (3, 5), (2,)),
    "gathered": lambda f: operators.gathered(f, PLACES, (3,), "zero"),
    "sum by": lambda f: operators.regrouped(f, "sum", PLACES, (5,)),
    "mean by": lambda f: operators.regrouped(f, "mean", PLACES, (5,)),
    "max by": lambda f: operators.regrouped(f, "max", PLACES, (5,)),
    "pooled": lambda f: operators.pooled(f, (3, 5), (2, 3)),
    "running sum": lambda f: operators.running_sum(f, (3, 5), 1),
    "joined": lambda f: operators.joined(f, f[:, :1]),
    "split": lambda f: operators.merged_heads(operators.split_heads(f[:, :1], 2)),
    "rotated": lambda f: operators.rotated(f, (3, 5), 100.0),
    "depthwise": lambda f: operators.depthwise(f, random(1, 2, 9, 4), (3, 5), 3),
    "convolved": lambda f: operators.convolved(f, random(1, 2, 36, 3), (3, 5), 3),
    "projected": lambda f: operators.projected(f, random(1, 2, 4, 3)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_gradients(name):
    f = (grid(2, 4) if name != "gathered" else random(2, 2, 3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(OPERATORS[name], [f])


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_in_single_precision(name):
    f = grid(2, 4) if name != "gathered" else random(2, 2, 3, 4)
    found, expected = OPERATORS[name](f.float()), OPERATORS[name](f)
    assert found.dtype == torch.float32
    assert (found.double() - expected).abs().max() <= 1e-5 * expected.abs().max()
