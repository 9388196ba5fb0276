"""From the ideal to the expected time, step by step, each loss with its factor and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attndsl.simulation.attention import AttendTime, AttendWork


@dataclass(frozen=True)
class Loss:
    """A step from the ideal towards reality; a factor above 1 is a loss, below 1 a gain over dense."""

    step: str
    factor: float
    why: str

    def to_dict(self) -> dict[str, Any]:
        """The loss as JSON data."""
        return {"step": self.step, "factor": self.factor, "why": self.why}


@dataclass(frozen=True)
class Waterfall:
    """Speed-ups over dense attention from the ideal down, and the losses between them.

    Attributes:
        flop_bound: operations of dense attention over those of the program.
        tile_bound: the same with every slot of the visited tiles.
        tile_bound_worst: the same, every query tile charged as the worst one.
        schedule_bound: times, without memory, permutation, launches and other operators.
        predicted: times.
    """

    flop_bound: float
    tile_bound: float
    tile_bound_worst: float
    schedule_bound: float
    predicted: float
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class Part:
    """One attend in one pass."""

    work: AttendWork
    time: AttendTime


@dataclass(frozen=True)
class Bounds:
    """Operations: of dense attention, of the program, of its tiles and of its worst tiles."""

    dense: float
    program: float
    dense_tiles: float
    tiles: float
    worst_tiles: float


def waterfall(
    bounds: Bounds,
    dense_time: float,
    parts: Sequence[Part],
    other_arithmetic: float,
    other: float,
    on_host: bool = False,
) -> Waterfall:
    """The waterfall of a program.

    Args:
        dense_time: seconds of dense attention.
        other_arithmetic: seconds of the other operators' arithmetic at the peak.
        other: their seconds with memory traffic and launches.
        on_host: whether the device is a CPU.
    """
    flop_bound = bounds.dense / max(bounds.program, 1)
    tile_bound = bounds.dense_tiles / max(bounds.tiles, 1)
    steps = [dense_time / flop_bound, dense_time / tile_bound]
    for name in ("products", "masked", "fixed", "compute", "limited", "permuted", "total"):
        steps.append(sum(getattr(part.time, name) for part in parts) + other_arithmetic)
    steps.append(sum(part.time.total for part in parts) + other)
    losses = tuple(
        Loss(name, after / before, why)
        for (name, why), before, after in zip(_reasons(parts, on_host), steps, steps[1:])
        if before > 0 and after > 0 and abs(after / before - 1) > 5e-4  # a mask may show nothing
    )
    return Waterfall(
        flop_bound,
        tile_bound,
        bounds.dense_tiles / max(bounds.worst_tiles, 1),
        dense_time / steps[5] if steps[5] else flop_bound,
        dense_time / steps[-1] if steps[-1] else flop_bound,
        losses,
    )


def _reasons(parts: Sequence[Part], on_host: bool) -> list[tuple[str, str]]:
    visited = sum(part.work.counts.visited for part in parts)
    partial = sum(part.work.counts.partial for part in parts)
    slots = sum(part.work.counts.visited * part.work.counts.slots for part in parts)
    pairs = sum(part.work.counts.pairs for part in parts)
    hidden = 1 - pairs / slots if slots else 0.0
    share = partial / visited if visited else 0.0
    blocks = sorted({part.time.occupancy.blocks for part in parts})
    resident = f"{' or '.join(map(str, blocks)) or 'no'} block{'' if blocks == [1] else 's'}"
    by = ", ".join(sorted({part.time.by for part in parts}))
    waste = ("hidden pairs", f"{hidden:.0%} of the slots in visited tiles are hidden or empty")
    if on_host:
        return [
            waste,
            (
                "small tiles",
                "scores of small query tiles, biases and score functions, beside dense attention",
            ),
            ("masks", f"{share:.0%} of the visited tiles are masked"),
            ("tiles", "every query and every key of a tile is read and written"),
            ("schedule", ""),
            ("gathered keys", "keys that are not consecutive tokens are copied first"),
            ("permutation", ""),
            ("steps", "calls of PyTorch for a few tiles at a time, and fresh memory for the result"),
            ("other operators", "the rest of the program: its memory traffic and calls"),
        ]
    return [
        waste,
        (
            "overlap",
            f"cycles of a tile, beside all that dense attention loses; {resident} a unit",
        ),
        ("partial tiles", f"{share:.0%} of the visited tiles are masked element by element"),
        ("prologue", "launch, query load, pipeline fill and epilogue of every query tile"),
        ("schedule", "waves, tails and query tiles of unequal work on the units"),
        ("memory", f"limited by {by}"),
        ("permutation", "q, k, v and the output are copied into tiles and back"),
        ("launch", "one launch per attend"),
        ("other operators", "the rest of the program: its memory traffic and launches"),
    ]
