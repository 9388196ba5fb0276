"""What the examples that are more than a mask compute, in plain torch: dense formulas of papers and code.

Written from the sources and in another form than the specs: windows are cut out and put back, paths are
multiplied edge by edge, convolutions and resizing are torch's own. One function per example,
`name(t, **parameters)`, with inputs and learned tensors by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Formula = Callable[..., Tensor]
FORMULAS: dict[str, Formula] = {}


@dataclass(frozen=True)
class Tensors:
    """Inputs and learned tensors as attributes."""

    values: dict[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        return self.values[name]


def formula(function: Formula) -> Formula:
    """Enters a formula under the name of its example."""
    assert function.__name__ not in FORMULAS
    FORMULAS[function.__name__] = function
    return function


# --- Parts ----------------------------------------------------------------------------------------


def attention(
    q: Tensor, k: Tensor, v: Tensor, visible: Any = None, bias: Any = 0.0, scale: Any = None
) -> Tensor:
    """Softmax attention along the last two axes; a query without keys gets zeros."""
    return weights(q, k, visible, bias, scale) @ v


def weights(q: Tensor, k: Tensor, visible: Any = None, bias: Any = 0.0, scale: Any = None) -> Tensor:
    """The softmax weights (..., queries, keys)."""
    s = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale) + bias
    if visible is None:
        return s.softmax(-1)
    visible = visible & (s > -math.inf)
    weight = torch.where(visible, torch.exp(s - s.detach().amax(-1, keepdim=True)), 0.0)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-300)


def tokens(*features: Tensor) -> tuple[Tensor, ...]:
    """Grids (batch, heads, h, w, width) as lists of tokens."""
    return tuple(feature.flatten(2, 3) for feature in features)


def heads(y: Tensor, count: int) -> Tensor:
    """(batch, n, count * width) as (batch, count, n, width)."""
    return y.unflatten(-1, (count, -1)).transpose(1, 2)


def merged(o: Tensor) -> Tensor:
    """(batch, heads, n, width) as (batch, n, heads * width)."""
    return o.transpose(1, 2).flatten(2)


def causal(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril()


def rms(y: Tensor, eps: float) -> Tensor:
    return torch.sqrt((y * y).mean(-1, keepdim=True) + eps)


def rope(f: Tensor) -> Tensor:
    """GPT-NeoX: f * cos + rotate_half(f) * sin."""
    half = f.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = (torch.arange(f.shape[-2]).unsqueeze(-1) * rate).repeat(1, 2)
    return f * angle.cos() + torch.cat([-f[..., half:], f[..., :half]], -1) * angle.sin()


def convolved(f: Tensor, weight: Tensor) -> Tensor:
    """Depthwise: f (batch, heads, h, w, width), weight (heads, size, size, width)."""
    maps = f.permute(0, 1, 4, 2, 3).flatten(1, 2)
    kernel = weight.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(1)
    out = functional.conv2d(maps, kernel, padding=weight.shape[1] // 2, groups=maps.shape[1])
    return out.unflatten(1, (f.shape[1], -1)).permute(0, 1, 3, 4, 2)


def nearest(k: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    """The codewords of tokens without gradient, and straight through."""
    label = ((k.unsqueeze(-2) - code.unsqueeze(-3)) ** 2).sum(-1).argmin(-1)
    every = code.expand(k.shape[0], *code.shape) if code.dim() == k.dim() - 1 else code
    hat = every.gather(-2, label.unsqueeze(-1).expand(*label.shape, k.shape[-1])).detach()
    return hat, k + (hat - k).detach()
