"""Bricks: how the tokens of a grid are cut into tiles, and which tokens a tile holds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Range(NamedTuple):
    """Smallest and largest coordinate of a box along one axis, inclusive."""

    lo: Tensor
    hi: Tensor


class Bricks:
    """A grid of tokens cut into boxes of `tile` tokens; tiles and tokens are numbered in row-major order.

    On a single axis the coordinates may start at an `offset`: the queries of a decoding step.
    """

    def __init__(self, extents: tuple[int, ...], tile: tuple[int, ...], offset: int = 0) -> None:
        self.extents = extents
        self.offset = offset
        self.tile = tuple(min(size, extent) for size, extent in zip(tile, extents))
        self.grid = tuple(-(-extent // size) for extent, size in zip(self.extents, self.tile))
        self.count = math.prod(self.grid)
        self.slots = math.prod(self.tile)

    def box(self, lo: Tensor, hi: Tensor) -> list[Range]:
        """The tokens covered by ranges of tiles, per axis; `lo` and `hi` are (ranges, axes)."""
        axes = zip(lo.unbind(-1), hi.unbind(-1), self.tile, self.extents)
        return [
            Range(a * size + self.offset, ((b + 1) * size - 1).clamp(max=extent - 1) + self.offset)
            for a, b, size, extent in axes
        ]

    def coordinates(self, tiles: Tensor) -> tuple[list[Tensor], Tensor]:
        """The coordinates of every slot, per axis (*tiles, slots), and which slots hold a token."""
        coords: list[Tensor] = []
        exists = torch.ones((*tiles.shape, self.slots), dtype=torch.bool)
        slot, inner_tiles, inner_slots = torch.arange(self.slots), self.count, self.slots
        for size, cells, extent in zip(self.tile, self.grid, self.extents):
            inner_tiles, inner_slots = inner_tiles // cells, inner_slots // size
            first = (tiles // inner_tiles % cells * size).unsqueeze(-1)
            coord = first + slot // inner_slots % size
            exists &= coord < extent
            coords.append(coord.clamp(max=extent - 1) + self.offset)
        return coords, exists

    def tokens(self, coords: list[Tensor]) -> Tensor:
        """Token numbers of coordinates."""
        number = torch.zeros_like(coords[0])
        for coord, extent in zip(coords, self.extents):
            number = number * extent + coord - self.offset
        return number
