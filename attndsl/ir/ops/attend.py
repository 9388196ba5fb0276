"""`attend`: softmax attention of queries over the visible keys.

    s = scale * dot(q[i], k[j])  ->  score(s)  ->  + bias  ->  where  ->  softmax over j  ->  sum of v[j]

A query without a visible key yields zeros and a log-sum-exp of minus infinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import TRUE, Expr, Var
from attndsl.ir.ops.base import IllTyped, OpParameter, OracleContext
from attndsl.ir.problem import Problem
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType, Heads


@dataclass(frozen=True)
class KeyValueSets(Problem):
    """Keys and values are pairs: value j is what key j returns. They must live on one token set."""

    code: ClassVar[str] = "E305"
    title: ClassVar[str] = "key and value live on different token sets: {key} and {value}"
    label: ClassVar[str] = "this value is on {value}"
    help: ClassVar[str] = "pass a value on {key}, the set of the key"
    key: str
    value: str


@dataclass(frozen=True)
class NotAFeature(Problem):
    """Queries, keys and values are vectors: real features with a width."""

    code: ClassVar[str] = "E306"
    title: ClassVar[str] = "`{name}` has no width, so it cannot be the {role} of attend"
    label: ClassVar[str] = "an int, bool or scalar input"
    help: ClassVar[str] = "use it in `where` or `bias`, as {name}[i] or {name}[j]"
    name: str
    role: str


@dataclass(frozen=True)
class Attend:
    """One attention: three operands and the pair expressions that shape the scores."""

    keyword: ClassVar[str] = "attend"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("q", "feature", optional=False, help="queries"),
        OpParameter("k", "feature", optional=False, help="keys"),
        OpParameter("v", "feature", optional=False, help="values, on the keys' token set"),
        OpParameter("where", "condition", help="which pairs are visible"),
        OpParameter("bias", "real", help="added to the score"),
        OpParameter("score", "score", help="replaces the score `s`"),
        OpParameter("scale", "number", help="multiplies the dot product; q.width ** -0.5 by default"),
    )

    q: str
    k: str
    v: str
    query_tokens: TokenSet
    key_tokens: TokenSet
    type: FeatureType
    scale: Expr
    where: Expr = TRUE
    bias: Expr | None = None
    score: Expr | None = None

    @classmethod
    def typed(
        cls, names: Mapping[str, str], types: Mapping[str, FeatureType], expressions: Mapping[str, Expr]
    ) -> Attend:
        """Checks the operands and gives the result its type.

        Raises:
            IllTyped: an operand has no width, or key and value live on different sets.
        """
        for role, type_ in types.items():
            if type_.width is None or type_.kind != "real":
                raise IllTyped(NotAFeature(names[role], role), role)
        q, k, v = types["q"], types["k"], types["v"]
        query_tokens, key_tokens = q.tokens, k.tokens
        if query_tokens is None or key_tokens is None:
            raise IllTyped(NotAFeature(names["q"], "q"), "q")
        if v.tokens != key_tokens:
            raise IllTyped(KeyValueSets(key_tokens.name, v.tokens.name if v.tokens else "no set"), "v")
        scale = expressions.get("scale", Var(f"{q.width}.width", "int") ** -0.5)
        return cls(
            **names,
            query_tokens=query_tokens,
            key_tokens=key_tokens,
            type=replace(q, width=v.width, heads=Heads.QUERY),
            scale=scale,
            where=expressions.get("where", TRUE),
            bias=expressions.get("bias"),
            score=expressions.get("score"),
        )

    @property
    def operands(self) -> tuple[str, ...]:
        """Query, key and value."""
        return self.q, self.k, self.v

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """The expressions that are present."""
        every = {"where": self.where, "bias": self.bias, "score": self.score, "scale": self.scale}
        return {name: expr for name, expr in every.items() if expr is not None}

    def oracle(self, context: OracleContext, *operands: Any) -> tuple[Any, Any]:
        """Output `(batch, heads, queries, width)` and natural log-sum-exp `(batch, heads, queries)`.

        Operands are flattened to `(batch, heads, tokens, width)`; key/value heads divide query heads.
        """
        xp = context.xp
        q, k, v = operands
        if context.rows is not None:
            q = q[:, :, context.rows]
        pairs = context.pairs(self.query_tokens, self.key_tokens, context.rows)
        group = q.shape[1] // k.shape[1]
        k, v = (xp.repeat_interleave(t, group, 1) for t in (k, v))
        s = pairs(self.scale) * (q @ k.transpose(-1, -2))

        def shaped(s: Any, visible: Any = None) -> Any:
            if self.score is not None:
                s = pairs(self.score, visible, s=s) + xp.zeros_like(s)
            return s if self.bias is None else s + pairs(self.bias, visible)

        # A masked pair must neither count nor send a gradient, even where the derivative of its score is
        # infinite: once it is known which pairs are visible, the others see constants.
        visible = xp.as_tensor(pairs(self.where)) & (shaped(s.detach()) != -xp.inf)
        s = shaped(xp.where(visible, s, s.detach()), visible)
        s = xp.where(visible, s, -xp.inf)
        top = xp.amax(s, -1, keepdim=True).detach()
        top = xp.where(top == -xp.inf, 0.0, top)
        weight = xp.where(visible, xp.exp(xp.where(visible, s, 0.0) - top), 0.0)
        total = weight.sum(-1, keepdim=True)
        empty = total == 0
        out = (weight @ v) / xp.where(empty, 1.0, total)
        lse = xp.where(empty, -xp.inf, xp.log(xp.where(empty, 1.0, total)) + top)
        return out, lse[..., 0]
