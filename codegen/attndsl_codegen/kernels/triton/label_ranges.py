"""Extremes of int and bool fields over boxes of places, by operations whose results have known sizes.

A pyramid: level 0 is the field, a cell of level `l` covers 2**l places along every axis. Any box lies in two
neighbouring cells per axis of the level that its longest side takes.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor


def levels_of(extents: tuple[int, ...], device: Any) -> Tensor:
    """Where the cells of each level begin in a table of all of them."""
    sizes = [
        math.prod(((extent - 1) >> level) + 1 for extent in extents)
        for level in range((max(extents) - 1).bit_length() + 1)
    ]
    return torch.tensor([0, *itertools.accumulate(sizes[:-1])], device=device)


class Levels:
    """The cells of all levels of one field.

    Attributes:
        cells: (2, batch, heads, cells): least values, and least complements. The complement `~x` is smallest
            where `x` is largest, and cannot overflow.
        begins: of `levels_of`.
    """

    def __init__(self, data: Tensor, begins: Tensor) -> None:
        self.dtype, self.shape, self.begins = data.dtype, data.shape, begins
        level = torch.stack([data.long(), ~data.long()])
        parts = [level.flatten(3)]
        for _ in range(len(begins) - 1):
            for axis in range(3, level.dim()):
                level = halved(level, axis)
            parts.append(level.flatten(3))
        self.cells = torch.cat(parts, 3)


def halved(cells: Tensor, axis: int) -> Tensor:
    """The smaller one of each two neighbours; one without a neighbour stays."""
    half = cells.shape[axis] // 2
    found = cells.narrow(axis, 0, 2 * half).unflatten(axis, (half, 2)).amin(axis + 1)
    rest = cells.narrow(axis, 2 * half, cells.shape[axis] - 2 * half)
    return torch.cat([found, rest], axis) if rest.shape[axis] else found


class LabelRange:
    """Extremes over boxes, (batch, boxes) or (boxes,): what `FieldRange` tells of planning on the CPU.

    Args:
        head: of each box, (boxes,).
    """

    def __init__(self, levels: Levels, head: Tensor) -> None:
        batches, heads, *self.extents = levels.shape
        self.levels, self.none = levels, torch.zeros_like(head)
        self.layer = head if heads > 1 else self.none
        if batches > 1:
            self.layer = self.layer + torch.arange(batches, device=head.device).view(-1, 1) * heads
        self.known: list[tuple[tuple[Any, ...], Tensor]] = []

    def least(self, *box: Any) -> Tensor:
        """The smallest value over boxes `(lo..., hi...)`, bounds inclusive, clamped to the field."""
        return self.extremes(box)[0].to(self.levels.dtype)

    def greatest(self, *box: Any) -> Tensor:
        """The largest value over boxes."""
        return (~self.extremes(box)[1]).to(self.levels.dtype)

    def extremes(self, box: tuple[Any, ...]) -> Tensor:
        """Least values and least complements; found once for both ends of an interval."""
        for others, extremes in self.known:
            if all(one is other for one, other in zip(box, others)):
                return extremes
        found = self.over_cells(box)
        self.known.append((box, found))
        return found

    def over_cells(self, box: tuple[Any, ...]) -> Tensor:
        """The smallest entries of the cells that cover each box, (2, ...)."""
        axes = len(self.extents)
        bounds = torch.broadcast_tensors(*(self.none + bound for bound in box))
        corners = [bound.clamp(0, extent - 1) for bound, extent in zip(bounds, self.extents * 2)]
        longest = torch.stack([hi - lo for lo, hi in zip(corners[:axes], corners[axes:])]).amax(0)
        level = longest.clamp(min=1).double().log2().ceil().long()
        first = self.layer * self.levels.cells.shape[3] + self.levels.begins[level]
        across = [((extent - 1) >> level) + 1 for extent in self.extents]
        cells = [corner >> level for corner in corners]
        numbers: list[Tensor] = []
        for ends in itertools.product((0, axes), repeat=axes):
            number = cells[ends[0]]
            for axis in range(1, axes):
                number = number * across[axis] + cells[axis + ends[axis]]
            numbers.append(first + number)
        return self.levels.cells.flatten(1)[:, torch.stack(numbers)].amin(1)
