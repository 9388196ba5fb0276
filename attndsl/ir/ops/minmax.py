"""`minmax(e, over = ...)`: entries moved and scaled so that the smallest is 0 and the largest 1.

(e - min) / (max - min)        divided by 1 where the range is at most 1e-6
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import Expr
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    Lowered,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Over,
    Read,
    present,
    size,
)
from attndsl.ir.ops.checks import real
from attndsl.ir.ops.selection import ABOUT, ENTRIES
from attndsl.ir.types import FeatureType

SMALLEST_RANGE = 1e-6
"""Entries that differ by no more count as equal."""


@dataclass(frozen=True)
class MinMax(Op):
    """One normalisation."""

    keyword: ClassVar[str] = "minmax"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        ENTRIES,
        *(parameter for parameter in ABOUT if parameter.name in ("over", "on")),
    )

    e: str
    over: Over
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks that the entries are real and have the axes."""
        e, over = args["e"], args["over"]
        real(e, cls.keyword, "e")
        present(e, over, cls.keyword)
        return add(cls(e.name, over, e.type.value))

    @property
    def along_tokens(self) -> bool:  # type: ignore[override]
        """Extremes over heads or width stay within a token."""
        return bool(self.over.axes)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The entries."""
        return (self.e,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """By the definition."""
        xp = context.xp
        grid = tensors[0].unflatten(2, context.extents(self.type.tokens))
        low, high = grid.amin(self.over.dims, keepdim=True), grid.amax(self.over.dims, keepdim=True)
        span = high - low
        return ((grid - low) / xp.where(span <= SMALLEST_RANGE, 1.0, span)).flatten(2, -2)

    def lowered(self) -> Lowered:
        """Two reductions."""
        return Lowered("min_max", (Read(self.e), self.type.tokens, self.over.dims))

    def flops(self) -> Expr:
        """Two comparisons, a difference and a quotient per element."""
        return 4 * size(self.type)
