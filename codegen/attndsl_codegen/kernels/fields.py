"""Fields: tensors over tokens that masks and biases look up at run time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor


class Field:
    """A field of shape (batch, heads or 1, *extents), looked up at coordinates of query-key pairs."""

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self.extents = data.shape[2:]

    def __call__(self, *coords: Tensor | int) -> Tensor:
        """Values at coordinates ([[batch,] heads,] tiles, queries, keys), clamped: (batch, heads, ...)."""
        index = torch.zeros((), dtype=torch.long)
        for coord, extent in zip(coords, self.extents):
            index = index * extent + torch.as_tensor(coord).clamp(0, extent - 1)
        index = index.to(self.data.device)
        flat = self.data.flatten(2)
        if index.dim() == 0:
            return flat[:, :, index.view(1, 1, 1)]
        if index.dim() < 4:
            return flat[:, :, index]
        heads = torch.arange(flat.shape[1], device=index.device).view(-1, 1, 1, 1)
        if index.dim() == 4:
            return flat[:, heads, index]
        batch = torch.arange(flat.shape[0], device=index.device).view(-1, 1, 1, 1, 1)
        return flat[batch, heads, index]


class Pyramid:
    """Minima and maxima of an integer or boolean field over cells of 2**level tokens along every axis."""

    def __init__(self, data: Tensor) -> None:
        self.dtype = torch.bool if data.dtype == torch.bool else torch.long
        values = data.to("cpu", torch.long)
        self.levels = [(values, values)]
        while max(self.levels[-1][0].shape[2:]) > 1:
            least, greatest = self.levels[-1]
            self.levels.append((halved(least, torch.minimum), halved(greatest, torch.maximum)))


class FieldRange:
    """Extremes of a field over boxes, one per row, each row of its own batch element and head.

    At most two cells per axis of the level that fits a box's longest side cover it: sound for every box,
    exact for aligned powers of two.
    """

    def __init__(self, pyramid: Pyramid, batch: Tensor, head: Tensor) -> None:
        self.levels, self.dtype = pyramid.levels, pyramid.dtype
        _, heads, *self.extents = self.levels[0][0].shape
        self.batch = batch
        self.head = head if heads > 1 else torch.zeros_like(head)

    def least(self, *box: Tensor) -> Tensor:
        """The smallest value over boxes `(lo..., hi...)`, bounds inclusive."""
        return torch.stack(self._cells(0, box)).amin(0).to(self.dtype)

    def greatest(self, *box: Tensor) -> Tensor:
        """The largest value over boxes."""
        return torch.stack(self._cells(1, box)).amax(0).to(self.dtype)

    def _cells(self, extreme: int, box: tuple[Tensor, ...]) -> list[Tensor]:
        axes = len(self.extents)
        bounds = torch.broadcast_tensors(self.batch, *(torch.as_tensor(bound) for bound in box))[1:]
        lo = [bound.clamp(0, extent - 1) for bound, extent in zip(bounds[:axes], self.extents)]
        hi = [bound.clamp(0, extent - 1) for bound, extent in zip(bounds[axes:], self.extents)]
        span = torch.stack([b - a for a, b in zip(lo, hi)]).amax(0).clamp(min=1)
        level = torch.ceil(torch.log2(span.double())).long()
        cells = [torch.empty_like(level) for _ in range(2**axes)]
        for number in level.unique().tolist():
            here = level == number
            values = self.levels[min(number, len(self.levels) - 1)][extreme]
            for cell, ends in zip(cells, itertools.product((0, 1), repeat=axes)):
                at = tuple((b if end else a)[here] >> number for a, b, end in zip(lo, hi, ends))
                cell[here] = values[(self.batch[here], self.head[here], *at)]
        return cells


def halved(level: Tensor, better: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Joins neighbouring cells along every axis; a cell without a neighbour stands alone."""
    for axis in range(2, level.dim()):
        size = level.shape[axis]
        even = torch.arange(0, size, 2)
        odd = (even + 1).clamp(max=size - 1)
        level = better(level.index_select(axis, even), level.index_select(axis, odd))
    return level
