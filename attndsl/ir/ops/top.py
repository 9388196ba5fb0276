"""`top(e, count, over = ...)`: the `count` largest entries.

    chosen = where and (always or fewer than `count` entries precede)

Entries that `always` names precede all others and count; among equals the lowest index precedes. If fewer
than `count` entries may be chosen, all of them are.
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
from attndsl.ir.ops.selection import ABOUT, ENTRIES, Selection, in_rows, shape_of


@dataclass(frozen=True)
class Top(Selection):
    """One choice by count."""

    keyword: ClassVar[str] = "top"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        ENTRIES,
        OpParameter("count", "number", optional=False, positional=True, help="how many are chosen"),
        *ABOUT,
    )

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """See `Selection.of`."""
        return add(cls.of(args, "count"))

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The first in the order of choice."""
        rows = self.entries(context, tensors)
        chosen = rows.may & ((rows.rank < context.size(self.limit)) | rows.must)
        return rows.restored(chosen, shape_of(tensors))

    def regret(self, context: OracleContext, choice: Any, *tensors: Any) -> float:
        """How far a chosen entry lies below one passed over; infinite if they are too many or too few."""
        rows = self.entries(context, tensors)
        chosen = in_rows(choice, rows.extents, rows.dims)
        best = rows.may & ((rows.rank < context.size(self.limit)) | rows.must)
        same_number = bool((chosen.sum(-1) == best.sum(-1)).all())
        return rows.disorder(context.xp, chosen) if same_number else float("inf")

    def lowered(self) -> Lowered:
        """One sort."""
        reads = (None if name is None else Read(name) for name in (self.e, self.where, self.always))
        return Lowered("top_entries", (*reads, self.limit, self.type.tokens, self.over.dims))
