"""Cuts a row-major sequence into at most so many cells, each a stretch of consecutive members.

A cell holds whole trailing axes and a piece of one axis, so it is a box too: the analysis can look at
it, and its neighbours in a picture are its neighbours in the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from attndsl.analysis.layout import Brick, Ints, tile_coordinates, tile_count

ALIGNED = 8
"""Longer pieces of an axis are multiples of this, so that they can be halved evenly."""


@dataclass(frozen=True)
class Stretches:
    """The cells along one side of a picture."""

    layout: Brick

    @cached_property
    def starts(self) -> Ints:
        """The first member of each cell, and the number of members."""
        tiles = np.arange(tile_count(self.layout), dtype=np.int64)
        coordinates = tile_coordinates(self.layout, tiles)
        return np.concatenate([[0], np.cumsum(self.layout.tokens_in(coordinates, coordinates))])

    @property
    def count(self) -> int:
        """The number of cells."""
        return tile_count(self.layout)

    @property
    def single(self) -> bool:
        """Whether every cell is one member."""
        return set(self.layout.tile) == {1}

    @cached_property
    def sizes(self) -> Ints:
        """The members of each cell."""
        return np.diff(self.starts)

    def place(self, member: int) -> float:
        """Where a member begins, as a share of the side; cells are drawn equally wide."""
        if member >= self.starts[-1]:
            return 1.0
        cell = int(np.searchsorted(self.starts, member, side="right")) - 1
        return (cell + (member - int(self.starts[cell])) / int(self.sizes[cell])) / self.count

    def cell_of(self, members: Ints) -> Ints:
        """The cells of members."""
        return np.searchsorted(self.starts, members, side="right") - 1


def stretches(extents: tuple[int, ...], limit: int) -> Stretches:
    """At most `limit` cells over a product of axes; one member each where that is few enough."""
    tile = [1] * len(extents)
    for axis in reversed(range(len(extents))):
        pieces = limit // prod(extents[:axis])
        if pieces == 0:
            tile[axis] = extents[axis]
            continue
        tile[axis] = _aligned(-(-extents[axis] // pieces), extents[axis])
        break
    return Stretches(Brick(extents, tuple(tile)))


def _aligned(length: int, extent: int) -> int:
    return min(extent, -(-length // ALIGNED) * ALIGNED) if length > 2 * ALIGNED else length
