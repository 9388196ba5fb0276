"""`sum mean max count` of tokens by where they go: the adjoint of `gather`.

c[t] = sum of f[i] over the tokens i with by(i) = t        tokens that go outside the set are left out
"""

from __future__ import annotations

from collections.abc import Mapping
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
    Places,
    Read,
    WrongOperand,
    first_heads,
    size,
)
from attndsl.ir.ops.checks import number_of, real
from attndsl.ir.tokens import Relation, TokenSet
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Regroup(Op):
    """One regrouping; `f` is None for `count`."""

    f: str | None
    how: str
    source: TokenSet
    coords: tuple[Expr, ...]
    type: FeatureType

    @classmethod
    def of(cls, how: str, args: Arguments, add: Builder) -> Operand:
        """A regrouping by coordinates on `to`, or by a label, which knows its set.

        Raises:
            IllTyped: the target set is unknown, or the coordinates do not fit it.
        """
        f, coords = args.get("f"), args["by"]
        if f is not None:
            real(f, how)
        target = args.get("to", args.extra.get("labels"))
        if target is None:
            what = f"`{how}` by coordinates needs the token set that they lie on"
            example = f"{how}({f}, c, by = ...)" if f is not None else f"{how}(c, by = ...)"
            raise IllTyped(WrongOperand(what, "", f"name it, e.g. {example}"), "by")
        coords = coords_on(target, coords, "by")
        source = args.extra["domain"][0] if f is None else f.type.tokens
        batch = args.extra["batch"]
        if f is None:
            type_ = FeatureType(target, batch=batch, heads=first_heads(args))
        else:
            type_ = replace(f.type.value, tokens=target, batch=batch, heads=first_heads(args, f.type))
        return add(cls(None if f is None else f.name, how, source, coords, type_))

    @property
    def word(self) -> str:
        """The word of the spec."""
        return self.how

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature, if there is one."""
        return () if self.f is None else (self.f,)

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """The coordinates."""
        return {f"by {at}": coord for at, coord in enumerate(self.coords)}

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """By one dense 0-1 matrix from tokens to groups."""
        xp = context.xp
        where = context.places(self.source, self.coords)
        groups = xp.meshgrid(*(xp.arange(e) for e in context.extents(self.type.tokens)), indexing="ij")
        goes: Any = True
        for place, group in zip(where, groups):
            goes = goes & (xp.as_tensor(place).unsqueeze(-1) == group.flatten())
        goes = goes.double()
        count = goes.sum(-2).unsqueeze(-1)
        if self.how == "count":
            return count
        (f,) = tensors
        if self.how == "max":
            kept = xp.where(goes.transpose(-1, -2).unsqueeze(-1) > 0, f.unsqueeze(2), -xp.inf).amax(3)
            return xp.where(count > 0, kept, 0.0)
        total = goes.transpose(-1, -2) @ f
        return total / count.clamp(min=1) if self.how == "mean" else total

    def lowered(self) -> Lowered:
        """One scatter over token numbers."""
        places = Places(self.source, self.type.tokens, self.coords)
        value = None if self.f is None else Read(self.f)
        return Lowered("regrouped", (value, self.how, places, self.type.tokens))

    def flops(self) -> Expr:
        """One addition per element."""
        return size(replace(self.type, tokens=self.source))


class Count(Regroup):
    """`count(by = c.label)`: how many tokens go to each token of the set."""

    keyword: ClassVar[str] = "count"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("to", "tokens", positional=True, help="the set of the result"),
        OpParameter("by", "places", optional=False, help="for every token, where it is counted"),
        OpParameter("of", "tokens", help="the set whose tokens are counted"),
    )

    @classmethod
    def domain(cls, given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
        """`i` is a token that is counted."""
        return counted_tokens(given)

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """See `Regroup.of`."""
        return Regroup.of("count", args, add)


def coords_on(target: TokenSet, coords: tuple[Expr, ...], argument: str) -> tuple[Expr, ...]:
    """Coordinates that fit a set.

    Raises:
        IllTyped: there are more or fewer than the set has axes.
    """
    if len(coords) != len(target.axes):
        axes = number_of(len(target.axes), "axis")
        what = f"{number_of(len(coords), 'coordinate')} for {axes}, those of {target}"
        example = ", ".join("abcdefgh"[: len(target.axes)])
        remedy = (
            f"give one coordinate per axis: ({example})" if len(target.axes) > 1 else "give one coordinate"
        )
        raise IllTyped(WrongOperand(what, "", remedy), argument)
    return coords


def counted_tokens(given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
    """The tokens that are grouped: the feature's, or those named with `of`; `i` and `j` for a relation."""
    if "f" in given:
        match given["f"].type.tokens.origin:
            case Relation(query, key):
                return query, key
        return given["f"].type.tokens, given["f"].type.tokens
    return (given["of"], given["of"]) if "of" in given else None
