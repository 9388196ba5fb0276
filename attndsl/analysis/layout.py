"""Layouts: which tokens a tile holds. Tiles are numbered in row-major order of their grid.

A raster layout cuts the row-major sequence of tokens into pieces of equal length; a brick layout cuts
every axis, so that one tile is a small box, e.g. 2x8x8 tokens of a video. Ragged extents leave empty
slots in the last tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Layout(Protocol):
    """How the tokens of a set with given extents are cut into tiles."""

    @property
    def extents(self) -> tuple[int, ...]:
        """The extents of the token set."""
        ...

    @property
    def grid(self) -> tuple[int, ...]:
        """How many tiles there are along each axis of the tile grid."""
        ...

    @property
    def tile(self) -> tuple[int, ...]:
        """The slots of a tile along each axis of the tile grid."""
        ...

    @property
    def name(self) -> str:
        """`raster` or `brick`."""
        ...

    def hull(self, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """The smallest box around a range of tiles; all bounds inclusive, shapes (count, axes)."""
        ...

    def tokens_in(self, lo: Ints, hi: Ints) -> Ints:
        """How many tokens a range of tiles holds."""
        ...

    def pieces(self, tiles: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """The boxes that make up each tile: lo and hi (count, pieces, axes), and which exist."""
        ...


def slots(layout: Layout) -> int:
    """Slots per tile."""
    return prod(layout.tile)


def tile_count(layout: Layout) -> int:
    """The number of tiles."""
    return prod(layout.grid)


def ragged(layout: Layout) -> NDArray[np.bool_]:
    """Along which axes of the tile grid the last tile has empty slots."""
    extents = layout.extents if len(layout.tile) == len(layout.extents) else (prod(layout.extents),)
    return np.array([extent % size != 0 for extent, size in zip(extents, layout.tile)])


def tile_coordinates(layout: Layout, tiles: Ints) -> Ints:
    """Tile numbers as coordinates on the tile grid, shape (count, grid axes)."""
    return np.stack(np.unravel_index(tiles, layout.grid), -1).astype(np.int64)


@dataclass(frozen=True)
class Brick:
    """Tiles that are boxes: `tile` tokens along each axis."""

    extents: tuple[int, ...]
    tile: tuple[int, ...]

    @property
    def name(self) -> str:
        """The layout's name."""
        return "brick" if len(self.extents) > 1 else "raster"

    @property
    def grid(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return tuple(-(-extent // size) for extent, size in zip(self.extents, self.tile))

    def hull(self, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """The box of a range of tiles."""
        size, last = np.array(self.tile), np.array(self.extents) - 1
        return lo * size, np.minimum((hi + 1) * size - 1, last)

    def tokens_in(self, lo: Ints, hi: Ints) -> Ints:
        """The tokens of a range of tiles."""
        first, last = self.hull(lo, hi)
        return np.prod(last - first + 1, axis=-1)

    def pieces(self, tiles: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """A brick is one box."""
        coordinates = tile_coordinates(self, tiles)
        lo, hi = self.hull(coordinates, coordinates)
        return lo[:, None], hi[:, None], np.ones((len(tiles), 1), dtype=bool)


@dataclass(frozen=True)
class Raster:
    """Tiles of `length` consecutive tokens in row-major order."""

    extents: tuple[int, ...]
    length: int

    @property
    def name(self) -> str:
        """The layout's name."""
        return "raster"

    @property
    def tile(self) -> tuple[int, ...]:
        """The length."""
        return (self.length,)

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of tiles."""
        return (-(-prod(self.extents) // self.length),)

    def _flat(self, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        last = prod(self.extents) - 1
        return lo[:, 0] * self.length, np.minimum((hi[:, 0] + 1) * self.length - 1, last)

    def _digits(self, flat: Ints) -> Ints:
        return np.stack(np.unravel_index(flat, self.extents), -1).astype(np.int64)

    def hull(self, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """Behind the first axis on which start and end differ, the hull is everything."""
        first, last = (self._digits(flat) for flat in self._flat(lo, hi))
        differs = np.cumsum(first != last, axis=-1) > 0
        behind = np.zeros_like(differs)
        behind[:, 1:] = differs[:, :-1]
        top = np.array(self.extents) - 1
        return np.where(behind, 0, first), np.where(behind, top, last)

    def tokens_in(self, lo: Ints, hi: Ints) -> Ints:
        """The tokens of a range of tiles."""
        first, last = self._flat(lo, hi)
        return last - first + 1

    def pieces(self, tiles: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """A stretch of the row-major sequence is at most `2 * axes - 1` boxes.

        With f the first axis on which start and end differ: for each axis behind f the rest of the
        start's line and the beginning of the end's line, and between them the whole lines along f.
        """
        first, last = (self._digits(flat) for flat in self._flat(tiles[:, None], tiles[:, None]))
        axes = len(self.extents)
        top = np.array(self.extents) - 1
        differs = first != last
        fork = np.where(differs.any(-1), differs.argmax(-1), axes - 1)
        boxes: list[tuple[Ints, Ints, NDArray[np.bool_]]] = []
        for axis in range(axes):
            lo, hi = first.copy(), first.copy()
            lo[:, axis] += axis < axes - 1
            hi[:, axis] = last[:, axis] - (axis < axes - 1)
            boxes.append(_opened(lo, hi, axis, top, fork == axis))
        for axis in range(1, axes):
            inner = axis < axes - 1
            head_lo, head_hi = first.copy(), first.copy()
            head_lo[:, axis] += inner
            head_hi[:, axis] = top[axis]
            boxes.append(_opened(head_lo, head_hi, axis, top, fork < axis))
            tail_lo, tail_hi = last.copy(), last.copy()
            tail_lo[:, axis] = 0
            tail_hi[:, axis] -= inner
            boxes.append(_opened(tail_lo, tail_hi, axis, top, fork < axis))
        lows, highs, exist = zip(*boxes)
        return np.stack(lows, 1), np.stack(highs, 1), np.stack(exist, 1)


def _opened(
    lo: Ints, hi: Ints, axis: int, top: Ints, applies: NDArray[np.bool_]
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Everything along the axes behind `axis`; a box that is empty does not exist."""
    lo[:, axis + 1 :] = 0
    hi[:, axis + 1 :] = top[axis + 1 :]
    return lo, hi, applies & (lo[:, axis] <= hi[:, axis])


def make_layout(extents: tuple[int, ...], tile: tuple[int, ...]) -> Layout:
    """Bricks if `tile` has one size per axis, else a raster of that length."""
    if len(tile) == len(extents):
        return Brick(extents, tile)
    if len(tile) == 1:
        return Raster(extents, tile[0])
    raise ValueError(f"a tile of {len(tile)} sizes does not fit {len(extents)} axes")


def balanced(extents: tuple[int, ...], count: int, start: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Doubles the shortest side, the last axis first, until the tile holds `count` slots."""
    tile = list(start or (1,) * len(extents))
    while prod(tile) < count:
        growing = [axis for axis, extent in enumerate(extents) if tile[axis] < extent]
        if not growing:
            break
        shortest = min(growing, key=lambda axis: (tile[axis], -axis))
        tile[shortest] *= 2
    return tuple(tile)
