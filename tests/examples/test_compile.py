"""Every mask compiles, and its module computes what the exact definition says, forward and backward."""

from typing import Any

import numpy as np
import pytest
import torch

from attndsl.api import compile, oracle
from attndsl.ir import types
from tests.examples.cases import CASES, Case
from tests.examples.definitions import final_scores
from tests.examples.every_formula import FORMULAS

BATCH, HEADS, KV_HEADS, WIDTH = 2, 4, 2, 8
TOLERANCE = 1e-5
FLOOR = 0.1
"""The gradient of a query with one key is zero, and rounding is not."""
PLAIN = [case for case in CASES if case.name not in FORMULAS]
"""Those of a mask and scores; test_formulas.py has the others."""


def tensors(case: Case) -> dict[str, torch.Tensor]:
    """Random inputs in float32 with grouped heads; labels as the case has them."""
    torch.manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    for value in case.program.inputs:
        if value.name in case.fields:
            found[value.name] = torch.from_numpy(case.fields[value.name])
            continue
        heads = KV_HEADS if value.type.heads is types.KV_HEADS else HEADS
        width = WIDTH - 2 if value.name == "v" else WIDTH
        found[value.name] = torch.randn(BATCH, heads, *value.type.tokens.extents(case.free_sizes), width)
    return found


def with_gradients(run: Any, inputs: dict[str, torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """The output and the gradients of real inputs, for a fixed upstream gradient."""
    leaves = {
        name: tensor.to(dtype).requires_grad_() if tensor.is_floating_point() else tensor
        for name, tensor in inputs.items()
    }
    out = run(**leaves)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    real = [tensor for tensor in leaves.values() if tensor.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, real, upstream.to(out.dtype))]


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_module_agrees_with_the_oracle(case: Case) -> None:
    inputs = tensors(case)
    found = with_gradients(compile(case.program)(), inputs, torch.float32)
    expected = with_gradients(oracle(case.program), inputs, torch.float64)
    for a, b in zip(found, expected):
        assert a.shape == b.shape
        assert (a.double() - b).abs().max() <= TOLERANCE * b.abs().max().clamp(min=FLOOR)


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_oracle_agrees_with_the_definition(case: Case) -> None:
    """Softmax over the defined keys, in numpy; a query without keys yields zeros."""
    inputs = tensors(case)
    found = oracle(case.program)(**inputs).flatten(2, -2).numpy()
    q, k, v = (inputs[name].double().flatten(2, -2).numpy() for name in "qkv")
    group = HEADS // KV_HEADS
    for batch in range(BATCH):
        for head in range(HEADS):
            visible = case.definition(batch if case.fields else 0, head)
            scores = q[batch, head] @ k[batch, head // group].T * WIDTH**-0.5
            scores = final_scores(case.name, scores, head, HEADS, case.program.parameters)
            weights = np.where(visible, np.exp(scores), 0.0)
            total = weights.sum(-1, keepdims=True)
            expected = weights @ v[batch, head // group] / np.where(total > 0, total, 1.0)
            np.testing.assert_allclose(found[batch, head], expected, rtol=0, atol=1e-12)
