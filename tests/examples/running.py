"""Examples as functions of all their tensors, and what their tests compare them with; all in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attndsl.api import compile, oracle

Run = Callable[..., Any]
HEADS, WIDTH, BATCH = 2, 4, 2


def module_of(program: Any) -> Run:
    """The compiled module as a function of inputs and learned tensors by name."""
    learned = [value.name for value in program.learned]

    def run(**tensors: Tensor) -> Any:
        inputs = {name: tensor for name, tensor in tensors.items() if name not in learned}
        if not learned:
            return compile(program)()(**inputs)
        dim = {v.name: inputs[v.name].shape[-1] for v in program.inputs if v.type.width is not None}
        module = compile(program)(heads=HEADS, dim=dim, dtype=torch.float64).eval()
        return torch.func.functional_call(module, {n: tensors[n] for n in learned}, (), inputs)

    return run


def oracle_of(program: Any) -> Run:
    """The definition as the same function."""
    learned = [value.name for value in program.learned]

    def run(**tensors: Tensor) -> Any:
        inputs = {name: tensor for name, tensor in tensors.items() if name not in learned}
        return oracle(program)(params={name: tensors[name] for name in learned}, **inputs)

    return run


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def features(names: str, *extents: int, width: int = WIDTH, heads: int = HEADS) -> dict[str, Tensor]:
    """One random feature per name."""
    return {name: randn(BATCH, heads, *extents, width, seed=at) for at, name in enumerate(names.split())}


def close(a: Tensor, b: Tensor, atol: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def dense(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, scale: float | None = None) -> Tensor:
    """Plain attention on lists of tokens."""
    s = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        s = s.masked_fill(torch.ones(s.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    return s.softmax(-1) @ v


def gradients(out: Tensor, of: dict[str, Tensor], *names: str) -> list[Tensor]:
    """Gradients of a fixed projection of the output."""
    return list(torch.autograd.grad(out, [of[name] for name in names], randn(*out.shape, seed=7)))


def leaves(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
