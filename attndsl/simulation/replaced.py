"""Which numbers of the model compiled kernels have taken the place of, and what the model had said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from attndsl.diagnostics import AttnError
from attndsl.simulation.attention import AttendWork
from attndsl.simulation.cycles import model_costs
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiles import occupancy


@dataclass(frozen=True)
class Replaced:
    """One number: what the model says, and what the kernels of a pass say."""

    way: str
    name: str
    model: float
    kernel: float

    def to_dict(self) -> dict[str, Any]:
        """The number as JSON data."""
        return {"pass": self.way, "name": self.name, "model": self.model, "kernel": self.kernel}


def replaced(work: AttendWork, setting: Setting) -> tuple[Replaced, ...]:
    """The numbers of a pass; none where its kernels were not read. Costs are per score of visited tiles."""
    kind, known = work.kind, work.kind.costs
    if known is None:
        return ()
    mask = max((found.mask for found in work.counts.classes), default=0.0)
    model = model_costs(replace(kind, compiled=None), setting.kernel, mask)
    pairs = [
        ("issue slots of a full tile", model.slots, known.slots),
        ("issue slots of the mask", model.mask, known.mask),
        ("special functions", model.special, known.special),
        ("operations of tensor cores", model.flops, known.flops),
        ("blocks on a unit", _blocks(work, setting), known.blocks),
    ]
    return tuple(
        Replaced(kind.direction, name, float(before), float(after))
        for name, before, after in pairs
        if before is not None and after is not None
    )


def _blocks(work: AttendWork, setting: Setting) -> int | None:
    kind = work.kind
    try:
        return occupancy(
            setting.device, setting.kernel, kind.queries, kind.keys, kind.widths, kind.dtype
        ).blocks
    except AttnError:  # the model counts shared memory otherwise
        return None
