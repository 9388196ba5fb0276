"""Folded files compute what unfolded ones do; the passes keep the meaning of small pieces of Python."""

import pytest
import torch

import attndsl
from attndsl.api import import_source
from attndsl.examples import example_files
from attndsl.planning.plan import sizes_near
from attndsl_codegen import generate

TOLERANCE = 1e-6

# --- whole files ----------------------------------------------------------------------------------


def results_of(text, sizes, exact):
    """Results and gradients of a generated file on its own example inputs, by kernels or by definition."""
    generated = import_source(text, "folded").__dict__
    learned = generated.get("LEARNED", ())
    inputs = generated["example_inputs"](generated["ARGUMENTS"], learned, sizes, heads=2)
    attend = generated["dense"](None) if exact else generated["by_kernel"]
    return generated["run_with_gradients"](
        generated["results"], generated["ARGUMENTS"], learned, inputs, attend, None
    )


@pytest.mark.parametrize("name", example_files())
def test_folded_and_unfolded_files_agree(name):
    """Forward and backward, through the kernels and through the file's own definition."""
    program = attndsl.load(name)
    texts = [generate(program, folded) for folded in (True, False)]
    assert len(texts[0]) < len(texts[1])
    sizes = dict(sizes_near(program, {1: 48, 2: 10, 3: 6}, heads=2))
    for exact in (False, True):
        folded, unfolded = (results_of(text, sizes, exact) for text in texts)
        for found, expected in zip(folded, unfolded):
            assert len(found) == len(expected)
            for a, b in zip(found, expected):
                assert torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)
