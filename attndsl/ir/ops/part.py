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
    real,
)
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Part(Op):
    """Channels `start ... start + width - 1`."""

    keyword: ClassVar[str] = "part"
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
        f, start, width = args["f"], args["start"], args["width"]
        real(f, "part")
        if f.type.width is None:
            raise IllTyped(WrongOperand(f"`{f.name}` has no width to take a part of", "", "use it whole"), "f")
        match f.type.width, start + width:
            case Const(int() as whole), Const(int() as end) if end > whole:
                what = f"channels up to {end} of `{f.name}`, which has {whole}"
                raise IllTyped(WrongOperand(what, "", "take channels that exist"), "width")
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
