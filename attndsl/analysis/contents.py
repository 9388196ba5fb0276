"""What boxes of tokens hold: their points, and which of them have the same values of a field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.layout import Ints


def box_points(lo: Ints, hi: Ints) -> Ints:
    """The points of equally large boxes in row-major order, shape (boxes, points, axes)."""
    sizes = (hi[0] - lo[0] + 1).tolist()
    steps = np.stack(np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij"), -1)
    return lo[:, None, :] + steps.reshape(1, -1, lo.shape[1])


def content_classes(values: NDArray[Any], lo: Ints, hi: Ints) -> Ints:
    """A number per box, bounds inclusive: boxes of equal size with equal values have the same number."""
    boxes, owner = np.unique(np.concatenate([lo, hi], -1), axis=0, return_inverse=True)
    axes = lo.shape[1]
    sizes, shape_of = np.unique(boxes[:, axes:] - boxes[:, :axes], axis=0, return_inverse=True)
    number = np.zeros(len(boxes), dtype=np.int64)
    known: dict[tuple[int, bytes], int] = {}
    for shape in range(len(sizes)):
        members = np.flatnonzero(shape_of.ravel() == shape)
        points = box_points(boxes[members, :axes], boxes[members, axes:])
        found = values[tuple(np.moveaxis(points, -1, 0))]
        number[members] = [known.setdefault((shape, row.tobytes()), len(known)) for row in found]
    return number[owner.ravel()]
