"""Weights that fade along paths on a grid: line by line and pair by pair, against the exact definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attndsl
from attndsl.language import load_text
from attndsl_codegen.kernels import paths
from tests.codegen.build import check, quick, run
from tests.strategies import thorough

V2H = "exp(-abs(a[i.h, i.w] - a[i.h, j.w]) - abs(b[i.h, j.w] - b[j.h, j.w]))"
H2V = "exp(-abs(a[j.h, i.w] - a[j.h, j.w]) - abs(b[i.h, i.w] - b[j.h, i.w]))"
TIMES = {
    "down and along": V2H,
    "along and down": H2V,
    "both": f"{V2H} + {H2V}",
    "a mean": f"({V2H} + {H2V}) / 2",
    "no fields": "0.9 ** (abs(i.h - j.h) + abs(i.w - j.w))",
    "by head": "(1 - 2 ** (-5 - head)) ** (abs(i.h - j.h) + abs(i.w - j.w))",
    "a gate": f"a[i] * {V2H} * b[j]",
    "nothing of the query": "a[j.h, j.w]",
}
OPTIONS = ("normalize = none", "normalize = none, scale = -0.4", "normalize = linear, scale = 1")


def program_of(times, options):
    text = f"""attention grid {{
      tokens x[h, w]
      input q, k, v : x
      input a, b : x scalar
      return attend(q, k, v, {options}, times = {times})
    }}"""
    return load_text(text)


def agrees(program, inputs, tolerance):
    module = quick(program, {}).Module()
    nothing = torch.zeros(1)
    found = run(lambda leaves: (module(**leaves), nothing), inputs, through_lse=False)
    exact = {name: t.double() for name, t in inputs.items()}
    definition = attndsl.oracle(program)
    check(found, run(lambda leaves: (definition(**leaves), nothing), exact, through_lse=False), tolerance)


def inputs_of(batch, heads, kv_heads, grid, widths, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64).to(dtype)

    # Row sums of positive products are no numbers near zero.
    features = {
        name: normal(count, *grid, widths[0]).abs() + 0.1 for name, count in (("q", heads), ("k", kv_heads))
    }
    features["v"] = normal(kv_heads, *grid, widths[1])
    return {**features, "a": normal(heads, *grid), "b": normal(heads, *grid)}


@pytest.mark.parametrize("passes", [10**9, -(10**9)], ids=["by lines", "by pairs"])
@pytest.mark.parametrize("times", TIMES)
@given(data=st.data())
@thorough(3)
def test_results_and_gradients_are_those_of_the_definition(times, passes, data):
    program = program_of(TIMES[times], data.draw(st.sampled_from(OPTIONS)))
    grid = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    heads, group = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    widths = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    elements = data.draw(st.sampled_from([1, 64, 1 << 19]))
    inputs = inputs_of(data.draw(st.integers(1, 2)), heads * group, heads, grid, widths, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "SCORE_PASSES", passes)
        patch.setattr(paths, "PATH_ELEMENTS", elements)
        agrees(program, inputs, 1e-10 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("passes", [10**9, -(10**9)], ids=["by lines", "by pairs"])
def test_memory_is_that_of_parts(passes, monkeypatch):
    """No tensor is much larger than a part, neither for every pair nor for every pair of channels."""
    monkeypatch.setattr(paths, "SCORE_PASSES", passes)
    monkeypatch.setattr(paths, "PATH_ELEMENTS", 1 << 16)
    program = program_of(f"{V2H} + {H2V}", "normalize = none")
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            sizes.extend(
                t.numel()
                for t in (found if isinstance(found, tuple) else (found,))
                if isinstance(t, torch.Tensor)
            )
            return found

    inputs = inputs_of(1, 1, 1, (40, 30), (8, 8), torch.float32)
    leaves = {name: t.requires_grad_() for name, t in inputs.items()}
    with Sizes():
        quick(program, {}).Module()(**leaves).sum().backward()
    assert max(sizes) <= 2 << 16


def test_large_sums_of_edges_do_not_overflow():
    """Far along a path log weights add up to numbers whose exponentials are none."""
    inputs = inputs_of(1, 1, 1, (5, 6), (3, 3), torch.float32)
    inputs |= {"a": 1e4 * inputs["a"], "b": 1e4 * inputs["b"]}
    agrees(program_of(f"{V2H} + {H2V}", "normalize = none"), inputs, 1e-4)
