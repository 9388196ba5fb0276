"""Times that survive a busy machine: calls take turns, ratios are taken within a turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Times:
    """Seconds of one call, one per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile."""
        return _quartiles(self.seconds)

    def to_dict(self) -> dict[str, object]:
        """The times as JSON data, in milliseconds."""
        low, high = self.quartiles
        return {
            "median_ms": self.median * 1e3,
            "quartiles_ms": [low * 1e3, high * 1e3],
            "rounds": len(self.seconds),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times longer one call takes than another, round by round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    def to_dict(self) -> dict[str, object]:
        """The ratio as JSON data."""
        return {"median": self.median, "quartiles": list(_quartiles(self.values))}


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Times of all calls, taking turns after one warm-up round."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(tuple(found)) for name, found in seconds.items()}


def ratio(slow: Times, fast: Times) -> Ratio:
    """The ratios of two calls that took turns."""
    return Ratio(tuple(a / b for a, b in zip(slow.seconds, fast.seconds)))
