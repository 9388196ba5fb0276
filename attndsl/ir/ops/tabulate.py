"""A pair expression with a value of its own: one number or condition for every pair, or for every token.

Selections choose among such values; a spec does not write this operator itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from attndsl.ir.index import Apply, Const, Expr
from attndsl.ir.ops.base import Lowered, Op, OracleContext, Places, size
from attndsl.ir.tokens import SINGLE, Relation
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import postorder


@dataclass(frozen=True)
class Tabulate(Op):
    """The values of an expression on a set of tokens `i`, or on a relation, of `i` and `j`."""

    expr: Expr
    type: FeatureType

    @property
    def along_tokens(self) -> bool:  # type: ignore[override]
        """Values of pairs are about other tokens."""
        return isinstance(self.type.tokens.origin, Relation)

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """The expression."""
        return {"value": self.expr}

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Dense."""
        xp, tokens = context.xp, self.type.tokens
        match tokens.origin:
            case Relation(query, key):
                pair = query, key
            case _:
                pair = tokens, SINGLE
        heads = 1 if self.type.heads is None else int(context.size(self.type.heads))
        found = xp.as_tensor(context.pairs(*pair, heads)(self.expr))
        every = xp.empty(1, 1, *(prod(context.extents(side)) for side in pair))
        return xp.broadcast_tensors(found, every)[0].flatten(2).unsqueeze(-1)

    def lowered(self) -> Lowered:
        """An expression of every token's coordinates."""
        tokens = self.type.tokens
        return Lowered("tabulated", (Places(tokens, SINGLE, (self.expr,)), tokens))

    def flops(self) -> Expr:
        """One per operation and element."""
        return Const(sum(isinstance(node, Apply) for node in postorder([self.expr]))) * size(self.type)
