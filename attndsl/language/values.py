"""What a name can stand for while a spec is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attndsl.ir.index import Expr
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType
from attndsl.language import syntax

if TYPE_CHECKING:
    from attndsl.language.scope import Frame


@dataclass(frozen=True)
class Feature:
    """A tensor value of the program."""

    name: str
    type: FeatureType


@dataclass(frozen=True)
class Position:
    """The query's or key's place on a token set: `i` or `j` before an axis is chosen."""

    role: str
    tokens: TokenSet

    @property
    def coordinates(self) -> tuple[Expr, ...]:
        """One variable per axis."""
        return self.tokens.coordinates(self.role)


@dataclass(frozen=True)
class Extent:
    """The lengths of the key's axes: `extent` before an axis is chosen."""

    tokens: TokenSet


@dataclass(frozen=True, eq=False)
class Deferred:
    """A named pair expression of the program: it has a value only where a query and a key are given."""

    syntax: syntax.Expression
    frame: Frame = field(repr=False)


Value = Expr | tuple["Value", ...] | TokenSet | Feature | Position | Extent | Deferred


def describe(value: Value) -> str:
    """A value's sort in words."""
    match value:
        case Expr(kind="bool"):
            return "a condition"
        case Expr(kind="int"):
            return "an integer"
        case Expr():
            return "a real number"
        case tuple():
            return f"a tuple of {len(value)} items"
        case TokenSet():
            return f"the token set `{value.name}`"
        case Feature():
            return f"the {'tensor' if value.type.width else 'field'} `{value.name}`"
        case Position():
            return f"a position on {value.tokens.name}"
        case Extent():
            return f"the extents of {value.tokens.name}"
        case Deferred():
            return "a pair expression"
