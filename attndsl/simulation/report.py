"""What a simulation found: everything that is printed, drawn, or written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attndsl.simulation.replaced import Replaced
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiling import Tiling
from attndsl.simulation.waterfall import Part, Waterfall


@dataclass(frozen=True)
class AttendReport:
    """One attend: its tiles, and its forward (or only) pass; `part` is None for contracted attends.

    `replaced` are the numbers of the model that were read from compiled kernels, of all passes.
    """

    name: str
    tiling: Tiling
    part: Part | None
    pairs: int
    replaced: tuple[Replaced, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The attend as JSON data; counts are exact, over the heads of one batch element."""
        found = {
            "name": self.name,
            "layout": self.tiling.layout,
            "tile": {"q": list(self.tiling.query), "k": list(self.tiling.key)},
            "why": self.tiling.why,
            "pairs": self.pairs,
        }
        if self.part is None:
            nothing = dict.fromkeys(("total", "visited", "full", "partial"), 0)
            cycles = dict.fromkeys(("tensor", "exp", "issue", "mask", "prologue"), 0)
            return {**found, "tiles": nothing, "limited_by": "products", "cycles": cycles, "classes": []}
        counts, time = self.part.work.counts, self.part.time
        tiles = {
            "total": counts.total,
            "visited": counts.visited,
            "full": counts.full,
            "partial": counts.partial,
        }
        batch = self.part.work.batch
        cycles = {
            "tensor": round(time.full.tensor * counts.visited * batch),
            "exp": round(time.full.exp * counts.visited * batch),
            "issue": round(time.full.issue * counts.visited * batch),
            "mask": round(time.partial.mask * counts.partial * batch),
            "prologue": round(time.prologue),
        }
        classes = [
            {
                "heads": c.heads,
                "pairs": c.pairs,
                "visited": c.visited,
                "full": int(c.full.sum()),
                "partial": int(c.partial.sum()),
            }
            for c in counts.classes
        ]
        where: dict[str, Any] = {"stages": time.occupancy.stages, "blocks": time.occupancy.blocks}
        if self.tiling.compiled is not None:
            kernels = [kernel.to_dict() for kernel in self.tiling.compiled.kernels]
            where["machine_code"] = {"kernels": kernels, "replaced": [r.to_dict() for r in self.replaced]}
        return {
            **found,
            "tiles": tiles,
            "limited_by": time.by,
            "cycles": cycles,
            "time_us": time.total * 1e6,
            "classes": classes,
            **where,
        }


@dataclass(frozen=True)
class Report:
    """A simulated program.

    Attributes:
        shape: extents of every token set.
        dense_flops, flops: operations of all passes that were asked for.
        bytes, peak_bytes: memory traffic and the most memory held.
        dense_seconds, seconds: times.
        complexity: operations as a formula; `leading` its term that grows fastest.
        complexity_error: by what share the formula is off what was counted; 0 where it is exact.
        crossover: the least number of tokens at which the program is faster than dense attention.
    """

    attention: str
    setting: Setting
    shape: Mapping[str, Mapping[str, int]]
    waterfall: Waterfall
    attends: tuple[AttendReport, ...]
    dense_flops: int
    flops: int
    bytes: int
    peak_bytes: int
    dense_seconds: float
    seconds: float
    complexity: str = ""
    leading: str = ""
    complexity_error: float = 0.0
    crossover: int | None = None
    sampled: tuple[str, ...] = ()

    @property
    def speedup(self) -> float:
        """Predicted, over dense attention."""
        return self.waterfall.predicted

    @property
    def complexity_words(self) -> str:
        """What the formula is worth at this shape; empty where it is exact."""
        if not self.complexity_error:
            return ""
        side = "above" if self.complexity_error > 0 else "below"
        return (
            f"{abs(self.complexity_error):.2%} {side} the count at this shape; "
            "exact at multiples of what the mask divides by"
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data."""
        setting, fall = self.setting, self.waterfall
        return {
            "attention": self.attention,
            "device": setting.device.name,
            "kernel": setting.kernel.name,
            "dense_kernel": setting.dense_kernel.name,
            "dtype": setting.dtype,
            "batch": setting.batch,
            "heads": setting.heads,
            "kv_heads": setting.kv_heads,
            "dim": setting.dim,
            "pass": setting.direction,
            "queries": setting.queries,
            "shape": {name: dict(extents) for name, extents in self.shape.items()},
            "dense": {"flops": self.dense_flops, "time_us": self.dense_seconds * 1e6},
            "program": {
                "flops": self.flops,
                "bytes": self.bytes,
                "time_us": self.seconds * 1e6,
                "peak_memory_bytes": self.peak_bytes,
            },
            "flop_bound": fall.flop_bound,
            "tile_bound": fall.tile_bound,
            "tile_bound_worst": fall.tile_bound_worst,
            "schedule_bound": fall.schedule_bound,
            "predicted_speedup": fall.predicted,
            "complexity": self.complexity,
            "leading_order": self.leading,
            "complexity_error": self.complexity_error,
            "crossover": self.crossover,
            "sampled_fields": list(self.sampled),
            "attends": [attend.to_dict() for attend in self.attends],
            "losses": [loss.to_dict() for loss in fall.losses],
        }
