"""Every example through the Triton kernels in the interpreter, forward and backward, on small shapes."""

from pathlib import Path
from typing import Any

import pytest
import torch

import attndsl
from attndsl.api import import_source
from attndsl.examples import find_spec
from attndsl.ir.program import Program
from attndsl.language import load_text
from attndsl.planning.plan import sizes_near
from attndsl_codegen import generate
from attndsl_codegen.kernels.triton.configurations import Configuration
from attndsl_codegen.triton_hooks import ON_GPU
from tests.codegen.interpreter import bfloat16

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

TOLERANCE = 1e-4
SMALL = Configuration(queries=32, keys=32, warps=4, stages=1)
SIZES = {1: 40, 2: 6, 3: 4}
"""Tokens along each axis, by the number of axes: two to four tiles."""

GIVEN: dict[str, dict[str, Any]] = {
    "agent": {"size": 2},
    "causal_neighborhood": {"size": (2, 3, 3)},
    "core_context": {"group": 4, "local": 8},
    "dilated": {"radius": 9, "step": 3},
    "dinat": {"size": 3, "dilation": 2},
    "flux_gna": {"size": (5, 5), "stride": (2, 2)},
    "gc_vit": {"size": 4},
    "head_mixture": {"size": 8},
    "hunyuan_gna": {"size": (3, 3, 3), "stride": (1, 2, 2)},
    "largegt": {"codes": 16},
    "linformer": {"rank": 8, "longest": 64},
    "longformer": {"radius": 6, "anchors": 1},
    "longvq": {"codes": 6, "block": 8},
    "maxvit_block": {"size": 4},
    "maxvit_grid": {"size": 2},
    "neighborhood1d": {"size": 9},
    "neighborhood2d": {"size": (5, 5)},
    "neighborhood3d": {"size": (2, 3, 3)},
    "power_attention": {"size": 8},
    "sinked": {"size": 8},
    "sliding": {"radius": 9},
    "streaming_llm": {"sink": 2, "recent": 9},
    "swin": {"size": 4, "shift": 1},
    "transformer_vq": {"codes": 6, "block": 8},
}
"""Parameters with which small shapes have something to hide."""

FIXED = {
    "flux_gna": ("x[h = 256, w = 256]", "x[h = 6, w = 7]"),
    "hunyuan_gna": ("x[t = 30, h = 48, w = 80]", "x[t = 3, h = 4, w = 4]"),
}
"""Token sets of fixed size, and smaller ones in their place."""

ON_TORCH = {
    "l2vit": ["contracted"],
    "lama": ["chunked"],
    "linear": ["contracted"],
    "linformer": ["chunked", "chunked"],
    "mala": ["contracted"],
    "ppma_linear": ["along_paths"],
}
"""The torch kernels of attends that no Triton kernel takes.

`contracted`, `along_paths`: weights are plain products and no key is hidden, so these are products of matrices. `chunked`:
scores that are not products of queries and keys.
"""
WITHOUT_ATTEND = {"gaam", "volo_outlook"}
EXAMPLES = sorted(path.stem for path in Path(attndsl.__file__).parents[1].joinpath("examples").glob("*.attn"))
ON_TRITON = (*ON_GPU.values(), "causal_products")
HALF = ("swin", "softcap", "packed", "sinked")


def small(name: str) -> Program:
    """An example with parameters that suit small shapes."""
    path = Path(find_spec(name))
    fixed, smaller = FIXED.get(name, ("", ""))
    return load_text(path.read_text().replace(fixed, smaller), given=GIVEN.get(name, {}))


def errors(program: Program, dtype: torch.dtype) -> tuple[list[str], list[float]]:
    """The torch kernels that ran, and the errors of results and gradients against the exact definition.

    The generated file's softmax kernels run on Triton or fail: their torch forms are taken away.
    """
    generated: dict[str, Any] = import_source(generate(program, folded=False), "checked").__dict__
    generated.update(BACKEND="triton", configuration=lambda *_: SMALL)
    generated.update({form: None for form, chooses in ON_GPU.items() if chooses in generated})
    ran: list[str] = []

    def attend(kernel: Any, *given: Any) -> Any:
        if kernel.__name__ not in ON_TRITON:
            ran.append(kernel.__name__)
        return generated["by_kernel"](kernel, *given)

    arguments, learned = generated["ARGUMENTS"], generated.get("LEARNED", ())
    sizes = dict(sizes_near(program, SIZES, heads=2))
    inputs = generated["example_inputs"](arguments, learned, sizes, heads=2)
    inputs = {n: t.to(dtype) if t.is_floating_point() else t for n, t in inputs.items()}
    exact = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    pairs = [
        generated["run_with_gradients"](generated["results"], arguments, learned, given, how, None)
        for given, how in ((inputs, attend), (exact, generated["by_definition"](None)))
    ]
    return ran, [generated["relative_error"](found, expected) for found, expected in zip(*pairs)]


def test_the_lists_name_examples():
    assert {*GIVEN, *FIXED, *ON_TORCH, *WITHOUT_ATTEND} <= set(EXAMPLES)
    assert all(not small(name).attends for name in WITHOUT_ATTEND)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in WITHOUT_ATTEND])
def test_examples(name):
    ran, found = errors(small(name), torch.float32)
    assert ran == ON_TORCH.get(name, [])
    assert max(found) <= TOLERANCE


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision(name, dtype):
    """Against the definition on the same rounded inputs; products of rounded weights lose a digit more."""
    with bfloat16():
        _, found = errors(small(name), dtype)
    assert max(found) <= (5e-3 if dtype == torch.float16 else 4e-2)
