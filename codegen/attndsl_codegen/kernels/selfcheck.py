"""What a generated file does when it is run: it checks itself against its own dense definition."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.arguments import Argument, Learned, learned_tensor, read_arguments
from attndsl_codegen.kernels.attend import Attend, by_definition, by_kernel

TOLERANCE = 1e-5


def example_inputs(
    arguments: tuple[Argument, ...], learned: tuple[Learned, ...], sizes: dict[str, Any], heads: int
) -> dict[str, Tensor]:
    """Random inputs of one batch element and width 16, and random learned tensors."""
    generator = torch.Generator().manual_seed(0)
    inputs: dict[str, Tensor] = {}
    at = {**sizes, "heads": heads, "kv heads": heads, **{f"{a.name}.width": 16 for a in arguments}}
    for argument in arguments:
        shape = (
            1,
            *[heads] * (argument.heads is not None),
            *argument.tokens.extents(sizes),
            *[16] * argument.width,
        )
        if argument.kind == "real":
            inputs[argument.name] = torch.randn(shape, generator=generator)
        else:
            high = 2 if argument.kind == "bool" else argument.values
            values = torch.randint(0, high, shape, generator=generator)
            inputs[argument.name] = values.bool() if argument.kind == "bool" else values
    for tensor in learned:
        inputs[tensor.name] = 0.3 * torch.randn(tensor.shape(at), generator=generator)
        if tensor.init == "ones":
            inputs[tensor.name] = 1.0 + inputs[tensor.name].abs()
    return inputs


def run_with_gradients(
    results: Callable[..., Any],
    arguments: tuple[Argument, ...],
    learned: tuple[Learned, ...],
    inputs: dict[str, Tensor],
    attend: Attend,
    rows: Tensor | None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and the gradients of a fixed random projection of them, on the chosen query rows."""
    leaves = {
        name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in inputs.items()
    }
    at, flat, _ = read_arguments(arguments, leaves, None)
    weights = [learned_tensor(tensor, leaves[tensor.name], at) for tensor in learned]
    found, losses, _ = results(at, attend, *flat.values(), *weights)
    outputs = [out if rows is None else out[:, :, rows] for out, _ in found] + list(losses.values())
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(out.shape, generator=generator).to(out.dtype) for out in outputs]
    torch.autograd.backward(outputs, upstream)
    real = [leaf for leaf in leaves.values() if leaf.requires_grad]
    grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in real]
    return [out.detach() for out in outputs], grads


def relative_error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest difference over the largest exact value of its tensor.

    Some gradients are zero by cancellation, their rounding is not: a tenth of the largest value of all
    tensors is the least scale.
    """
    largest = [float(tensor.abs().max()) for tensor in exact]
    least = max(1e-30, 0.1 * max(largest, default=0.0))
    errors = [float((a.double() - b).abs().max()) / max(c, least) for a, b, c in zip(found, exact, largest)]
    return max(errors, key=lambda error: (math.isnan(error), error), default=0.0)


def self_check(
    results: Callable[..., Any],
    arguments: tuple[Argument, ...],
    learned: tuple[Learned, ...],
    sizes: dict[str, Any],
    sampled: bool,
) -> int:
    """Compares the kernels with the definition, forward and backward; prints errors and time.

    Args:
        sampled: compute the definition for 64 of the queries only, where all would take too long.
    """
    inputs = example_inputs(arguments, learned, sizes, heads=1 if sampled else 4)
    count = math.prod(arguments[0].tokens.extents(sizes))
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(2))[:64] if sampled else None
    start = time.perf_counter()
    found = run_with_gradients(results, arguments, learned, inputs, by_kernel, rows)
    seconds = time.perf_counter() - start
    exact_inputs = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    exact = run_with_gradients(results, arguments, learned, exact_inputs, by_definition(rows), rows)
    forward, backward = (relative_error(a, b) for a, b in zip(found, exact))
    passed = forward <= TOLERANCE and backward <= TOLERANCE
    print(
        f"sizes {sizes}: forward error {forward:.1e}, backward error {backward:.1e}, {seconds * 1e3:.0f} ms"
    )
    print("passed" if passed else f"FAILED: the tolerance is {TOLERANCE:.0e}")
    return 0 if passed else 1
