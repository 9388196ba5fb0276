"""The Triton kernels in the interpreter against the exact definition: random specs, corners."""

import subprocess
import sys
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st

import attndsl
from attndsl.language import load_text
from attndsl.planning.gpu_tiles import GpuTiles
from attndsl.planning.plan import plan_program
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.triton import launch
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import check, quick, run, run_exact, tensors
from tests.strategies import specs, thorough, tile_shapes

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

TOLERANCE = 1e-4
SMALL = Configuration(queries=32, keys=16, warps=4, stages=1)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Tiles so small that tests visit several, and no torch in their place."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)


def call(module):
    """A module as a function of its inputs by name."""
    return lambda leaves: module(*leaves.values(), return_lse=True)


def agrees(program, inputs, through_lse=True, tolerance=TOLERANCE, tiles=None):
    """The kernels' results and gradients are those of the definition."""
    module = quick(program, {"out": tiles or Tiles((16,), (16,))}).Module()
    with patch.object(launch, "tiled", None), patch.object(launch, "all_keys", None):  # torch would fail
        found = run(call(module), inputs, through_lse)
    check(found, run_exact(program, inputs, through_lse), tolerance)


def inputs_of(*names, shape=(1, 2, 40, 16), dtype=torch.float32, **more):
    """Random tensors by name, and others as given."""
    generator = torch.Generator().manual_seed(3)
    found = {name: torch.randn(shape, generator=generator).to(dtype) for name in names}
    return found | more


@thorough(20)
@given(specs(most=30), st.data())
def test_random_specs(spec, data):
    tiles = Tiles(data.draw(tile_shapes(spec.query.extents)), data.draw(tile_shapes(spec.key.extents)))
    note(f"{spec}")
    if "gpu = TritonHooks" in attndsl.source(spec.program):
        agrees(spec.program, tensors(spec), spec.seed % 2 == 0, tiles=tiles)


ATTENDS = {
    "grouped heads": (
        "tokens x[n]",
        "where = causal",
        inputs_of("q") | inputs_of("k", "v", shape=(1, 1, 40, 16)),
    ),
    "odd widths": (
        "tokens x[n]",
        "where = causal and sliding(9)",
        inputs_of("q", "k", shape=(1, 2, 37, 24)) | inputs_of("v", shape=(1, 2, 37, 5)),
    ),
    "rows without keys": ("tokens x[n]", "where = j < i - 20 and i % 3 == 0", inputs_of("q", "k", "v")),
    "whole rows hidden in the first tile": ("tokens x[n]", "where = j > i + 2", inputs_of("q", "k", "v")),
    "heads differ": ("tokens x[n]", "where = sliding((3, 17)[head % 2])", inputs_of("q", "k", "v")),
    "slopes by head": (
        "tokens x[n]",
        "where = causal, bias = -(2 ** -(8 * (head + 1) / heads)) * (i - j)",
        inputs_of("q", "k", "v"),
    ),
    "capped scores": ("tokens x[n]", "where = causal, score = 5 * tanh(s / 5)", inputs_of("q", "k", "v")),
    "scores of no score": ("tokens x[n]", "score = 0.1 * i", inputs_of("q", "k", "v")),
    "a negative scale": ("tokens x[n]", "where = causal, scale = -0.7", inputs_of("q", "k", "v")),
    "residue classes": ("tokens x[n]", "where = causal and dilated(3)", inputs_of("q", "k", "v")),
    "three axes": (
        "tokens x[t, h, w]",
        "where = t: window(3) and h: window(3) and w: sliding(1)",
        inputs_of("q", "k", "v", shape=(1, 1, 3, 5, 7, 16)),
    ),
    "documents": (
        "tokens x[n]; input doc : x int",
        "where = causal and document(doc)",
        inputs_of("q", "k", "v", shape=(2, 1, 40, 16), doc=torch.arange(80).view(2, 40) // 13),
    ),
}


BOXES = GpuTiles({32: (1, 16, 2)}, {16: (2, 1, 8)}, "")


def test_boxes_of_other_sides():
    """Longer than some axes, and ragged on others."""
    tokens, options, inputs = ATTENDS["three axes"]
    text = f"attention a {{ tokens x[t, h, w]; input q, k, v : x; return attend(q, k, v, {options}) }}"
    assert tokens == "tokens x[t, h, w]"
    seen = []
    sides = launch.brick

    def spy(*arguments):
        seen.append(sides(*arguments))
        return seen[-1]

    with patch.object(launch, "brick", spy):
        agrees(load_text(text), inputs, tiles=Tiles((1, 4, 4), (1, 2, 4), gpu=BOXES))
    assert set(seen) == {(1, 16, 2), (2, 1, 8)}


@pytest.mark.parametrize("name", ATTENDS)
def test_corners(name):
    tokens, options, inputs = ATTENDS[name]
    text = f"attention a {{ {tokens}; input q, k, v : x; return attend(q, k, v, {options}) }}"
    program = load_text(text)
    inputs = {value.name: inputs[value.name] for value in program.inputs}
    tiles = next(iter(plan_program(program).tiles.values()))
    tiles = Tiles(tiles.query, tiles.key, tiles.query_steps, tiles.key_steps)
    agrees(program, inputs, tiles=tiles)


def test_cross_attention():
    text = "attention a { tokens x[n]; tokens y[m]; input q : x; input k, v : y; return attend(q, k, v) }"
    inputs = inputs_of("q") | inputs_of("k", "v", shape=(1, 2, 23, 16))
    agrees(load_text(text), inputs)


class Recorded:
    """Stands for a kernel: keeps what its programs would be, and runs nothing."""

    def __init__(self):
        self.last_first, self.turns = [], []

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *_, visits, LAST_FIRST=False, **__):
        self.last_first.append(LAST_FIRST)
        self.turns.append(visits and visits[2].tolist())


@pytest.mark.parametrize(
    ("where", "turns", "of_keys", "last_first"),
    [
        ("causal", None, None, [True, True, False]),
        ("j >= i", None, None, [False, False, True]),
        ("sliding(40)", None, None, [False, False, False]),
        ("j < i - 32 or j == 0", [2, 1, 0], [0, 1, 2, 3, 4], [False, False, False]),
        ("abs(i - j) <= 1 and i != j", [1, 0, 2], [1, 2, 3, 4, 0], [False, False, False]),
    ],
)
def test_tiles_that_visit_most_are_computed_first(where, turns, of_keys, last_first, monkeypatch):
    """72 tokens: three tiles of queries, five of keys; ties stay in the order of the tokens.

    Where tiles see ranges there is no table of turns: the first or the last tile begins.
    """
    kernels = [Recorded() for _ in range(3)]
    names = "softmax_forward_kernel", "softmax_query_gradient_kernel", "softmax_key_gradient_kernel"
    for name, kernel in zip(names, kernels):
        monkeypatch.setattr(launch, name, kernel)
    program = load_text(
        f"attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    )
    module = quick(program, {"out": Tiles((16,), (16,))}).Module()
    inputs = [t.requires_grad_() for t in inputs_of("q", "k", "v", shape=(1, 2, 72, 16)).values()]
    module(*inputs).sum().backward()
    assert [kernel.turns[0] for kernel in kernels] == [turns, turns, of_keys]
    assert [kernel.last_first[0] for kernel in kernels] == last_first


def test_float16():
    text = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }"
    agrees(load_text(text), inputs_of("q", "k", "v", dtype=torch.float16), tolerance=5e-3)


def test_strides_are_followed_and_results_repeat():
    """Tensors (batch, tokens, heads, width) seen with heads first; equal calls give equal bits."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }"
    )
    inputs = {n: t.transpose(1, 2) for n, t in inputs_of("q", "k", "v", shape=(1, 40, 2, 16)).items()}
    module = quick(program, {"out": Tiles((16,), (16,))}).Module()
    first, second = (run(call(module), inputs) for _ in range(2))
    check(first, run_exact(program, inputs), TOLERANCE)
    assert all(torch.equal(first.grads[name], second.grads[name]) for name in first.grads)


DECODED = {
    "causal": ("", "where = causal"),
    "near keys and sinks": ("", "where = causal and (sinks(2) or sliding(5))"),
    "documents": ("input doc : x int; ", "where = causal and document(doc)"),
    "biases": ("input b : x scalar; ", "where = causal, bias = b[i] * b[j] + 0.1 * (i - j)"),
    "capped scores": ("", "where = causal, score = 5 * tanh(s / 5)"),
}


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("count", [1, 20])
def test_decoding(name, count):
    """Queries at an offset, beside the definition; with gradients."""
    declared, options = DECODED[name]
    program = load_text(
        f"attention a {{ tokens x[n]; input q, k, v : x; {declared}return attend(q, k, v, {options}) }}"
    )
    every = inputs_of("q", "k", "v", doc=torch.arange(40).view(1, 40) // 13)
    every |= inputs_of("b", shape=(1, 2, 40))
    inputs = {v.name: every[v.name] for v in program.inputs} | {"q": every["q"][:, :, :count]}
    module, definition = quick(program, {"out": Tiles((16,), (16,))}).Module(), attndsl.oracle(program)
    with patch.object(launch, "tiled", None), patch.object(launch, "all_keys", None):
        found = run(lambda leaves: module(*leaves.values(), return_lse=True, offset=17), inputs)
    exact = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}

    def decoded(leaves: Any) -> Any:
        return definition.run(leaves, offset=17).results[0]

    check(found, run(decoded, exact), TOLERANCE)


DILATED_GRIDS = {
    "dilated windows": ((1, 1, 9, 11, 16), "x[h, w]", "h: dilated_window(3, 2) and w: dilated_window(3, 3)"),
    "one dilated axis": ((1, 1, 6, 11, 16), "x[h, w]", "h: sliding(2) and w: dilated(4)"),
    "three axes": ((1, 1, 3, 5, 6, 16), "x[t, h, w]", "t: sliding(1) and h: dilated(2) and w: dilated(3)"),
}


@pytest.mark.parametrize("name", DILATED_GRIDS)
def test_dilated_grids(name):
    shape, tokens, where = DILATED_GRIDS[name]
    text = f"attention a {{ tokens {tokens}; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    program = load_text(text)
    tiles = next(iter(plan_program(program).tiles.values()))
    assert any(step > 1 for step in tiles.query_steps)
    tiles = Tiles(tiles.query, tiles.key, tiles.query_steps, tiles.key_steps)
    agrees(program, inputs_of("q", "k", "v", shape=shape), tiles=tiles)


# --- which backend runs -----------------------------------------------------------------------------


def test_backends():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }"
    )
    inputs = inputs_of("q", "k", "v").values()
    results = [
        attndsl.compile(program, backend=backend)()(*inputs) for backend in ("auto", "torch", "triton")
    ]
    assert torch.equal(results[0], results[1])
    assert torch.allclose(results[0], results[2], atol=1e-5)
    with pytest.raises(ValueError, match="unknown backend"):
        attndsl.compile(program, backend="cuda")
    double = attndsl.compile(program, backend="triton")()
    with pytest.raises(ValueError, match="float64"):
        double(*(t.double() for t in inputs))


def test_a_program_without_triton_kernels_says_so():
    text = "attention a { tokens x[n]; input v : x; input a : x scalar; return attend(v = v, score = a[j]) }"
    program = load_text(text)
    assert "jit" not in attndsl.source(program)
    with pytest.raises(ValueError, match="has Triton kernels"):
        attndsl.compile(program, backend="triton")


def test_importing_needs_no_triton(tmp_path):
    """The file runs its own check where `import triton` fails."""
    (tmp_path / "triton.py").write_text("raise ImportError('not here')")
    (tmp_path / "causal.py").write_text(attndsl.source(attndsl.load("causal")))
    done = subprocess.run([sys.executable, "causal.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
