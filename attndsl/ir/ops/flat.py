"""`flat(f)`: the heads of a feature side by side along its width, as before an output projection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import Const
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
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Flat(Op):
    """`(batch, heads, tokens, width)` becomes `(batch, tokens, heads * width)`."""

    keyword: ClassVar[str] = "flat"
    copies: ClassVar[bool] = False
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="a feature with heads"),
    )

    f: str
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Multiplies the width.

        Raises:
            IllTyped: the feature has no heads.
        """
        f = args["f"]
        real(f, "flat")
        if f.type.heads is None:
            raise IllTyped(WrongOperand(f"`{f}` has no heads to merge", "", "leave `flat` out"), "f")
        width = Const(1) if f.type.width is None else f.type.width
        return add(cls(f.name, replace(f.type.value, heads=None, width=f.type.heads * width)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Heads in order."""
        return context.xp.cat(tensors[0].unbind(1), -1).unsqueeze(1)

    def lowered(self) -> Lowered:
        """One copy."""
        return Lowered("merged_heads", (Read(self.f),))
