"""`kron(a, b)`: a token for every pair of tokens, with the product of their vectors; never held in full."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

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
from attndsl.ir.ops.checks import real_width
from attndsl.ir.tokens import Axis, Pairs, TokenSet
from attndsl.ir.types import DoNotBroadcast, FeatureType, broadcast


@dataclass(frozen=True)
class Kron(Op):
    """Keys (or values) on pairs: `kron(a, b)[j.0, j.1] = a[j.0] * b[j.1]`, channel by channel."""

    keyword: ClassVar[str] = "kron"
    copies: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("a", "feature", optional=False, positional=True, help="the first factor"),
        OpParameter("b", "feature", optional=False, positional=True, help="the second factor"),
    )

    a: str
    b: str
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Makes the set of pairs.

        Raises:
            IllTyped: a factor on a set of several axes, or of another width.
        """
        a, b = args["a"], args["b"]
        for name, factor in (("a", a), ("b", b)):
            real_width(factor, "kron", name)
            if len(factor.type.tokens.axes) != 1:
                what = f"`kron` pairs tokens by number, but {factor.type.tokens} has several axes"
                raise IllTyped(WrongOperand(what, "", "use it on sets with one axis"), name)
        left, right = a.type.tokens, b.type.tokens
        axes = (Axis("0", left.axes[0].extent), Axis("1", right.axes[0].extent))
        tokens = TokenSet(f"pairs of {left.name} and {right.name}", axes, Pairs(left, right))
        try:
            type_ = broadcast([replace(operand.type, tokens=tokens) for operand in (a, b)])
        except DoNotBroadcast as problem:
            what = f"`{a}` and `{b}` do not multiply: {problem}"
            raise IllTyped(WrongOperand(what, "", problem.remedy), "b") from None
        return add(cls(a.name, b.name, type_))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The factors."""
        return self.a, self.b

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """All products, dense."""
        a, b = tensors
        return (a.unsqueeze(3) * b.unsqueeze(2)).flatten(2, 3)

    def lowered(self) -> Lowered:
        """The two factors; kernels multiply them on the way."""
        return Lowered("Factors", (Read(self.a), Read(self.b)))
