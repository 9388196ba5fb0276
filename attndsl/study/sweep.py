"""Simulations over a range of lengths or of values of a parameter."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attndsl.diagnostics import fail
from attndsl.ir.program import Program
from attndsl.planning.layouts import Forced
from attndsl.planning.simulate import simulate
from attndsl.planning.sizes import read_shape
from attndsl.simulation.problems import BadOption
from attndsl.simulation.report import Report
from attndsl.simulation.setting import Setting
from attndsl.study.variants import known_name, with_parameters

UNITS = {"k": 1 << 10, "M": 1 << 20}
MOST_POINTS, MOST_EXTENT = 64, 1 << 23
EXAMPLE = "write e.g. --sweep n=1k..1M, --sweep n=1000,2000 or --sweep stride=1,2,4"


@dataclass(frozen=True)
class Point:
    """One simulation of a sweep: the value, as text, and what was found."""

    value: str
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """The point as JSON data, and as a row of a table."""
        fall = self.report.waterfall
        return {
            "value": self.value,
            "flop_bound": fall.flop_bound,
            "tile_bound": fall.tile_bound,
            "schedule_bound": fall.schedule_bound,
            "predicted_speedup": fall.predicted,
            "time_us": self.report.seconds * 1e6,
            "dense_time_us": self.report.dense_seconds * 1e6,
            "peak_memory_bytes": self.report.peak_bytes,
        }


@dataclass(frozen=True)
class Sweep:
    """A sweep: what is varied, and the points in order."""

    name: str
    points: tuple[Point, ...]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers, so that they can stand on an axis."""
        return all(re.fullmatch(r"[0-9]+", point.value) for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """The sweep as JSON data."""
        return {"name": self.name, "points": [point.to_dict() for point in self.points]}

    def to_csv(self) -> str:
        """A table with a header; the first column is what is varied."""
        text = io.StringIO()
        rows = [point.to_dict() for point in self.points]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([self.name, *list(rows[0])[1:]])
        writer.writerows(row.values() for row in rows)
        return text.getvalue()


def run_sweep(
    program: Program,
    extents: Mapping[str, int],
    setting: Setting,
    given: str,
    forced: Forced | None = None,
) -> Sweep:
    """Simulates a program over the values of `name=values`.

    Raises:
        AttnError: the text is malformed, names nothing, or a value does not fit.
    """
    name, equals, text = given.partition("=")
    name = name.strip()
    if not equals:
        raise fail(BadOption("--sweep", given, "it is not of the form name=values", EXAMPLE))
    values = read_values(given, text)
    if known_name(program, "--sweep", name) == "extent":
        points = [
            Point(_words(value), simulate(program, {**extents, **sizes}, setting, forced))
            for value, sizes in zip(values, _extents(program, name, values))
        ]
    else:
        varied = [with_parameters(program, {name: value}) for value in values]
        points = [
            Point(_words(value), simulate(variant, extents, setting, forced))
            for value, variant in zip(values, varied)
        ]
    return Sweep(name, tuple(points))


def _extents(program: Program, name: str, values: Sequence[Any]) -> Iterator[dict[str, int]]:
    """The symbols of each value; a number for a set of several axes is the extent of each."""
    for value in values:
        if name in program.symbols:
            yield {name: int(value)}
            continue
        tokens = next(tokens for tokens in program.token_sets if tokens.name == name)
        sides = value if isinstance(value, tuple) else (value,) * len(tokens.axes)
        yield read_shape(program, [f"{name}={'x'.join(map(str, sides))}"])


def read_values(given: str, text: str) -> list[Any]:
    """`1k..1M` doubles from one end to the other; otherwise values apart by commas, tuples in brackets.

    k is 1024 and M is 1024 * 1024.

    Raises:
        AttnError: the text is neither, or there are too many values.
    """
    if ".." in text:
        low, high = (_number(given, part) for part in text.split("..", 1))
        values: list[Any] = []
        while low <= min(high, MOST_EXTENT) and len(values) <= MOST_POINTS:
            values.append(low)
            low *= 2
        if high > MOST_EXTENT:
            raise fail(BadOption("--sweep", given, f"it ends above {MOST_EXTENT:,}", EXAMPLE))
    else:
        parts = re.findall(r"\([^()]*\)|[^,()]+", text)
        values = [_value(given, part.strip()) for part in parts if part.strip()]
    if not 1 <= len(values) <= MOST_POINTS:
        raise fail(BadOption("--sweep", given, f"it has {len(values)} values", EXAMPLE))
    return values


def _value(given: str, text: str) -> Any:
    if text.startswith("("):
        return tuple(_number(given, part) for part in text.strip("()").split(",") if part.strip())
    return _number(given, text)


def _number(given: str, text: str) -> int:
    found = re.fullmatch(r"\s*([0-9]{1,13})\s*([kM]?)\s*", text)
    if found is None or int(found[1]) < 1:
        raise fail(BadOption("--sweep", given, f"`{text.strip()}` is not a positive number", EXAMPLE))
    return int(found[1]) * UNITS.get(found[2], 1)


def _words(value: Any) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, tuple) else str(value)
