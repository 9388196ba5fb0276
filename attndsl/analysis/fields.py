"""Smallest and largest value of a field over boxes of coordinates: tables of minima and maxima.

The table of levels (a, b, ...) holds the extremes of cells of 2**a x 2**b x ... tokens, made when first
needed; a box is covered by at most two cells per axis of the levels that fit its sides. The answer is
exact for aligned power-of-two boxes of any aspect and otherwise sound: it may look at a few tokens too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Cover:
    """Boxes whose cells are of the same levels.

    Attributes:
        levels: one per axis.
        here: which boxes these are.
        corners: the coordinates of the cells of every box, all of them.
    """

    levels: tuple[int, ...]
    here: Array
    corners: list[tuple[Array, ...]]


Covers = list[Cover]


class Pyramid:
    """Range extremes of one field with integer or boolean values, shape = the token set's extents."""

    def __init__(self, field: Array) -> None:
        self.field = field
        self._top = [max(0, int(extent - 1).bit_length()) for extent in field.shape]
        base: tuple[int, ...] = (0,) * field.ndim
        self._least: dict[tuple[int, ...], Array] = {base: field}
        self._greatest: dict[tuple[int, ...], Array] = {base: field}
        self._last: tuple[tuple[Array, ...], Covers] = ((), [])

    def look_up(self, *coords: Array) -> Array:
        """The field at coordinates, clamped to its tokens."""
        clamped = [np.clip(c, 0, extent - 1) for c, extent in zip(coords, self.field.shape)]
        return self.field[tuple(clamped)]

    def least(self, *box: Array) -> Array:
        """The smallest value over boxes `(lo..., hi...)`, bounds inclusive."""
        return self._extreme(self._least, np.minimum, box)

    def greatest(self, *box: Array) -> Array:
        """The largest value over boxes."""
        return self._extreme(self._greatest, np.maximum, box)

    def _extreme(
        self,
        tables: dict[tuple[int, ...], Array],
        better: np.ufunc,
        box: tuple[Array, ...],
    ) -> Array:
        covers = self._covers(box)
        if len(covers) == 1:
            return _best(_table(tables, covers[0].levels, better), covers[0].corners, better)
        result = np.empty(covers[0].here.shape if covers else box[0].shape, self.field.dtype)
        for cover in covers:
            table = _table(tables, cover.levels, better)
            result[cover.here] = _best(table, cover.corners, better)
        return result

    def _covers(self, box: tuple[Array, ...]) -> Covers:
        """The cells of boxes; kept, for the least and the greatest values are asked for of the same boxes."""
        last, covers = self._last
        if len(last) != len(box) or any(a is not b for a, b in zip(last, box)):
            covers = self._found_covers(box)
            self._last = box, covers
        return covers

    def _found_covers(self, box: tuple[Array, ...]) -> Covers:
        axes = self.field.ndim
        bounds = np.broadcast_arrays(*box)
        lo = [np.clip(b, 0, extent - 1) for b, extent in zip(bounds[:axes], self.field.shape)]
        hi = [np.clip(b, 0, extent - 1) for b, extent in zip(bounds[axes:], self.field.shape)]
        code = np.zeros(lo[0].shape, np.int64)
        for low, h, top in zip(lo, hi, self._top):
            code = code * (top + 1) + np.minimum(_level(h - low), top)
        counts = tuple(top + 1 for top in self._top)
        numbers = np.flatnonzero(np.bincount(code.ravel()))  # few levels, so no sorting
        covers: Covers = []
        for number in numbers:
            levels = tuple(int(level) for level in np.unravel_index(number, counts))
            here = code == number
            ends = zip(lo, hi) if len(numbers) == 1 else ((low[here], h[here]) for low, h in zip(lo, hi))
            corners = [(low >> level, h >> level) for (low, h), level in zip(ends, levels)]
            covers.append(Cover(levels, here, list(product(*corners))))
        return covers


def _best(table: Array, corners: list[tuple[Array, ...]], better: np.ufunc) -> Array:
    found = table[corners[0]]
    for corner in corners[1:]:
        found = better(found, table[corner])
    return found


def _level(length: Array) -> Array:
    """The least level whose cells are at least so long: the number of bits of length - 1."""
    return np.frexp(np.maximum(length - 1, 0).astype(np.float64))[1]


def _table(tables: dict[tuple[int, ...], Array], levels: tuple[int, ...], better: np.ufunc) -> Array:
    """The table of the given levels, halved from the next finer one."""
    if levels not in tables:
        axis = max(range(len(levels)), key=lambda at: (levels[at] > 0, at))
        finer = tuple(level - (at == axis) for at, level in enumerate(levels))
        tables[levels] = _halved(_table(tables, finer, better), axis, better)
    return tables[levels]


def _halved(level: Array, axis: int, better: np.ufunc) -> Array:
    lines = level.swapaxes(axis, 0)
    halved = lines[::2].copy()  # the last of an odd number of lines has no partner
    better(halved[: len(lines) // 2], lines[1::2], out=halved[: len(lines) // 2])
    return halved.swapaxes(axis, 0)
