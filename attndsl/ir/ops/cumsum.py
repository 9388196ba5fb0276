"""`cumsum(f, axis = w)`: running sums along an axis, the token itself included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import Expr
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    IllTyped,
    Lowered,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Over,
    Read,
    WrongOperand,
    size,
)
from attndsl.ir.ops.checks import real
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class CumSum(Op):
    """One running sum."""

    keyword: ClassVar[str] = "cumsum"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what is summed"),
        OpParameter("axis", "axes", optional=False, help="the axis along which it is summed"),
    )

    f: str
    axis: int
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks that there is one axis.

        Raises:
            IllTyped: several axes, or none.
        """
        f, over = args["f"], args["axis"]
        assert isinstance(over, Over)
        real(f, "cumsum")
        if len(over.axes) != 1 or over.heads or over.width:
            names = ", ".join(f.type.tokens.axis_names)
            what = "`cumsum` runs along one axis of tokens"
            raise IllTyped(WrongOperand(what, "", f"name one of: {names}"), "axis")
        return add(cls(f.name, over.axes[0], f.type.value))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """A triangular matrix of ones."""
        xp = context.xp
        (f,) = tensors
        extents = context.extents(self.type.tokens)
        grid = f.unflatten(2, extents).movedim(2 + self.axis, -1)
        ones = xp.ones(extents[self.axis], extents[self.axis], dtype=f.dtype).tril()
        return (grid @ ones.T).movedim(-1, 2 + self.axis).flatten(2, -2)

    def lowered(self) -> Lowered:
        """A scan."""
        return Lowered("running_sum", (Read(self.f), self.type.tokens, self.axis))

    def flops(self) -> Expr:
        """One addition per element."""
        return size(self.type)
