"""`cat(a, b, ...)`: features of the same tokens side by side along the width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import Const, Expr
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    IllTyped,
    Lowered,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Read,
    WrongOperand,
)
from attndsl.ir.ops.checks import real
from attndsl.ir.types import DoNotBroadcast, FeatureType, broadcast


@dataclass(frozen=True)
class Cat(Op):
    """One concatenation; a feature without heads is repeated for every head."""

    keyword: ClassVar[str] = "cat"
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("parts", "features", optional=False, variadic=True, help="the features, in order"),
    )

    parts: tuple[str, ...]
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Adds up the widths.

        Raises:
            IllTyped: the features live on different tokens, or on different heads.
        """
        parts = args["parts"]
        for at, part in enumerate(parts):
            real(part, "cat", "parts", at)
        try:
            type_ = broadcast(replace(part.type, width=None) for part in parts)
        except DoNotBroadcast as problem:
            what = f"`cat` needs features of the same tokens and heads: {problem}"
            raise IllTyped(WrongOperand(what, "", problem.remedy)) from None
        width: Any = Const(0)
        for part in parts:
            width = width + (Const(1) if part.type.width is None else part.type.width)
        return add(cls(tuple(part.name for part in parts), replace(type_, width=width)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The features."""
        return self.parts

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Repeats what broadcasts, then concatenates."""
        xp = context.xp
        shape = xp.broadcast_shapes(*(tensor.shape[:3] for tensor in tensors))
        return xp.cat([tensor.expand(*shape, tensor.shape[-1]) for tensor in tensors], -1)

    def lowered(self) -> Lowered:
        """One torch function."""
        return Lowered("joined", tuple(Read(part) for part in self.parts))

    def flops(self) -> Expr:
        """Data movement only."""
        return Const(0)
