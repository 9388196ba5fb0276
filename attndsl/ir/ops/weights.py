"""`weights(q, k, where =, bias = ...)`: the matrix of attention, one weight per query and key.

    w[i, j] = what `attend` would give for values that are 1 at key j and 0 elsewhere

It can be reduced, `sum(w, by = j)`, and be chosen from. It is a matrix in memory, so the queries must be
few: a sample of fixed size, gathered from the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import Expr
from attndsl.ir.ops.attend import Attend
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    IllTyped,
    Op,
    Operand,
    OpParameter,
    OracleContext,
)
from attndsl.ir.problem import Problem
from attndsl.ir.tokens import TokenSet, relation
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class UnboundedWeights(Problem):
    """A matrix of attention weights grows with queries times keys, so the queries need a bound.

    Estimates look at a sample of them, for example the last 64:

        tokens p[64]
        last = gather(q, p, i + x.n - 64)
        w = weights(last, k, where = j <= i + x.n - 64)
    """

    code: ClassVar[str] = "E315"
    title: ClassVar[str] = "the weights of all queries of {tokens} would be as many as there are pairs"
    label: ClassVar[str] = "the length of axis {axis} has no bound"
    help: ClassVar[str] = "gather a sample of the queries: tokens p[64], then weights(gather(q, p, i), k)"
    tokens: str
    axis: str


@dataclass(frozen=True)
class Weights(Op):
    """The matrix of one attend, whose values it ignores."""

    keyword: ClassVar[str] = "weights"
    parameters: ClassVar[tuple[OpParameter, ...]] = tuple(
        OpParameter(p.name, p.role, p.name not in ("q", "k"), p.help, p.words, p.positional)
        for p in Attend.parameters
        if p.name not in ("v", "on")
    )

    attend: Attend
    type: FeatureType

    @classmethod
    def domain(cls, given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
        """The token sets of query and key."""
        return (given["q"].type.tokens, given["k"].type.tokens) if {"q", "k"} <= given.keys() else None

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks what attend checks, and that the queries are bounded.

        Raises:
            IllTyped: an operand has no width, or there may be any number of queries.
        """
        q, k = args["q"], args["k"]
        for axis in q.type.tokens.axes:
            if axis.largest is None:
                raise IllTyped(UnboundedWeights(str(q.type.tokens), axis.name), "q")
        attend = Attend.of(Arguments({**args.given, "v": k}, args.name, args.extra))
        tokens = relation(q.type.tokens, k.type.tokens)
        return add(cls(attend, FeatureType(tokens, batch=attend.type.batch, heads=attend.type.heads)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """Query and key."""
        assert self.attend.q is not None
        assert self.attend.k is not None
        return self.attend.q, self.attend.k

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """Those of the attend."""
        return self.attend.expressions

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The attend of unit vectors."""
        q, k = tensors
        unit = context.xp.eye(k.shape[2], dtype=k.dtype).expand(1, 1, -1, -1)
        found = self.attend.oracle(context, q, k, unit)
        rows = found[0] if self.attend.type.partial else found
        return rows.flatten(2).unsqueeze(-1)

    def flops(self) -> Expr:
        """One product per visible pair."""
        return self.attend.flops() // 2
