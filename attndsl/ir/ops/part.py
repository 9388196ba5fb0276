"""`part(f, start, width)`: a stretch of the width, e.g. the value half of a codeword."""

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
from attndsl.ir.ops.checks import chosen_width, real_width
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Part(Op):
    """Channels `start ... start + width - 1`."""

    keyword: ClassVar[str] = "part"
    copies: ClassVar[bool] = False
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="a feature with a width"),
        OpParameter("start", "number", optional=False, positional=True, help="the first channel"),
        OpParameter("width", "number", optional=False, positional=True, help="how many channels"),
    )

    f: str
    start: Expr
    width: Expr
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks what is known of the widths.

        Raises:
            IllTyped: the stretch does not lie within the width.
        """
        f, start = args["f"], args["start"]
        whole, width = real_width(f, "part"), chosen_width(args, start)
        match start:
            case Const(int() as first) if first < 0:
                raise IllTyped(WrongOperand("channels count from 0", "", "take channels that exist"), "start")
        match whole, start + width:
            case Const(int() as known), Const(int() as end) if end > known:
                what = f"channels up to {end - 1} of `{f}`, which has {known}, numbered from 0"
                raise IllTyped(WrongOperand(what, "", f"let start + width be at most {known}"), "width")
        return add(cls(f.name, start, width, replace(f.type.value, width=width)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The channels."""
        start, width = int(context.size(self.start)), int(context.size(self.width))
        return tensors[0][..., start : start + width]

    def lowered(self) -> Lowered:
        """A view."""
        return Lowered("channel_part", (Read(self.f), self.start, self.width))
