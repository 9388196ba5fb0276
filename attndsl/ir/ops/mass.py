"""`mass(e, share, over = ...)`: the fewest of the largest entries that hold a share of the sum.

    total  = sum of e over what `where` admits
    chosen = where and (always or (sum of e over what precedes) < share * total or only `always` precedes)

`e` is not negative: weights of attention, or exp(score), whose shares are those of a softmax. Entries that
`always` names precede all others and count towards the share; besides them at least one entry is chosen, the
one that makes the sum reach the share included. A share that is never reached, as of a sum of zero, chooses
everything. This is the threshold of VMoBA (Kwai, 2025) and of nucleus sampling; ties go to the lowest index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    Lowered,
    Operand,
    OpParameter,
    OracleContext,
    Read,
)
from attndsl.ir.ops.selection import ABOUT, ENTRIES, Entries, Selection, in_rows, shape_of


@dataclass(frozen=True)
class Mass(Selection):
    """One choice by share."""

    keyword: ClassVar[str] = "mass"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        ENTRIES,
        OpParameter("share", "number", optional=False, positional=True, help="of the sum, e.g. 0.9"),
        *ABOUT,
    )

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """See `Selection.of`."""
        return add(cls.of(args, "share"))

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The shortest beginning of the order of choice that reaches the share."""
        rows = self.entries(context, tensors)
        if bool((rows.may & (rows.value < 0)).any()):
            raise ValueError(f"mass of {self.e}: a weight is negative; for scores write exp(...)")
        total, before = _sums(context.xp, rows)
        first = rows.rank == rows.must.sum(-1, keepdim=True)
        needed = (before < context.size(self.limit) * total) | first | (total == 0)
        return rows.restored(rows.may & (needed | rows.must), shape_of(tensors))

    def regret(self, context: OracleContext, choice: Any, *tensors: Any) -> float:
        """How far an entry chosen lies below one passed over, the share is missed, or needlessly exceeded."""
        xp = context.xp
        rows = self.entries(context, tensors)
        chosen = in_rows(choice, rows.extents, rows.dims)
        weight = xp.where(rows.may, rows.value, 0.0)
        total = weight.sum(-1)
        scale = xp.where(total == 0, 1.0, total)
        free = chosen & ~rows.must
        held = xp.where(chosen, weight, 0.0).sum(-1)
        smallest = xp.where(free, weight, xp.inf).amin(-1)
        share = xp.full_like(total, float(context.size(self.limit)))
        missed = xp.where((chosen == rows.may).all(-1), 0.0, share - held / scale)
        needless = xp.where((free.sum(-1) > 1) & (total > 0), (held - smallest) / scale - share, 0.0)
        return max(rows.disorder(xp, chosen), float(missed.amax()), float(needless.amax()))

    def lowered(self) -> Lowered:
        """One sort and a running sum."""
        reads = (None if name is None else Read(name) for name in (self.e, self.where, self.always))
        return Lowered("mass_entries", (*reads, self.limit, self.type.tokens, self.over.dims))


def _sums(xp: Any, rows: Entries) -> tuple[Any, Any]:
    """The sum of each row, and for every entry the sum of those that precede it."""
    weight = xp.where(rows.may, rows.value, 0.0)
    ordered = xp.zeros_like(weight).scatter(-1, rows.rank, weight)
    running = ordered.cumsum(-1)
    return running[..., -1:], (running - ordered).gather(-1, rows.rank)
