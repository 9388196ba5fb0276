"""Token sets: products of named axes whose extents are integers or expressions of symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.namespaces import EXACT
from attndsl.ir.problem import Problem
from attndsl.ir.walk import evaluate, substitute, variables

QUERY, KEY = "i", "j"
"""Prefixes of coordinate variables: `i.h` is the query's, `j.h` the key's coordinate on axis h."""

MAX_EXTENT = 2**40
"""Tokens along one axis."""


@dataclass(frozen=True)
class BadExtent(Problem):
    """An axis has between 1 and 2**40 tokens. Its extent is an integer, a symbol or an expression of them.

    tokens x[h, w = 16]     # h is known when the module is called, w is fixed
    tokens c[n // 8]        # one token per eight of axis n
    """

    code: ClassVar[str] = "E505"
    title: ClassVar[str] = "axis {axis} of {tokens} cannot have {value} tokens"
    label: ClassVar[str] = "extent {value}"
    help: ClassVar[str] = "an extent is an integer from 1 to 2**40"
    tokens: str
    axis: str
    value: str


@dataclass(frozen=True)
class Axis:
    """A named axis; its extent is an expression over symbols (a constant if fixed).

    Attributes:
        bound: the largest extent, where the spec states one.
    """

    name: str
    extent: Expr
    bound: int | None = None

    @property
    def largest(self) -> int | None:
        """The largest extent it can have, if that is known."""
        return self.extent.value if isinstance(self.extent, Const) else self.bound  # type: ignore[return-value]


@dataclass(frozen=True)
class Pooled:
    """A set whose tokens each cover a box of its parent's tokens.

    Attributes:
        first, last: per axis the coordinates covered, over the set's own coordinates `c.axis`.
    """

    parent: TokenSet
    first: tuple[Expr, ...]
    last: tuple[Expr, ...]


@dataclass(frozen=True)
class Pairs:
    """All pairs of a token of `left` with one of `right`; axis 0 and axis 1 are their numbers."""

    left: TokenSet
    right: TokenSet


@dataclass(frozen=True)
class Channels:
    """The channels of features on `parent`: tokens and width have changed places."""

    parent: TokenSet


@dataclass(frozen=True)
class Relation:
    """All pairs of a query and a key; the query's axes come first, numbered on from 0."""

    query: TokenSet
    key: TokenSet

    @property
    def sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The numbers of the query's and of the key's axes."""
        first = len(self.query.axes)
        return tuple(range(first)), tuple(range(first, first + len(self.key.axes)))


@dataclass(frozen=True)
class Codes:
    """Codewords: numbered, but in no order that means anything."""


Origin = Pooled | Pairs | Channels | Relation | Codes


@dataclass(frozen=True)
class TokenSet:
    """A named product of axes. Tokens are numbered in row-major order, the last axis fastest.

    Attributes:
        origin: how it derives from other sets; None for a declared one.
    """

    name: str
    axes: tuple[Axis, ...]
    origin: Origin | None = None

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The axes in order."""
        return tuple(axis.name for axis in self.axes)

    @property
    def symbols(self) -> set[str]:
        """Names of the unknown extents."""
        return variables(*(axis.extent for axis in self.axes))

    def axis(self, name: str) -> Axis | None:
        """The axis of that name, or at that position, if there is one."""
        named = next((axis for axis in self.axes if axis.name == name), None)
        if named is None and name.isdigit() and int(name) < len(self.axes):
            return self.axes[int(name)]
        return named

    def coordinate(self, role: str, axis: str) -> Var:
        """The variable for the coordinate of the query (`i`) or key (`j`) on an axis."""
        return Var(f"{role}.{axis}")

    def coordinates(self, role: str) -> tuple[Var, ...]:
        """The variables of all axes in order."""
        return tuple(self.coordinate(role, name) for name in self.axis_names)

    @property
    def ordered(self) -> bool:
        """Whether positions can be compared: codewords and channels come in no order."""
        return not isinstance(self.origin, Channels | Codes)

    def covered(self, coords: tuple[Expr, ...], last: bool) -> tuple[Expr, ...] | None:
        """The first or last coordinates of the parent that a token covers; None if it covers none."""
        match self.origin:
            case Pooled(first=starts, last=ends):
                own = dict(zip((variable.name for variable in self.coordinates("c")), coords))
                return tuple(substitute(expr, own) for expr in (ends if last else starts))
        return None

    def matches(self, other: TokenSet) -> bool:
        """Whether it is the same set; widths of channel sets are compared when they are known."""
        if self == other:
            return True
        match self.origin, other.origin:
            case Channels(parent=a), Channels(parent=b):
                return a == b
        return False

    def extents(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The extents as numbers, given the symbols' values."""
        return tuple(evaluate(axis.extent, sizes, EXACT) for axis in self.axes)

    def count(self, sizes: Mapping[str, int]) -> int:
        """The number of tokens."""
        return prod(self.extents(sizes))

    @property
    def axis_words(self) -> tuple[str, ...]:
        """The axes in words: by name, and by extent where the spec gives no name."""
        return tuple(_extent_text(axis) if axis.name.isdigit() else axis.name for axis in self.axes)

    def __str__(self) -> str:
        if self.origin is not None:
            return self.name
        return f"{self.name}[{', '.join(_axis_text(axis) for axis in self.axes)}]"


def relation(query: TokenSet, key: TokenSet) -> TokenSet:
    """The set of all pairs of a query and a key, on which selections and attention matrices live."""
    axes = tuple(replace(axis, name=str(at)) for at, axis in enumerate((*query.axes, *key.axes)))
    return TokenSet(f"{query.name} by {key.name}", axes, Relation(query, key))


SINGLE = TokenSet("single", (Axis("0", Const(1)),))
"""The set of one token, on which values live that do not depend on a token."""


def _extent_text(axis: Axis) -> str:
    from attndsl.ir.text import show

    return show(axis.extent)


def _axis_text(axis: Axis) -> str:
    from attndsl.ir.text import show

    bound = f" <= {axis.bound}" if axis.bound is not None else ""
    match axis.extent:
        case Var(name) if name == axis.name:
            return f"{name}{bound}"
        case Const(value):
            return f"{axis.name} = {value}"
        case extent:
            return f"{axis.name} = {show(extent)}"
