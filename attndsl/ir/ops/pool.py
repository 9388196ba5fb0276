"""`pool(f, to = (7, 7))`: adaptive average pooling; bins may overlap.

Bin b of m along an axis of n tokens averages the tokens floor(b n / m) ... ceil((b + 1) n / m) - 1, as
PyTorch's adaptive pooling does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import Const, Expr, Var
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
    size,
)
from attndsl.ir.ops.checks import number_of, real
from attndsl.ir.tokens import Axis, Pooled, TokenSet
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Pool(Op):
    """One pooling, onto a set of its own with axes of the same names."""

    keyword: ClassVar[str] = "pool"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what is pooled"),
        OpParameter("to", "numbers", optional=False, help="how many bins there are along each axis"),
    )

    f: str
    source: FeatureType
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Makes the set of bins.

        Raises:
            IllTyped: not one number per axis.
        """
        f, counts = args["f"], args["to"]
        real(f, "pool")
        parent = f.type.tokens
        if len(counts) != len(parent.axes):
            axes = number_of(len(parent.axes), "axis")
            what = f"{number_of(len(counts), 'bin count')} for {axes}, those of {parent}"
            example = ", ".join("7" for _ in parent.axes)
            example = f"({example})" if len(parent.axes) > 1 else example
            raise IllTyped(WrongOperand(what, "", f"give one number per axis, e.g. to = {example}"), "to")
        for count in counts:
            match count:
                case Const(int() as bins_) if bins_ < 1:
                    what = f"an axis cannot be pooled into {bins_} bins"
                    raise IllTyped(WrongOperand(what, "", "give at least 1"), "to")
        return add(cls(f.name, f.type, replace(f.type.value, tokens=bins(parent, counts))))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Bin by bin."""
        xp = context.xp
        (f,) = tensors
        grid = f.unflatten(2, context.extents(self.source.tokens))
        counts = context.extents(self.type.tokens)
        for axis, (n, m) in enumerate(zip(context.extents(self.source.tokens), counts)):
            parts = [grid.narrow(2 + axis, b * n // m, -(-(b + 1) * n // m) - b * n // m) for b in range(m)]
            grid = xp.cat([part.mean(2 + axis, keepdim=True) for part in parts], 2 + axis)
        return grid.flatten(2, -2)

    def lowered(self) -> Lowered:
        """One matrix of averages per axis."""
        return Lowered("pooled", (Read(self.f), self.source.tokens, self.type.tokens))

    def flops(self) -> Expr:
        """One addition per token."""
        return size(self.source)


def bins(parent: TokenSet, counts: tuple[Expr, ...]) -> TokenSet:
    """The set of bins; a bin knows the first and last token it covers."""
    first, last = [], []
    for axis, count in zip(parent.axes, counts):
        own = Var(f"c.{axis.name}")
        first.append(own * axis.extent // count)
        last.append(((own + 1) * axis.extent + count - 1) // count - 1)
    axes = tuple(Axis(axis.name, count) for axis, count in zip(parent.axes, counts))
    return TokenSet(f"bins of {parent.name}", axes, Pooled(parent, tuple(first), tuple(last)))
