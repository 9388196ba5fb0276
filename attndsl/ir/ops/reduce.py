"""`sum mean var max norm softmax` of a feature over heads, width, an axis or all its tokens."""

from __future__ import annotations

from collections.abc import Mapping
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
    present,
    reduced,
    size,
)
from attndsl.ir.ops.checks import real
from attndsl.ir.ops.regroup import Regroup, counted_tokens
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType

_FEATURE = OpParameter("f", "feature", positional=True, help="what is reduced")
_OVER = OpParameter("over", "axes", help="heads, width, an axis, or a token set")
_BY = OpParameter("by", "places", help="for every token, the token of `to` that it is added to")
_TO = OpParameter("to", "tokens", positional=True, help="the set of the result, where `by` has coordinates")
_OF = OpParameter("of", "tokens", help="the set whose tokens are counted")


@dataclass(frozen=True)
class Reduce(Op):
    """One reduction. `var` divides by the count, as the biased estimate does; `norm` is the 2-norm."""

    f: str
    how: str
    over: Over
    source: FeatureType
    type: FeatureType

    @classmethod
    def domain(cls, given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
        """`i` is a token of the feature's set."""
        return counted_tokens(given)

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """With `by` a regrouping, else a reduction.

        Raises:
            IllTyped: neither `over` nor `by`, or an operand that does not fit.
        """
        if "by" in args:
            return Regroup.of(cls.keyword, args, add)
        f = args.get("f")
        if f is None or "over" not in args:
            what = f"`{cls.keyword}` needs to know what it runs over"
            remedy = f"write {cls.keyword}({f or 'f'}, over = width), or heads, an axis, a token set"
            if _BY in cls.parameters:
                remedy += "; or by = ... to group tokens"
            raise IllTyped(WrongOperand(what, "", remedy))
        real(f, cls.keyword)
        over: Over = args["over"]
        present(f, over, cls.keyword)
        type_ = f.type.value if cls.keyword == "softmax" else reduced(f.type, over)
        return add(cls(f.name, cls.keyword, over, f.type, type_))

    @property
    def along_tokens(self) -> bool:  # type: ignore[override]
        """Sums over heads or width stay within a token."""
        return bool(self.over.axes)

    @property
    def mixes_heads(self) -> bool:  # type: ignore[override]
        """A softmax over heads has as many as its argument."""
        return self.over.heads

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """By the definition of each."""
        xp = context.xp
        (f,) = tensors
        grid = f.unflatten(2, context.extents(self.source.tokens))
        dims = self.over.dims
        match self.how:
            case "sum":
                found = grid.sum(dims, keepdim=True)
            case "mean":
                found = grid.mean(dims, keepdim=True)
            case "var":
                found = ((grid - grid.mean(dims, keepdim=True)) ** 2).mean(dims, keepdim=True)
            case "max":
                found = grid.amax(dims, keepdim=True)
            case "norm":
                found = (grid**2).sum(dims, keepdim=True) ** 0.5
            case _:
                weight = xp.exp(grid - grid.amax(dims, keepdim=True))
                found = weight / weight.sum(dims, keepdim=True)
        return found.flatten(2, -2)

    def lowered(self) -> Lowered:
        """One torch function."""
        tokens = self.source.tokens
        return Lowered("reduced", (Read(self.f), self.how, tokens, self.over.dims))

    def flops(self) -> Expr:
        """One or a few per element."""
        return {"softmax": 4, "var": 4, "norm": 2}.get(self.how, 1) * size(self.source)


class Sum(Reduce):
    """`sum(f, over = x)`, `sum(f, by = i // 4, c)`."""

    keyword: ClassVar[str] = "sum"
    parameters: ClassVar[tuple[OpParameter, ...]] = (_FEATURE, _TO, _OVER, _BY, _OF)


class Mean(Reduce):
    """`mean(f, over = x)`, `mean(v, by = c.label)`: groups without a token have mean 0."""

    keyword: ClassVar[str] = "mean"
    parameters: ClassVar[tuple[OpParameter, ...]] = (_FEATURE, _TO, _OVER, _BY, _OF)


class Var_(Reduce):
    """`var(f, over = width)`."""

    keyword: ClassVar[str] = "var"
    parameters: ClassVar[tuple[OpParameter, ...]] = (_FEATURE, _OVER)


class Max(Reduce):
    """`max(f, over = x)`, `max(f, by = ...)`: groups without a token have maximum 0."""

    keyword: ClassVar[str] = "max"
    parameters: ClassVar[tuple[OpParameter, ...]] = (_FEATURE, _TO, _OVER, _BY, _OF)


class Norm(Reduce):
    """`norm(f, over = width)`: the 2-norm."""

    keyword: ClassVar[str] = "norm"
    parameters: ClassVar[tuple[OpParameter, ...]] = (_FEATURE, _OVER)


class Softmax(Reduce):
    """`softmax(f, over = heads)`."""

    keyword: ClassVar[str] = "softmax"
    parameters: ClassVar[tuple[OpParameter, ...]] = (_FEATURE, _OVER)
