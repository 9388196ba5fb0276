"""Reads and writes runs of tokens as rows of one table: plain memory copies, without temporaries.

A tensor (batch, heads, tokens, width) is seen as rows of `run` consecutive tokens; row numbers of all batch
elements and heads are folded into one index. Whole permutations or copies of the operands are never made.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """A tensor as rows.

    Attributes:
        table: (rows, run * width), memory shared with the tensor.
        base: (batch, heads), the first row of each batch element and query head.
        step: rows between neighbouring runs of tokens.
        layout: what row numbers depend on; tensors of one layout share them.
    """

    table: Tensor
    base: Tensor
    step: int
    layout: tuple[int, ...]

    def numbers(self, layer: tuple[slice, slice], runs: Tensor) -> Tensor:
        """The rows of runs (tiles, runs), for every batch element and head of a layer."""
        return (self.base[layer].reshape(-1, 1) + runs.reshape(1, -1) * self.step).flatten()


def rows_of(x: Tensor, run: int, heads: int) -> Rows | None:
    """The rows of a tensor, or None if its strides do not allow it; key/value heads serve groups of heads."""
    width, unit = x.shape[-1], run * x.shape[-1]
    strides = [1 if size == 1 else stride for size, stride in zip(x.shape, x.stride())]
    outer = [0 if size == 1 else stride for size, stride in zip(x.shape[:2], strides)]
    if strides[3] != 1 or any(stride % unit for stride in outer) or (x.shape[2] > 1 and strides[2] % width):
        return None
    if run > 1 and strides[2] != width:
        return None
    step = strides[2] // width if x.shape[2] > 1 else 1
    count = 1 + (x.shape[2] // run - 1) * step + sum((n - 1) * s // unit for n, s in zip(x.shape, outer))
    batch, head = torch.arange(x.shape[0], device=x.device), torch.arange(heads, device=x.device)
    served = head // (heads // x.shape[1])
    base = batch.unsqueeze(-1) * (outer[0] // unit) + served * (outer[1] // unit)
    layout = (run, step, outer[0] // unit, outer[1] // unit, x.shape[1])
    return Rows(x.as_strided((count, unit), (unit, 1), x.storage_offset()), base, step, layout)


def windows(x: Tensor, start: int, step: int, shape: tuple[int, int]) -> Tensor | None:
    """Overlapping stretches of tokens without a copy: (batch * heads, tiles, tokens, width).

    Tile t begins at token `start + t * step`; None if batch and heads do not fold into one axis.
    """
    batch, heads, _, width = x.shape
    outer = x.stride(1) if heads > 1 else x.stride(0)
    if batch > 1 and heads > 1 and x.stride(0) != heads * x.stride(1):
        return None
    along = x.stride(2)
    sizes, strides = (batch * heads, *shape, width), (outer, step * along, along, x.stride(3))
    return x.as_strided(sizes, strides, x.storage_offset() + start * along)
