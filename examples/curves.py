"""Line charts, drawn with the shapes that attndsl's own pictures are made of: a PNG or an SVG by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from attndsl.picture import palette
from attndsl.picture.output import write_scene
from attndsl.picture.palette import Colour
from attndsl.picture.scene import Box, Item, Line, Scene, Shape, Text

WIDTH, HEIGHT = 360, 240
"""Of a panel's plot."""
LEFT, TOP, RIGHT, BOTTOM = 56, 56, 24, 48
"""Space around it."""
SIZE = 12
"""Of the text."""
MOST_TICKS = 6

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line through points, in order; a dashed one is drawn with gaps. Without a name it has no legend."""

    name: str
    points: Points
    colour: Colour
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes, which begin at 0."""

    title: str
    across: str
    curves: Sequence[Curve]

    @property
    def extent(self) -> tuple[float, float]:
        """The largest coordinates, rounded up to a tick."""
        right, top = (max(point[at] for curve in self.curves for point in curve.points) or 1 for at in (0, 1))
        return right, math.ceil(top / step_of(top) - 1e-9) * step_of(top)


def step_of(largest: float) -> float:
    """A round distance of at most `MOST_TICKS` ticks up to `largest`."""
    power = 10.0 ** math.floor(math.log10(largest / MOST_TICKS))
    return next(m * power for m in (1, 2, 5, 10) if m * power * MOST_TICKS >= largest)


def ticks(largest: float) -> list[tuple[float, str]]:
    """Values and labels from 0 up to `largest`."""
    step = step_of(largest)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(at * step, f"{at * step:,.{digits}f}") for at in range(int(largest / step + 1e-9) + 1)]


def draw(panels: Sequence[Panel], title: str, description: str, path: Path) -> None:
    """Writes the panels side by side.

    Raises:
        attndsl.AttnError: the file cannot be written.
    """
    across = LEFT + WIDTH + RIGHT
    width, height = across * len(panels), TOP + HEIGHT + BOTTOM
    items: list[Item] = [Box(0, 0, width, height, palette.PAPER)]
    for at, panel in enumerate(panels):
        items += drawn(panel, at * across + LEFT)
    write_scene(Scene(width, height, tuple(items), title, description), path)


def drawn(panel: Panel, left: float) -> Iterator[Item]:
    """One panel whose plot begins at `left`."""
    right, top = panel.extent
    yield Text(left, TOP - 36, panel.title, SIZE + 1, palette.INK)
    for value, label in ticks(top):
        y = TOP + HEIGHT * (1 - value / top)
        yield Line(left, y, left + WIDTH, y, palette.RULE)
        yield Text(left - 6, y + SIZE / 3, label, SIZE - 1, palette.SOFT, "end")
    for value, label in ticks(right):
        x = left + WIDTH * value / right
        yield Line(x, TOP + HEIGHT, x, TOP + HEIGHT + 4, palette.SOFT)
        yield Text(x, TOP + HEIGHT + 18, label, SIZE - 1, palette.SOFT, "middle")
    yield Text(left + WIDTH / 2, TOP + HEIGHT + 36, panel.across, SIZE - 1, palette.SOFT, "middle")
    for curve in panel.curves:
        placed = [(left + WIDTH * x / right, TOP + HEIGHT * (1 - y / top)) for x, y in curve.points]
        yield from stroked(placed, curve.colour, curve.dashed)
    named = [curve for curve in panel.curves if curve.name]
    for at, curve in enumerate(named):
        yield from legend(curve, left + at * WIDTH / len(named))


def legend(curve: Curve, x: float) -> Iterator[Item]:
    """A short piece of the curve and its name, above the plot."""
    yield from stroked([(x, TOP - 16), (x + 20, TOP - 16)], curve.colour, curve.dashed)
    yield Text(x + 26, TOP - 12, curve.name, SIZE - 1, palette.INK)


def stroked(points: Points, colour: Colour, dashed: bool = False, width: float = 1.6) -> Iterator[Shape]:
    """A polyline as thin quadrilaterals, which may point anywhere."""
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        length = math.hypot(x2 - x1, y2 - y1)
        if not length:
            continue
        # Pieces reach a little beyond their ends, so that corners close.
        along = (x2 - x1) / length, (y2 - y1) / length
        reach = 0.0 if dashed else width / 3
        end = length * (0.6 if dashed else 1.0) + reach
        dx, dy = -along[1] * width / 2, along[0] * width / 2
        ax, ay = x1 - along[0] * reach, y1 - along[1] * reach
        bx, by = x1 + along[0] * end, y1 + along[1] * end
        yield Shape(((ax + dx, ay + dy), (bx + dx, by + dy), (bx - dx, by - dy), (ax - dx, ay - dy)), colour)
