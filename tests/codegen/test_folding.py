"""Folded files compute what unfolded ones do; the passes keep the meaning of small pieces of Python."""

import math

import pytest
import torch

import attndsl
from attndsl.api import import_source
from attndsl.examples import example_files
from attndsl.planning.plan import sizes_near
from attndsl_codegen import generate
from tests.codegen.build import called

TOLERANCE = 1e-6
MOST_TOKENS = 1000
"""Of programs with more, some of the queries are compared."""

# --- whole files ----------------------------------------------------------------------------------


def results_of(text, sizes, exact):
    """Results and gradients of a generated file on its own example inputs, by kernels or by definition."""
    generated = import_source(text, "folded")
    count = math.prod(generated.ARGUMENTS[0].tokens.extents(sizes))
    rows = torch.arange(0, count, count // 32) if count > MOST_TOKENS else None
    declared = {"arguments": generated.ARGUMENTS, "learned": getattr(generated, "LEARNED", ()), "rows": rows}
    inputs = called(generated, "example_inputs", **declared, sizes=sizes, heads=2)
    attend = called(generated, "dense", rows=rows) if exact else generated.by_kernel
    return called(
        generated, "run_with_gradients", results=generated.results, **declared, inputs=inputs, attend=attend
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
