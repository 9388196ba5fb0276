"""Scopes: what names mean at a place, and what `i` and `j` refer to there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from attndsl.ir.index import Expr, Load
from attndsl.ir.problem import Span
from attndsl.ir.tokens import TokenSet
from attndsl.ir.walk import postorder
from attndsl.language import syntax
from attndsl.language.modules import Module
from attndsl.language.values import Extent, Feature, Fields, Position


@dataclass(frozen=True)
class Pair:
    """The query and key token sets that a pair expression is about.

    Attributes:
        integral: only integers and conditions are allowed (inside `where`).
        scored: `s`, the score, has a meaning (inside `score`).
        places: there is no key: coordinates are asked for every token `i`.
    """

    query: TokenSet
    key: TokenSet
    integral: bool = False
    scored: bool = False
    places: bool = False


@dataclass(frozen=True, eq=False)
class Deferred:
    """A named pair expression of the program: it has a value only where a query and a key are given."""

    syntax: syntax.Expression
    frame: Frame = field(repr=False)


Value = Expr | tuple["Value", ...] | TokenSet | Feature | Fields | Position | Extent | Deferred


def describe(value: Value) -> str:
    """A value's sort in words."""
    match value:
        case Expr() if any(isinstance(node, Load) and not node.coords for node in postorder([value])):
            of = {"bool": " of conditions", "int": " of integers"}
            return f"a tensor{of.get(value.kind, '')}"
        case Expr(kind="bool"):
            return "a condition"
        case Expr(kind="int"):
            return "an integer"
        case Expr():
            return "a real number"
        case tuple():
            return f"a tuple of {len(value)} item{'' if len(value) == 1 else 's'}"
        case TokenSet():
            return f"the token set `{value.name}`"
        case Feature():
            return f"the {'field' if value.type.width is None else 'tensor'} `{value.name}`"
        case Fields():
            return f"the record `{value.name}`"
        case Position():
            return f"a position on {value.tokens.name}"
        case Extent():
            return f"the extents of {value.tokens.name}"
        case Deferred():
            return "a pair expression"


@dataclass(frozen=True)
class Binding:
    """A name's value and where it was bound; `default` marks an `i` or `j` nobody chose."""

    value: Value
    span: Span | None = None
    default: bool = False


@dataclass(frozen=True)
class CallSite:
    """A call of a pattern in a user's file: errors in the library are errors of such a call."""

    pattern: str
    span: Span
    text: str


@dataclass(frozen=True, eq=False)
class Frame:
    """A scope.

    Attributes:
        names: what is bound here.
        pair: what `i` and `j` range over, where there is a pair.
        site: the innermost call in a user's file, inside a pattern.
        callers: the patterns being expanded, outermost first.
        axis: what `extent` is the length of, for messages: `w`, or empty.
        defaults_used: which of `i`, `j` and `extent` the pattern took from its surroundings.
    """

    module: Module
    names: dict[str, Binding]
    pair: Pair | None = None
    site: CallSite | None = None
    callers: tuple[tuple[Module, str], ...] = ()
    axis: str = ""
    defaults_used: dict[str, Span] = field(default_factory=dict)

    @property
    def pattern(self) -> str:
        """The pattern being expanded, or empty."""
        return self.callers[-1][1] if self.callers else ""

    def blamed(self, span: Span) -> Span:
        """A place of this scope as a user sees it: inside the library, the call that led there."""
        return self.site.span if self.site is not None and self.module.is_library else span

    def with_pair(self, pair: Pair) -> Frame:
        """The same names where a query and a key are given."""
        names = {
            **self.names,
            "i": Binding(Position("i", pair.query), default=True),
            "j": Binding(Position("j", pair.key), default=True),
            "extent": Binding(Extent(pair.key), default=True),
        }
        if pair.places:
            del names["j"]
        axis = pair.key.axis_names[0] if len(pair.key.axes) == 1 else ""
        return replace(self, names=names, pair=pair, axis=axis, defaults_used={})
