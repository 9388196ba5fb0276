"""The Triton kernels of softmax over pairs of tokens, in the interpreter, against the exact definition."""

import pytest
import torch

import attndsl
from attndsl.api import import_source
from attndsl.language import load_text
from attndsl_codegen.kernels.paired import Factors, paired
from attndsl_codegen.kernels.triton import launch, pair_launch
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import check, quick, run, run_exact
from tests.codegen.interpreter import bfloat16

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

SMALL = Configuration(queries=16, keys=16, warps=4, stages=1)
ATTENDS = {
    "all pairs": "",
    "windows": ", where = abs(i - j.0) < 6 and j.1 <= i",
    "rows without pairs": ", where = j.0 + j.1 < i - 10",
    "labels": ", where = doc[i] == doc[j.0] and doc[j.1] != 1",
    "capped scores": ", score = 2 * tanh(s / 2), where = j.1 <= i",
    "a bias of the places": ", bias = -0.1 * abs(i - j.0) - 0.2 * abs(i - j.1), scale = -0.4",
    "heads differ": ", where = abs(j.0 - j.1) <= (1, 9)[head % 2]",
}
NAMES = "q", "k1", "k2", "v1", "v2"


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Several tiles, and no torch in their place."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)
    monkeypatch.setattr(pair_launch, "paired", None)


def program_of(name):
    declared = "input doc : x int; " if "doc" in ATTENDS[name] else ""
    call = f"attend(q, kron(k1, k2), kron(v1, v2){ATTENDS[name]})"
    return load_text(f"attention a {{ tokens x[n]; input q, k1, k2, v1, v2 : x; {declared}return {call} }}")


def inputs_of(name, shape=(1, 1, 17, 16), value_width=None, dtype=torch.float32):
    """Random inputs of a program."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for operand in NAMES:
        own = list(shape)
        own[3] = value_width or own[3] if operand in ("v1", "v2") else own[3]
        found[operand] = torch.randn(own, generator=generator).to(dtype)
    if "doc" in ATTENDS[name]:
        found["doc"] = torch.randint(0, 3, (shape[0], shape[2]), generator=generator)
    return found


def agrees(name, inputs, tolerance=1e-4):
    """Results, log-sum-exps and gradients of the kernels are those of the definition."""
    module = quick(program_of(name), {}).Module()
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), inputs)
    check(found, run_exact(program_of(name), inputs), tolerance)


@pytest.mark.parametrize("name", ATTENDS)
def test_attends(name):
    agrees(name, inputs_of(name, (1, 1 + ("head" in ATTENDS[name]), 17, 16)))


@pytest.mark.parametrize("shape", [(1, 1, 1, 16), (2, 1, 9, 16), (1, 1, 18, 24)])
def test_shapes(shape):
    agrees("windows", inputs_of("windows", shape, value_width=5))


def test_grouped_heads(monkeypatch):
    """As learned factors may have; beside the torch form."""
    generated, inputs = quick(program_of("windows"), {}).names, inputs_of("windows", (1, 4, 9, 16))
    q, *factors = (
        t.requires_grad_() if name == "q" else t[:, :2].clone().requires_grad_() for name, t in inputs.items()
    )
    at = {"n": 9, "heads": 4, "q.width": 16, "real dtype": torch.float32}
    results = []
    for kernel in (pair_launch.paired_softmax, paired):
        k, v = Factors(*factors[:2]), Factors(*factors[2:])
        out, lse = kernel(generated["OutAttend"], at, q, k, v)
        grads = torch.autograd.grad(out.sin().sum() + lse.sum(), [q, *factors])
        results.append([out, lse, *grads])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*results))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    with bfloat16():
        agrees("windows", inputs_of("windows", dtype=dtype), 4e-2 if dtype == torch.bfloat16 else 5e-3)


def test_factors_of_other_tokens():
    text = """attention a { tokens x[n]; tokens y[m]; input q : x; input k1, k2, v1, v2 : y
      return attend(q, kron(k1, k2), kron(v1, v2), where = j.0 < j.1 + 4) }"""
    program, inputs = load_text(text), inputs_of("windows")
    inputs |= {name: inputs[name][:, :, :7] for name in NAMES[1:]}
    module = quick(program, {}).Module()
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), inputs)
    check(found, run_exact(program, inputs), 1e-4)


def test_gradients_of_fields_on_pairs_are_left_to_torch():
    text = """attention a { tokens x[n]; input q, k1, k2, v1, v2 : x; input b : x scalar
      return attend(q, kron(k1, k2), kron(v1, v2), bias = b[j.0]) }"""
    assert "paired_softmax" not in attndsl.source(load_text(text))


def test_folded_files():
    """As they are for readers."""
    folded, inputs = (
        import_source(attndsl.source(program_of("windows")), "folded"),
        inputs_of("windows", (1, 1, 9, 16)),
    )
    folded.configuration = lambda *_: SMALL
    results = []
    for folded.BACKEND in ("triton", "torch"):
        leaves = [t.clone().requires_grad_() for t in inputs.values()]
        out = folded.a(*leaves)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*results))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile itself
def test_whole_graphs():
    """The operator of the attend runs the kernels, and again for its gradient."""
    function, inputs = quick(program_of("windows"), {}).function, inputs_of("windows", (1, 1, 5, 16))
    torch._dynamo.reset()
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for called in (function, whole):
        leaves = [t.clone().requires_grad_() for t in inputs.values()]
        out = called(*leaves)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results))
