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
    """A grid of tokens cut into boxes; tiles and tokens are numbered in row-major order.

    An axis may be split into residue classes: it then counts as two sides, the phase (coordinate % step) and
    the round (coordinate // step), so that a tile along rounds holds every `step`-th token.

    Args:
        tile: the sides of a tile, two for a split axis.
        steps: into how many residue classes each axis is split; empty if none is.
        offset: where the coordinates of a single axis start: the queries of a decoding step.
        clipped: whether tiles larger than the grid shrink to it.
        origin: per axis, the slots of the first tile that are left empty in front of the first token; empty
            if there are none.
    """

    def __init__(
        self,
        extents: tuple[int, ...],
        tile: tuple[int, ...],
        steps: tuple[int, ...] = (),
        offset: int = 0,
        clipped: bool = True,
        origin: tuple[int, ...] = (),
    ) -> None:
        self.extents, self.residues, self.offset = extents, steps, offset
        self.cells, self.starts = extents, (offset,) * len(extents)
        if steps:
            self.cells, self.starts = split_axes(extents, steps, offset)
        self.origin = origin or (0,) * len(self.cells)
        self.cells = tuple(cell + empty for cell, empty in zip(self.cells, self.origin))
        self.starts = tuple(start - empty for start, empty in zip(self.starts, self.origin))
        self.tile = tuple(min(size, cell) if clipped else size for size, cell in zip(tile, self.cells))
        self.grid = tuple(-(-cell // size) for cell, size in zip(self.cells, self.tile))
        self.count = math.prod(self.grid)
        self.slots = math.prod(self.tile)

    @property
    def ragged(self) -> Tensor:
        """Along which sides the last tiles may have slots without a token."""
        sides = [cell % size != 0 for cell, size in zip(self.cells, self.tile)]
        at = 0
        for extent, step in zip(self.extents, self.residues):
            at += 1 + (step > 1)
            sides[at - 1] |= extent % step != 0
        return torch.tensor(sides)

    def empty_slots(self, lo: Tensor, hi: Tensor) -> Tensor:
        """Which ranges of tiles, bounds inclusive and (ranges, sides), have slots without a token."""
        at_end = (hi == torch.tensor(self.grid) - 1) & self.ragged
        return (at_end | ((lo == 0) & (torch.tensor(self.origin) > 0))).any(-1)

    def box(self, lo: Tensor, hi: Tensor) -> list[Range]:
        """The places covered by ranges of tiles, per side; `lo` and `hi` are (ranges, sides)."""
        sides = zip(lo.unbind(-1), hi.unbind(-1), self.tile, self.cells, self.starts, self.origin)
        return [
            Range(start + (a * size).clamp(min=empty), start + ((b + 1) * size - 1).clamp(max=cell - 1))
            for a, b, size, cell, start, empty in sides
        ]

    def coordinates(self, tiles: Tensor) -> tuple[list[Tensor], Tensor]:
        """The coordinates of every slot, per axis (*tiles, slots), and which slots hold a token."""
        places: list[Tensor] = []
        exists = torch.ones((*tiles.shape, self.slots), dtype=torch.bool)
        slot, inner_tiles, inner_slots = torch.arange(self.slots), self.count, self.slots
        sides = zip(self.tile, self.grid, self.cells, self.starts, self.origin)
        for size, count, cell, start, empty in sides:
            inner_tiles, inner_slots = inner_tiles // count, inner_slots // size
            first = (tiles // inner_tiles % count * size).unsqueeze(-1)
            place = first + slot // inner_slots % size
            exists &= (place >= empty) & (place < cell)
            places.append(place.clamp(empty, cell - 1) + start)
        if self.residues:
            return self.joined(places, exists)
        return places, exists

    def joined(self, places: list[Tensor], exists: Tensor) -> tuple[list[Tensor], Tensor]:
        """Coordinates of phases and rounds, and which of them are those of a token."""
        coords: list[Tensor] = []
        for extent, step in zip(self.extents, self.residues):
            coord = places.pop(0)
            if step > 1:
                coord = places.pop(0) * step + coord
                exists = exists & (coord >= self.offset) & (coord < self.offset + extent)
            coords.append(coord.clamp(self.offset, self.offset + extent - 1))
        return coords, exists

    def tokens(self, coords: list[Tensor]) -> Tensor:
        """Token numbers of coordinates."""
        number = torch.zeros_like(coords[0])
        for coord, extent in zip(coords, self.extents):
            number = number * extent + coord - self.offset
        return number

    def run(self) -> int:
        """How many consecutive tokens tiles consist of: a divisor of last side, last extent and origin."""
        return 1 if self.residues else math.gcd(self.tile[-1], self.extents[-1], self.origin[-1])

    def runs(self, tiles: Tensor, run: int) -> Tensor:
        """The numbers of the runs of `run` tokens of each tile, (*tiles, slots / run), all inside."""
        if run == 1:
            return self.tokens(self.coordinates(tiles)[0])
        coarse = Bricks(
            (*self.extents[:-1], self.extents[-1] // run),
            (*self.tile[:-1], self.tile[-1] // run),
            origin=(*self.origin[:-1], self.origin[-1] // run),
        )
        return coarse.tokens(coarse.coordinates(tiles)[0])

    def whole(self, tiles: Tensor) -> Tensor:
        """Which tiles have a token in every slot."""
        return self.coordinates(tiles)[1].all(-1)


def split_axes(
    extents: tuple[int, ...], steps: tuple[int, ...], offset: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The lengths of the sides, two for an axis that is split into residue classes, and where they start."""
    cells: list[int] = []
    starts: list[int] = []
    for extent, step in zip(extents, steps):
        first, last = offset // step, (offset + extent - 1) // step
        cells += [extent] if step == 1 else [step, last - first + 1]
        starts += [first] if step == 1 else [0, first]
    return tuple(cells), tuple(starts)
