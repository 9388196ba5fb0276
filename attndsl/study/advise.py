"""Better settings near the user's: parameters declared `tune`, layouts and tile shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from attndsl.diagnostics import AttnError
from attndsl.ir.program import Program
from attndsl.planning.layouts import Forced
from attndsl.planning.simulate import simulate
from attndsl.simulation.report import Report
from attndsl.simulation.setting import Setting
from attndsl.study.variants import with_parameters

MOST_VARIANTS = 48
"""Combinations of tuned values that are simulated."""
MOST_ADVICE = 5
LEAST_GAIN = 1.02
"""Advice that gains less is not worth a line."""


@dataclass(frozen=True)
class Advice:
    """A change, what it buys and what it changes in meaning.

    Attributes:
        change: in words, e.g. `stride = (16, 8, 8)`.
        gain: time before over time after.
        meaning: what it does to the mask, in words; empty if nothing.
        report: the simulation after the change.
    """

    change: str
    gain: float
    meaning: str
    report: Report

    @property
    def words(self) -> str:
        """The advice in a sentence."""
        partial = all(a.part is None or a.part.work.counts.partial == 0 for a in self.report.attends)
        full = " makes every visited tile full:" if partial else ":"
        speed = self.report.waterfall.predicted
        text = f"{self.change}{full} {self.gain:.2f}x faster, {speed:.3g}x dense"
        return f"{text}; {self.meaning}" if self.meaning else f"{text}; the mask stays the same"

    def to_dict(self) -> dict[str, Any]:
        """The advice as JSON data."""
        fall = self.report.waterfall
        return {
            "change": self.change,
            "gain": self.gain,
            "predicted_speedup": fall.predicted,
            "tile_bound": fall.tile_bound,
            "tile_bound_worst": fall.tile_bound_worst,
            "meaning": self.meaning,
            "words": self.words,
        }


def advise(
    program: Program,
    extents: Mapping[str, int],
    setting: Setting,
    report: Report,
    forced: Forced | None = None,
) -> list[Advice]:
    """The best changes of tuned parameters and of tiles, the largest gain first."""
    found: list[Advice] = []
    if forced:
        own = simulate(program, extents, setting)
        tiles = " and ".join(
            f"tiles of {_sides(a.tiling.query)} against {_sides(a.tiling.key)} for {a.name}"
            for a in own.attends
            if a.tiling.query
        )
        found.append(Advice(tiles, report.seconds / own.seconds, "", own))
    for changes in _changes(program):
        try:
            variant = with_parameters(program, changes)
            other = simulate(variant, extents, setting, forced)
        except AttnError:
            continue  # a combination that the spec's own requirements rule out
        words = ", ".join(f"{name} = {value}" for name, value in changes.items())
        found.append(Advice(words, report.seconds / other.seconds, _meaning(report, other), other))
    useful = [advice for advice in found if advice.gain >= LEAST_GAIN]
    return sorted(useful, key=lambda advice: -advice.gain)[:MOST_ADVICE]


def _changes(program: Program) -> Iterator[dict[str, Any]]:
    """Values of the tuned parameters other than those in force: all combinations, if they are few."""
    names = list(program.tunable)
    choices = [program.tunable[name] for name in names]
    if prod(len(values) for values in choices) <= MOST_VARIANTS:
        combinations = [dict(zip(names, values)) for values in product(*choices)] if names else []
    else:
        combinations = [{name: value} for name, values in zip(names, choices) for value in values]
    for changes in combinations:
        different = {n: v for n, v in changes.items() if not _same(program.parameters[n], v)}
        if different:
            yield different


def _same(current: Any, value: Any) -> bool:
    spread = isinstance(current, tuple) and not isinstance(value, tuple)
    return current == ((value,) * len(current) if spread else value)


def _meaning(before: Report, after: Report) -> str:
    """What changes for the queries: pairs, and thereby keys per query."""
    kept = sum(attend.pairs for attend in before.attends)
    now = sum(attend.pairs for attend in after.attends)
    if kept == now:
        return "each query sees as many keys as before, but neighbours share them"
    return f"{now / kept:.0%} of the visible pairs"


def _sides(tile: tuple[int, ...]) -> str:
    return "x".join(map(str, tile))
