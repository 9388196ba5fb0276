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
    """A grid of tokens cut into boxes of `tile` tokens; tiles and tokens are numbered in row-major order."""

    def __init__(self, extents: tuple[int, ...], tile: tuple[int, ...]) -> None:
        self.extents = extents
        self.tile = tuple(min(size, extent) for size, extent in zip(tile, extents))
        self.grid = tuple(-(-extent // size) for extent, size in zip(self.extents, self.tile))
        self.count = math.prod(self.grid)
        self.slots = math.prod(self.tile)

    def box(self, lo: Tensor, hi: Tensor) -> list[Range]:
        """The tokens covered by ranges of tiles, per axis; `lo` and `hi` are (ranges, axes)."""
        axes = zip(lo.unbind(-1), hi.unbind(-1), self.tile, self.extents)
        return [Range(a * size, ((b + 1) * size - 1).clamp(max=extent - 1)) for a, b, size, extent in axes]

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
            coords.append(coord.clamp(max=extent - 1))
        return coords, exists

    def tokens(self, coords: list[Tensor]) -> Tensor:
        """Token numbers of coordinates."""
        number = torch.zeros_like(coords[0])
        for coord, extent in zip(coords, self.extents):
            number = number * extent + coord
        return number

    def boxes_of(self, tiles: Tensor) -> list[Range]:
        """The tokens of each tile, per axis."""
        places = torch.stack(torch.unravel_index(tiles, self.grid), -1)
        return self.box(places, places)

    def run(self) -> int:
        """How many consecutive tokens every tile consists of: a divisor of its last side and of the last extent."""
        return math.gcd(self.tile[-1], self.extents[-1])

    def runs(self, tiles: Tensor, run: int) -> Tensor:
        """The numbers of the runs of `run` tokens of each tile, (tiles, slots / run); they stay inside the set."""
        coarse = Bricks(
            (*self.extents[:-1], self.extents[-1] // run), (*self.tile[:-1], self.tile[-1] // run)
        )
        return coarse.tokens(coarse.coordinates(tiles)[0])

    def whole(self, tiles: Tensor) -> Tensor:
        """Which tiles have a token in every slot."""
        places = torch.stack(torch.unravel_index(tiles, self.grid), -1)
        return ((places + 1) * torch.tensor(self.tile) <= torch.tensor(self.extents)).all(-1)
