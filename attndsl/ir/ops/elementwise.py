"""Arithmetic between features: `tanh(f) / norm`, `attend(...) + depthwise(v, 3)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import Apply, Const, Expr
from attndsl.ir.ops.base import Inline, Op, OracleContext, size
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import fields, postorder


@dataclass(frozen=True)
class Elementwise(Op):
    """An expression over whole features, which stand in it as lookups without coordinates."""

    along_tokens: ClassVar[bool] = False

    expr: Expr
    type: FeatureType

    @property
    def tensors(self) -> tuple[str, ...]:
        """The features that occur."""
        return tuple(sorted(fields(self.expr)))

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """The expression."""
        return {"value": self.expr}

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The expression's value."""
        return context.elementwise(self.expr)

    def lowered(self) -> Inline:
        """Printed as it is."""
        return Inline(self.expr)

    def flops(self) -> Expr:
        """One per operation and element."""
        return Const(sum(isinstance(node, Apply) for node in postorder([self.expr]))) * size(self.type)
