"""What `top` and `mass` share: the entries they choose from, in order, and how good a choice is.

Entries lie along some axes of a feature (its heads, its tokens), or, on a relation, along the keys of each
query, the queries of each key, or both. What `where` hides is never chosen; what `always` names comes
first. The others follow by value, the largest first, the lowest index first among equals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import Expr
from attndsl.ir.ops.base import (
    Arguments,
    IllTyped,
    Op,
    OpParameter,
    OracleContext,
    Over,
    WrongOperand,
    present,
    size,
)
from attndsl.ir.ops.checks import real
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import DoNotBroadcast, FeatureType, broadcast

ENTRIES = OpParameter(
    "e", "entries", optional=False, positional=True, help="a feature, or an expression of pairs"
)
ABOUT = (
    OpParameter("over", "axes", help="heads, width, an axis, a token set; for pairs j, i or (i, j)"),
    OpParameter("where", "condition", help="what may be chosen; everything by default"),
    OpParameter("always", "condition", help="what is chosen whatever its value, where it may be"),
    OpParameter("on", "sets", help="for pairs: the sets of i and j, where the expression does not tell"),
)


@dataclass(frozen=True)
class Selection(Op):
    """A choice of entries: conditions, without gradient.

    Attributes:
        e: what is compared.
        where, always: conditions on the same entries, if there are any.
        limit: the count or the share.
    """

    discrete: ClassVar[bool] = True

    e: str
    where: str | None
    always: str | None
    over: Over
    limit: Expr
    type: FeatureType

    @classmethod
    def of(cls, args: Arguments, limit: str) -> Selection:
        """Checks what the entries are.

        Raises:
            IllTyped: `e` is not real, lacks the axis, or does not go with the conditions.
        """
        e, over = args["e"], args["over"]
        real(e, cls.keyword, "e")
        present(e, over, cls.keyword)
        where, always = args.get("where"), args.get("always")
        types = [operand.type for operand in (e, where, always) if operand is not None]
        try:
            type_ = replace(broadcast(types), kind="bool")
        except DoNotBroadcast as problem:
            what = f"the conditions do not go with `{e}`: {problem}"
            raise IllTyped(WrongOperand(what, "", problem.remedy), "where") from None
        names = [None if operand is None else operand.name for operand in (where, always)]
        return cls(e.name, names[0], names[1], over, args[limit], type_)

    @property
    def along_tokens(self) -> bool:  # type: ignore[override]
        """A choice between heads or channels stays within a token."""
        return bool(self.over.axes)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The entries and the conditions."""
        return tuple(name for name in (self.e, self.where, self.always) if name is not None)

    def entries(self, context: OracleContext, tensors: tuple[Any, ...]) -> Entries:
        """The entries with the ones that compete on the last axis."""
        given = iter(tensors)
        e = next(given).detach()
        where = next(given) if self.where is not None else None
        always = next(given) if self.always is not None else None
        return Entries.of(context, self.type.tokens, self.over, e, where, always)

    def flops(self) -> Expr:
        """A comparison or two per entry and doubling; sorting is not arithmetic of the model."""
        return 2 * size(self.type)


@dataclass(frozen=True)
class Entries:
    """Entries in rows that compete with each other, (..., entries).

    Attributes:
        value: what is compared.
        may: which can be chosen.
        must: which are chosen whatever their value.
        rank: the place of each in the order of choice: `must` first, then by value, what is hidden last.
    """

    value: Any
    may: Any
    must: Any
    rank: Any
    extents: tuple[int, ...]
    dims: tuple[int, ...]

    @classmethod
    def of(
        cls, context: OracleContext, tokens: TokenSet, over: Over, e: Any, where: Any, always: Any
    ) -> Entries:
        """Entries of features `(batch, heads, tokens, width)`."""
        xp = context.xp
        extents = context.extents(tokens)
        may = xp.ones_like(e, dtype=xp.bool) if where is None else where
        must = xp.zeros_like(may) if always is None else always
        e, may, must = (in_rows(t, extents, over.dims) for t in xp.broadcast_tensors(e, may, must))
        must = must & may
        by_value = e.argsort(dim=-1, descending=True, stable=True)
        group = xp.where(must, 0, xp.where(may, 1, 2)).gather(-1, by_value)
        order = by_value.gather(-1, group.argsort(dim=-1, stable=True))
        return cls(e, may, must, order.argsort(dim=-1), extents, over.dims)

    def restored(self, chosen: Any, like: tuple[int, ...]) -> Any:
        """Rows as `(batch, heads, tokens, width)` of the shape given."""
        grid = (*like[:2], *self.extents, like[-1])
        dims = [dim % len(grid) for dim in self.dims]
        rows = chosen.unflatten(-1, [grid[dim] for dim in dims])
        return rows.movedim(tuple(range(-len(dims), 0)), tuple(dims)).flatten(2, -2)

    def disorder(self, xp: Any, chosen: Any) -> float:
        """How far a chosen entry lies below one that was passed over, relative to the largest value."""
        free = self.may & ~self.must
        least = xp.where(chosen & free, self.value, xp.inf).amin(-1)
        passed = xp.where(~chosen & free, self.value, -xp.inf).amax(-1)
        scale = float(xp.where(self.may, self.value, 0.0).abs().amax()) or 1.0
        wrong = bool((chosen & ~self.may).any()) or bool((self.must & ~chosen).any())
        return float("inf") if wrong else max(0.0, float((passed - least).amax()) / scale)


def in_rows(value: Any, extents: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """`(batch, heads, tokens, width)` with the given dimensions of the grid as one last axis."""
    grid = value.unflatten(2, extents)
    return grid.movedim(dims, tuple(range(-len(dims), 0))).flatten(-len(dims))


def shape_of(tensors: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape that tensors broadcast to."""
    return tuple(max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors)))
