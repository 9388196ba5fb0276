"""A sweep as a picture: bounds and prediction, as speed-ups over dense attention, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, hypot, log2

from attndsl.picture import palette
from attndsl.picture.scene import Box, Item, Line, Scene, Shape, Text
from attndsl.study.sweep import Sweep

WIDTH, HEIGHT = 640.0, 360.0
LEFT, TOP, RIGHT, BOTTOM = 64.0, 54.0, 150.0, 46.0
STROKE, MARK = 2.0, 5.0
SERIES = (
    ("flop bound", "flop_bound", palette.RULE),
    ("tile bound", "tile_bound", palette.PARTIAL),
    ("predicted", "predicted_speedup", palette.VISIBLE),
)


@dataclass(frozen=True)
class Axes:
    """Where values stand: positions along x, powers of two along y."""

    x: tuple[float, ...]
    low: int
    high: int

    def y(self, value: float) -> float:
        """The height of a speed-up."""
        share = (log2(max(value, 2.0**self.low)) - self.low) / max(1, self.high - self.low)
        return TOP + HEIGHT * (1 - share)


def curves(sweep: Sweep) -> Scene:
    """The picture of a sweep."""
    rows = [point.to_dict() for point in sweep.points]
    values = [max(float(row[key]), 1e-9) for row in rows for _, key, _ in SERIES]
    low, high = min(0, floor(log2(min(values)))), max(1, ceil(log2(max(values))))
    axes = Axes(_places(sweep), low, high)
    items: list[Item] = [Text(LEFT, 30, f"speed-up over dense attention by {sweep.name}", 15, palette.INK)]
    items += _grid(sweep, axes)
    labels: list[float] = []
    for name, key, colour in SERIES:
        points = [(x, axes.y(float(row[key]))) for x, row in zip(axes.x, rows)]
        items += _curve(points, colour)
        at = points[-1][1] + 4
        while any(abs(at - taken) < 15 for taken in labels):
            at += 15
        labels.append(at)
        items.append(Text(LEFT + WIDTH + 24, at, name, 12, palette.INK))
        items.append(Box(LEFT + WIDTH + 14, at - 8, 5, 8, colour))
    words = "; ".join(f"{point.value}: {point.report.waterfall.predicted:.3g}" for point in sweep.points)
    size = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    return Scene(*size, tuple(items), f"Speed-up by {sweep.name}", words)


def _places(sweep: Sweep) -> tuple[float, ...]:
    """Numbers on a logarithmic axis, other values at equal distances."""
    if not sweep.numeric or len(sweep.points) < 2:
        step = WIDTH / max(1, len(sweep.points) - 1)
        return tuple(LEFT + step * at for at in range(len(sweep.points)))
    logs = [log2(int(point.value)) for point in sweep.points]
    span = max(logs) - min(logs) or 1.0
    return tuple(LEFT + WIDTH * (value - min(logs)) / span for value in logs)


def _grid(sweep: Sweep, axes: Axes) -> Iterator[Item]:
    step = max(1, (axes.high - axes.low) // 8)
    for power in range(axes.low, axes.high + 1, step):
        y = axes.y(2.0**power)
        yield Line(LEFT, y, LEFT + WIDTH, y, palette.SOFT if power == 0 else palette.HIDDEN)
        yield Text(LEFT - 8, y + 4, f"{2.0**power:g}x", 11, palette.SOFT, "end")
    every = max(1, -(-len(sweep.points) // 12))
    for at in range(0, len(sweep.points), every):
        label = short(sweep.points[at].value)
        yield Text(axes.x[at], TOP + HEIGHT + 18, label, 11, palette.SOFT, "middle")


def short(value: str) -> str:
    """A round number of tokens in units of 1024; other values as they are."""
    if value.isdigit():
        for unit, size in (("M", 1 << 20), ("k", 1 << 10)):
            if int(value) >= size and int(value) % size == 0:
                return f"{int(value) // size}{unit}"
    return value


def _curve(points: Sequence[tuple[float, float]], colour: palette.Colour) -> Iterator[Item]:
    """A line as thin polygons, with a mark on every point."""
    for (x, y), (to_x, to_y) in pairwise(points):
        length = hypot(to_x - x, to_y - y) or 1.0
        dx, dy = STROKE / 2 * (y - to_y) / length, STROKE / 2 * (to_x - x) / length
        yield Shape(
            ((x + dx, y + dy), (to_x + dx, to_y + dy), (to_x - dx, to_y - dy), (x - dx, y - dy)), colour
        )
    for x, y in points:
        yield Box(x - MARK / 2, y - MARK / 2, MARK, MARK, colour)
