"""Smallest and largest value of a field over boxes of coordinates: tables of minima and maxima.

The table of levels (a, b, ...) holds the extremes of cells of 2**a x 2**b x ... tokens, made when first
needed; a box is covered by at most two cells per axis of the levels that fit its sides. The answer is
exact for aligned power-of-two boxes of any aspect and otherwise sound: it may look at a few tokens too many.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Pyramid:
    """Range extremes of one field with integer or boolean values, shape = the token set's extents."""

    def __init__(self, field: Array) -> None:
        self.field = field
        self._top = [max(0, int(extent - 1).bit_length()) for extent in field.shape]
        base: tuple[int, ...] = (0,) * field.ndim
        self._least: dict[tuple[int, ...], Array] = {base: field}
        self._greatest: dict[tuple[int, ...], Array] = {base: field}

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
        better: Callable[[Array, Array], Array],
        box: tuple[Array, ...],
    ) -> Array:
        axes = self.field.ndim
        bounds = np.broadcast_arrays(*box)
        lo = [np.clip(b, 0, extent - 1) for b, extent in zip(bounds[:axes], self.field.shape)]
        hi = [np.clip(b, 0, extent - 1) for b, extent in zip(bounds[axes:], self.field.shape)]
        result = np.empty(lo[0].shape, self.field.dtype)
        wanted = np.stack(
            [np.ceil(np.log2(np.maximum(h - low, 1))).astype(np.int64) for low, h in zip(lo, hi)]
        )
        wanted = np.minimum(wanted, np.array(self._top).reshape(-1, *[1] * lo[0].ndim))
        counts = tuple(top + 1 for top in self._top)
        code = np.ravel_multi_index(tuple(wanted), counts)
        for number in np.unique(code):
            levels = tuple(
                int(level) for level in np.unravel_index(number, tuple(top + 1 for top in self._top))
            )
            table = _table(tables, levels, better)
            here = code == number
            corners = [np.stack([low[here] >> a, h[here] >> a]) for low, h, a in zip(lo, hi, levels)]
            chosen = [
                table[tuple(c[k] for c, k in zip(corners, pick))] for pick in product((0, 1), repeat=axes)
            ]
            found = chosen[0]
            for other in chosen[1:]:
                found = better(found, other)
            result[here] = found
        return result


def _table(
    tables: dict[tuple[int, ...], Array], levels: tuple[int, ...], better: Callable[[Array, Array], Array]
) -> Array:
    """The table of the given levels, halved from the next finer one."""
    if levels not in tables:
        axis = max(range(len(levels)), key=lambda at: (levels[at] > 0, at))
        finer = tuple(level - (at == axis) for at, level in enumerate(levels))
        tables[levels] = _halved(_table(tables, finer, better), axis, better)
    return tables[levels]


def _halved(level: Array, axis: int, better: Callable[[Array, Array], Array]) -> Array:
    size = level.shape[axis]
    even = level.take(range(0, size, 2), axis)
    odd = level.take([min(at + 1, size - 1) for at in range(0, size, 2)], axis)
    return better(even, odd)
