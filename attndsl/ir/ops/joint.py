"""`joint(a, b, ...)`: one softmax over the keys of several partials of the same queries.

The keys form a multiset: a key that two partials show counts twice.
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
from attndsl.ir.types import DoNotBroadcast, FeatureType, broadcast


@dataclass(frozen=True)
class Joint(Op):
    """Partials weighted by exp(their log-sum-exp), which is what one softmax over all keys gives."""

    keyword: ClassVar[str] = "joint"
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter(
            "parts", "features", optional=False, variadic=True, help="results of attend, of the same queries"
        ),
    )

    parts: tuple[str, ...]
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks that all are partials of the same queries.

        Raises:
            IllTyped: a part has no log-sum-exp, or belongs to other queries.
        """
        parts = args["parts"]
        for at, part in enumerate(parts):
            if not part.type.partial:
                what = f"`joint` needs results of softmax attends, and `{part}` has no log-sum-exp"
                remedy = "pass what attend gives: with softmax, without `times`, before any arithmetic"
                raise IllTyped(WrongOperand(what, "", remedy), "parts", at)
        try:
            type_ = broadcast(part.type for part in parts)
        except DoNotBroadcast as problem:
            what = f"`joint` needs partials of the same queries: {problem}"
            raise IllTyped(WrongOperand(what, "", "let all attend with the same q")) from None
        return add(cls(tuple(part.name for part in parts), replace(type_, partial=True)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The partials."""
        return self.parts

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """By weights exp(lse - lse of all)."""
        xp = context.xp
        lses = xp.stack([context.lse(part) for part in self.parts])
        top = lses.amax(0).detach()
        top = xp.where(top == -xp.inf, 0.0, top)
        weight = xp.exp(lses - top)
        total = weight.sum(0)
        empty = total == 0
        share = weight / xp.where(empty, 1.0, total)
        out = sum(share[at].unsqueeze(-1) * tensor for at, tensor in enumerate(tensors))
        return out, xp.where(empty, -xp.inf, xp.log(xp.where(empty, 1.0, total)) + top)

    def lowered(self) -> Lowered:
        """A few elementwise passes."""
        pairs = tuple((Read(part), Read(part, "_lse")) for part in self.parts)
        return Lowered("joint_softmax", pairs, ("", "_lse"))

    def flops(self) -> Expr:
        """Two per element and part."""
        return 2 * len(self.parts) * size(self.type)
