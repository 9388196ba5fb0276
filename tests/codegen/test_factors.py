"""Softmax with factors of its weights by the Triton kernels, forward and backward, against the definition."""

from unittest.mock import patch

import pytest
import torch

from attndsl.exact import oracle
from attndsl.language import load_text
from attndsl_codegen.kernels.triton import launch
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import check, quick, run

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

TOLERANCE = 1e-4
NO_LSE = torch.zeros(0)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Tiles so small that tests visit several."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: Configuration(32, 16, warps=4, stages=1))


def randoms(names, *shape, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name in names.split()}


QKV = randoms("q k v", 2, 2, 37, 16)
GRID = randoms("q k v", 2, 2, 5, 7, 16)
PLAIN = "tokens x[n]; input q, k, v : x; "
WITH_A = PLAIN + "input a : x scalar"
ATTENDS = {
    "of places": (PLAIN, "where = causal, times = 1 / (1 + i - j)", QKV),
    "every key": (PLAIN, "times = cos((i - j) / 5)", QKV),
    "of the head": (PLAIN, "where = sliding(9), times = 0.5 ** head", QKV),
    "of a table": (PLAIN + "learn t : [19] scalar", "where = sliding(9), times = t[i - j + 9]", QKV | randoms("t", 2, 19)),
    "of the query": (WITH_A, "where = causal, times = a[i]", QKV | randoms("a", 2, 2, 37)),
    "of the key, in a function": (WITH_A, "times = tanh(a[j]) ** 2", QKV | randoms("a", 2, 2, 37)),
    "of a field that the bias looks up, too": (
        WITH_A,
        "where = causal, bias = a[j], times = sigmoid(a[i]) * a[j]",
        QKV | randoms("a", 2, 2, 37),
    ),
    "after a score": (WITH_A, "score = 3 * tanh(s / 3) + a[i], times = a[j]", QKV | randoms("a", 2, 2, 37)),
    "grouped heads": (
        WITH_A,
        "where = causal, times = a[j]",
        QKV | randoms("k v", 2, 1, 37, 16, seed=5) | randoms("a", 2, 2, 37),
    ),
    "another width of values": (PLAIN, "where = causal, times = 2 ** (j - i)", QKV | randoms("v", 2, 2, 37, 24)),
    "rows without keys": (WITH_A, "where = j + 20 <= i, times = a[j]", QKV | randoms("a", 2, 2, 37)),
    "infinite where hidden": (PLAIN, "where = causal, times = 1 / (1 + min(i - j, 1)) + exp(400 * (j - i))", QKV),
    "hidden by an infinite bias": (
        WITH_A,
        "bias = log(a[j]), times = 1 / (a[j] + (a[j] - 1) ** 2)",
        QKV | {"a": torch.arange(148).view(2, 2, 37).remainder(3).float()},
    ),
    "documents": (
        WITH_A + "; input doc : x int",
        "where = document(doc), times = a[j] - a[i]",
        QKV | randoms("a", 2, 2, 37) | {"doc": torch.arange(74).view(2, 37) // 11},
    ),
    "paths on a grid": (
        "tokens x[h, w]; input q, k, v : x; input a, b : x scalar",
        "times = exp(-abs(a[i.h, i.w] - a[i.h, j.w]) - abs(b[i.h, j.w] - b[j.h, j.w]))",
        GRID | randoms("a b", 2, 2, 5, 7),
    ),
}  # fmt: skip
"""Declarations, options of attend, inputs and learned tensors."""


@pytest.mark.parametrize("name", ATTENDS)
def test_factors(name):
    declarations, options, inputs = ATTENDS[name]
    program = load_text(f"attention a {{ {declarations}; return attend(q, k, v, {options}) }}")
    inputs = {v.name: inputs[v.name] for v in (*program.inputs, *program.learned)}
    function = quick(program, {}).function
    with patch.object(launch, "chunked", None):  # torch would fail
        found = run(lambda leaves: (function(*leaves.values()), NO_LSE), inputs)
    doubled = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
    definition = oracle(program)
    check(found, run(lambda leaves: (definition.with_lse(leaves)[0][0], NO_LSE), doubled), TOLERANCE)
