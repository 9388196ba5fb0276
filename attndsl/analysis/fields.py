"""Smallest and largest value of a field over boxes of coordinates: a pyramid of minima and maxima.

Level l holds the extremes of cells of 2**l tokens along every axis; a box is covered by at most two cells
per axis of the level that fits its longest side. The answer is exact for aligned power-of-two boxes and
otherwise sound: it may look at a few tokens too many.
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
        self._least, self._greatest = [field], [field]
        while max(self._least[-1].shape) > 1:
            self._least.append(_halved(self._least[-1], np.minimum))
            self._greatest.append(_halved(self._greatest[-1], np.maximum))

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
        self, levels: list[Array], better: Callable[[Array, Array], Array], box: tuple[Array, ...]
    ) -> Array:
        axes = self.field.ndim
        bounds = np.broadcast_arrays(*box)
        lo = [np.clip(b, 0, extent - 1) for b, extent in zip(bounds[:axes], self.field.shape)]
        hi = [np.clip(b, 0, extent - 1) for b, extent in zip(bounds[axes:], self.field.shape)]
        result = np.empty(lo[0].shape, self.field.dtype)
        spans = np.max([h - low for low, h in zip(lo, hi)], axis=0)
        level_of = np.ceil(np.log2(np.maximum(spans, 1))).astype(int)
        for level in np.unique(level_of):
            here = level_of == level
            corners = [np.stack([low[here] >> level, h[here] >> level]) for low, h in zip(lo, hi)]
            chosen = [levels[min(level, len(levels) - 1)][tuple(c[k] for c, k in zip(corners, pick))]
                      for pick in product((0, 1), repeat=axes)]  # fmt: skip
            found = chosen[0]
            for other in chosen[1:]:
                found = better(found, other)
            result[here] = found
        return result


def _halved(level: Array, better: Callable[[Array, Array], Array]) -> Array:
    for axis in range(level.ndim):
        size = level.shape[axis]
        even = level.take(range(0, size, 2), axis)
        odd = level.take([min(at + 1, size - 1) for at in range(0, size, 2)], axis)
        level = better(even, odd)
    return level
