"""Ticks along the sides of a panel, at round token numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from attndsl.picture.stretches import Stretches
from attndsl.picture.words import short

STEPS = sorted({m * 10**e for e in range(13) for m in (1, 2, 5)} | {1 << e for e in range(41)})

MAX_GRID = 128
"""Axes up to this long may have ticks at an odd step that divides them, such as 7 on 28."""


@dataclass(frozen=True)
class Tick:
    """A mark at a share of a side, from 0 to 1."""

    at: float
    label: str


def steps_of(extent: int, most: int) -> int:
    """A round distance between at most `most` ticks; one that divides the extent if possible."""
    fitting = [step for step in STEPS if -(-extent // step) <= most]
    parts = range(most, most // 2, -1) if extent <= MAX_GRID else ()
    even = [step for step in fitting if extent % step == 0 and extent // step * 2 > most]
    return (even or [extent // part for part in parts if extent % part == 0] or fitting)[0]


def side_ticks(side: Stretches, axes: tuple[str, ...], unit: tuple[int, ...], most: int) -> tuple[Tick, ...]:
    """Ticks for the members of a row-major sequence.

    Args:
        axes: the axes' names; with several, ticks stand where the first long one advances.
        unit: tokens per member along each axis, 1 for tokens; a single one for stretches.
    """
    extents = side.layout.extents
    axis = next((at for at, extent in enumerate(extents) if extent > 1), 0)
    inner = prod(extents[axis + 1 :])
    centred = side.single and inner == 1 and unit[axis] == 1 and side.count <= 128
    half = 0.5 / side.count if centred else 0.0
    name = f"{short(axes[axis])}=" if len(axes) > 1 and len(extents) > 1 else ""
    step = steps_of(extents[axis], most)
    return tuple(
        Tick(side.place(at * inner) + half, f"{name}{at * unit[axis]:,}")
        for at in range(0, extents[axis], step)
    )


def axis_ticks(extent: int, most: int) -> tuple[Tick, ...]:
    """Ticks at the middles of the cells of one axis."""
    step = steps_of(extent, most)
    return tuple(Tick((at + 0.5) / extent, f"{at:,}") for at in range(0, extent, step))
