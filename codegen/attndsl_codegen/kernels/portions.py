"""Runs a program for a few heads at a time, so that what it makes on the way is small.

Large tensors come fresh from the operating system, page by page, every time: on a CPU that takes longer
than the arithmetic on them. The backward pass computes each portion anew and keeps nothing but arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.attend import Attend

PORTION_BYTES = 8 << 20
"""The largest argument that a portion takes."""

Results = Callable[..., tuple[list[tuple[Tensor, Any]], dict[str, Tensor], dict[str, Tensor]]]
"""results(at, attend, *tensors): a program whose heads do not depend on each other."""


def by_portions(results: Results, at: dict[str, Any], attend: Attend, *tensors: Tensor) -> Any:
    """What `results` gives; in portions where the arguments are large, and on a CPU."""
    if "offset" in at or tensors[0].device.type != "cpu" or torch.compiler.is_compiling():
        return results(at, attend, *tensors)
    count = portion_count(tensors, more_than=2 if torch.is_grad_enabled() else 1)
    if count == 1:
        return results(at, attend, *tensors)
    flat = iter(Portions.apply(results, at, attend, count, *tensors))  # type: ignore[arg-type]
    found = [(out, lse) for out, lse in zip(flat, flat)]
    return found, {}, {}


def portion_count(tensors: tuple[Tensor, ...], more_than: int) -> int:
    """Into how many portions the heads are dealt: 1 unless an argument is larger than so many portions."""
    largest = max(tensor.nbytes // max(1, tensor.shape[0]) for tensor in tensors)
    if largest <= more_than * PORTION_BYTES:
        return 1
    common = math.gcd(*(tensor.shape[1] for tensor in tensors if tensor.shape[1] > 1))
    counts = [count for count in range(1, common + 1) if common % count == 0]
    return next((count for count in counts if largest <= count * PORTION_BYTES), counts[-1])


def portions(tensors: tuple[Any, ...], count: int) -> Iterator[list[Any]]:
    """Views of the tensors, one batch element and some heads at a time; what has one, or is None, stays."""
    batch = max(t.shape[0] for t in tensors if t is not None)
    for element in range(batch):
        for number in range(count):
            yield [None if t is None else portion(t, element, number, count) for t in tensors]


def portion(tensor: Tensor, element: int, number: int, count: int) -> Tensor:
    """A view of one batch element and some of the heads."""
    tensor = tensor.narrow(0, element, 1) if tensor.shape[0] > 1 else tensor
    return tensor.chunk(count, 1)[number] if tensor.shape[1] > 1 else tensor


def memory_for_all(piece: Tensor, batch: int, count: int) -> Tensor:
    """Memory for the results of all portions."""
    return piece.new_empty(batch, count * piece.shape[1], *piece.shape[2:])


class Portions(torch.autograd.Function):
    """A program in portions; outputs and log-sum-exps take turns."""

    @staticmethod
    def forward(
        ctx: Any, results: Results, at: dict[str, Any], attend: Attend, count: int, *tensors: Tensor
    ) -> tuple[Any, ...]:
        """The results, with the heads side by side again."""
        ctx.results, ctx.attend, ctx.count = results, attend, count
        heads = {name: at[name] // count for name in ("heads", "kv heads") if name in at}
        ctx.at = {**at, **heads, "batch size": 1}
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        batch = max(tensor.shape[0] for tensor in tensors)
        together: tuple[Any, ...] = ()
        places: list[list[Any]] = []
        for number, part in enumerate(portions(tensors, count)):
            found, _, _ = results(ctx.at, attend, *part)
            pieces = [piece for pair in found for piece in pair]
            if not together:
                together = tuple(None if p is None else memory_for_all(p, batch, count) for p in pieces)
                places = list(portions(together, count))
            for place, piece in zip(places[number], pieces):
                if piece is not None:
                    place.copy_(piece)
        return together

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Gradients of the tensors that want one."""
        tensors, count = ctx.saved_tensors, ctx.count
        wanted = ctx.needs_input_grad[4:]
        grads = tuple(torch.zeros_like(t) if want else None for t, want in zip(tensors, wanted))
        for part, places, above in zip(*(portions(of, count) for of in (tensors, grads, grad_outputs))):
            part = [t.detach().requires_grad_(want) for t, want in zip(part, wanted)]
            with torch.enable_grad():
                found, _, _ = ctx.results(ctx.at, ctx.attend, *part)
            pieces = [piece for pair in found for piece in pair]
            ends = [(p, g) for p, g in zip(pieces, above) if g is not None and p.requires_grad]
            if not ends:
                continue  # what has a gradient does not depend on what wants one
            leaves = [t for t in part if t.requires_grad]
            outputs, gradients = zip(*ends)
            here = torch.autograd.grad(outputs, leaves, gradients, materialize_grads=True)
            for place, grad in zip((place for place in places if place is not None), here):
                place += grad
        return None, None, None, None, *grads
