"""`rank(f)`: the place of every token when tokens are sorted by `f`, the lowest first.

    rank[i] = how many tokens j have f[j] < f[i], or f[j] == f[i] and j < i          a stable sort

With several axes tokens are numbered in row-major order. Each head sorts for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    Read,
    WrongOperand,
    size,
)
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Rank(Op):
    """One sort, without gradient."""

    keyword: ClassVar[str] = "rank"
    discrete: ClassVar[bool] = True
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what tokens are sorted by"),
    )

    f: str
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Scalars and integers have an order.

        Raises:
            IllTyped: the feature has a width, or holds conditions.
        """
        f = args["f"]
        if f.type.width is not None or f.type.kind == "bool":
            what = f"`rank` sorts tokens by one number each, but `{f}` "
            what += "holds conditions" if f.type.kind == "bool" else "has a width"
            raise IllTyped(WrongOperand(what, "", "reduce it first, e.g. norm(f, over = width)"), "f")
        return add(cls(f.name, replace(f.type.value, kind="int")))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """By comparing all pairs."""
        f = tensors[0].detach()[..., 0]
        mine, other = f.unsqueeze(-1), f.unsqueeze(-2)
        number = context.xp.arange(f.shape[-1])
        before = (other < mine) | ((other == mine) & (number < number.unsqueeze(-1)))
        return before.sum(-1, keepdim=True)

    def regret(self, context: OracleContext, choice: Any, *tensors: Any) -> float:
        """How far a token lies above its successor, relative to the largest number."""
        xp = context.xp
        f, rank = tensors[0].detach()[..., 0].double(), choice[..., 0].long()
        if not bool((rank.sort(-1).values == xp.arange(f.shape[-1])).all()):
            return float("inf")
        ordered = f.gather(-1, rank.argsort(dim=-1))
        above = (ordered[..., :-1] - ordered[..., 1:]).clamp(min=0)
        return float(above.amax() / f.abs().amax().clamp(min=1e-300)) if above.numel() else 0.0

    def lowered(self) -> Lowered:
        """A stable sort."""
        return Lowered("ranked", (Read(self.f),))

    def flops(self) -> Expr:
        """Comparisons only."""
        return 0 * size(self.type)
