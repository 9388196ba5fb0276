"""Scopes: what names mean at a place, and what `i` and `j` refer to there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from attndsl.ir.problem import Span
from attndsl.ir.tokens import TokenSet
from attndsl.language.modules import Module
from attndsl.language.values import Extent, Position, Value


@dataclass(frozen=True)
class Pair:
    """The query and key token sets that a pair expression is about.

    Attributes:
        integral: only integers and conditions are allowed (inside `where`).
        scored: `s`, the score, has a meaning (inside `score`).
    """

    query: TokenSet
    key: TokenSet
    integral: bool = False
    scored: bool = False


@dataclass(frozen=True)
class Binding:
    """A name's value and where it was bound; `default` marks an `i` or `j` nobody chose."""

    value: Value
    span: Span | None = None
    default: bool = False


@dataclass(eq=False)
class Frame:
    """A scope. `pattern` is set inside a pattern's body; `callers` are the patterns being expanded."""

    module: Module
    names: dict[str, Binding]
    pair: Pair | None = None
    pattern: str = ""
    call: Span | None = None
    callers: tuple[tuple[Module, str], ...] = ()
    axis: str = ""
    """What `extent` is the length of, for messages: `w`, or empty."""
    defaults_used: dict[str, Span] = field(default_factory=dict)

    def with_pair(self, pair: Pair) -> Frame:
        """The same names where a query and a key are given."""
        names = {
            **self.names,
            "i": Binding(Position("i", pair.query), default=True),
            "j": Binding(Position("j", pair.key), default=True),
            "extent": Binding(Extent(pair.key), default=True),
        }
        axis = pair.key.axis_names[0] if len(pair.key.axes) == 1 else ""
        return replace(self, names=names, pair=pair, axis=axis, defaults_used={})

    def binding(self, name: str) -> Binding | None:
        """What a name is bound to in this frame."""
        return self.names.get(name)


def suggest(name: str, known: list[str]) -> str:
    """A remedy naming the closest known name, or all if they are few."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    listed = sorted(dict.fromkeys(known))
    if 0 < len(listed) <= 8:
        return f"known here: {', '.join(listed)}"
    return "declare it first"
