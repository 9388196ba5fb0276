"""Weights that are no softmax by the Triton kernels, forward and backward, against the exact definition."""

from unittest.mock import patch

import pytest
import torch

import attndsl
from attndsl.api import import_source
from attndsl.exact import oracle
from attndsl.language import load_text
from attndsl_codegen import generate
from attndsl_codegen.kernels.triton import launch
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import check, quick, run
from tests.codegen.interpreter import bfloat16

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

TOLERANCE = 1e-4
NO_LSE = torch.zeros(0)
SMALL = Configuration(32, 16, warps=4, stages=1)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Tiles so small that tests visit several, and no torch in their place."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)
    monkeypatch.setattr(launch, "chunked", None)


def randoms(names, *shape, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name in names.split()}


QKV = randoms("q k v", 2, 2, 37, 16)
GRID = randoms("q k v", 2, 2, 5, 7, 16)
GROUPED = randoms("q", 2, 4, 37, 24) | randoms("k", 2, 2, 37, 24, seed=4) | randoms("v", 2, 2, 37, 5, seed=5)
CROSS = randoms("q", 2, 2, 21, 16) | randoms("k v", 2, 2, 37, 16, seed=4)
A = randoms("a", 2, 2, 37)
PLAIN = "tokens x[n]; input q, k, v : x"
WITH_A = PLAIN + "; input a : x scalar"
DOCUMENTS = {"doc": torch.arange(74).view(2, 37) // 11}
ATTENDS = {
    "sigmoids of all": (PLAIN, "normalize = sigmoid, bias = -3", QKV),
    "sigmoids of a window": (PLAIN, "where = causal and sliding(9), normalize = sigmoid", QKV),
    "sigmoids in grouped heads": (PLAIN, "where = causal, normalize = sigmoid", GROUPED),
    "sums of a window": (PLAIN, "where = sliding(5), normalize = none", QKV),
    "sums across": ("tokens x[n]; tokens y[m]; input q : x; input k, v : y", "where = j <= i + 3, normalize = none", CROSS),
    "squares": (PLAIN, "where = causal, score = max(s, 0) ** 2, normalize = none", QKV),
    "squares, divided": (PLAIN, "where = causal, score = s ** 2, normalize = linear", GROUPED),
    "divided by the sum of a window": (PLAIN, "where = sliding(5), score = s ** 2 + 0.1, normalize = linear", QKV),
    "divided, with factors": (WITH_A, "where = causal, score = s * s, normalize = linear, times = a[j] - a[i]", QKV | A),
    "divided by nothing": (PLAIN, "where = sliding(5) and i % 3 > 0, score = 0 * s, normalize = linear", QKV),
    "negative sums": (PLAIN, "where = causal, score = -(s ** 2), normalize = linear", QKV),
    "rows without keys": (PLAIN, "where = j + 20 <= i, normalize = sigmoid", QKV),
    "factors that are no decay": (PLAIN, "where = causal, normalize = none, times = 1 / (1 + i - j)", QKV),
    "factors of zero scores": (WITH_A, "where = causal, score = 0 * a[i], normalize = none, times = a[j]", QKV | A),
    "factors of sigmoids": (WITH_A, "where = sliding(7), normalize = sigmoid, times = a[j]", QKV | A),
    "a bias": (WITH_A, "where = causal, normalize = sigmoid, bias = a[j] * a[i]", QKV | A),
    "a table": (
        PLAIN + "; learn t : [19] scalar",
        "where = sliding(9), normalize = none, bias = t[i - j + 9]",
        QKV | randoms("t", 2, 19),
    ),
    "a table, divided": (
        PLAIN + "; learn t : [19] scalar",
        "where = sliding(9), normalize = linear, score = exp(s / 4 + t[i - j + 9])",
        QKV | randoms("t", 2, 19),
    ),
    "infinite where hidden": (PLAIN, "where = causal, normalize = none, times = 1 / (1 + min(i - j, 1))", QKV),
    "hidden by an infinite bias": (
        WITH_A,
        "normalize = sigmoid, bias = log(a[j])",
        QKV | {"a": torch.arange(148).view(2, 2, 37).remainder(3).float()},
    ),
    "documents": (
        PLAIN + "; input doc : x int",
        "where = causal and document(doc), normalize = linear, score = exp(s)",
        QKV | DOCUMENTS,
    ),
    "windows of a grid": (
        "tokens x[h, w]; input q, k, v : x",
        "where = h: window(3) and w: window(3), normalize = sigmoid",
        GRID,
    ),
}  # fmt: skip
"""Declarations, options of attend, inputs and learned tensors."""


def program_of(name):
    declarations, options, _ = ATTENDS[name]
    return load_text(f"attention a {{ {declarations}; return attend(q, k, v, {options}) }}")


def agrees(name, program, call, inputs, tolerance=TOLERANCE):
    inputs = {v.name: inputs[v.name] for v in (*program.inputs, *program.learned)}
    found = run(lambda leaves: (call(*leaves.values()), NO_LSE), inputs)
    doubled = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
    definition = oracle(program)
    check(found, run(lambda leaves: (definition.with_lse(leaves)[0][0], NO_LSE), doubled), tolerance)


@pytest.mark.parametrize("name", ATTENDS)
def test_weights(name):
    program = program_of(name)
    agrees(name, program, quick(program, {}).function, ATTENDS[name][2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["sigmoids in grouped heads", "squares, divided"])
def test_half_precision(name, dtype):
    """Against the definition on the same rounded inputs. Plain scores in float16 are computed in float32."""
    inputs = {n: t.to(dtype) for n, t in ATTENDS[name][2].items()}
    with bfloat16():
        agrees(name, program_of(name), quick(program_of(name), {}).function, inputs, 3e-2)


@pytest.mark.parametrize("name", ["sigmoids of a window", "divided by the sum of a window"])
def test_folded_files(name):
    """As they are for readers: nothing of softmax is left."""
    text = generate(program_of(name))
    assert "weighted_forward_kernel" in text
    assert "softmax_forward_kernel" not in text
    assert "NORMALIZE" not in text
    folded = import_source(text, "folded")
    folded.BACKEND, folded.configuration = "triton", lambda *_: SMALL
    with patch.object(folded, "chunked", None):
        agrees(name, program_of(name), folded.a, ATTENDS[name][2])


def test_operators(monkeypatch):
    """As a whole graph, and again for the gradient."""
    function = quick(program_of("sigmoids of a window"), {}).function
    torch._dynamo.reset()
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for called in (function, whole):
        leaves = [t.clone().requires_grad_() for t in QKV.values()]
        out = called(*leaves)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results))


def test_scores_of_tables_alone_are_products_of_matrices():
    """Without queries all weights are one matrix, which torch multiplies."""
    text = "attention a { tokens x[n]; input v : x; input a : x scalar; return attend(v = v, score = a[j]) }"
    assert "jit" not in attndsl.source(load_text(text))
