"""What the parts of the checker ask of each other, and the errors they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from attndsl.diagnostics import AttnError, Diagnostic, fail
from attndsl.ir.index import Expr, Load
from attndsl.ir.problem import Span
from attndsl.ir.requirement import Requirement
from attndsl.ir.tokens import KEY, QUERY, Relation, TokenSet
from attndsl.ir.types import FeatureType
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.kinds import allow_kind
from attndsl.language.limits import MAX_ERRORS
from attndsl.language.scope import Frame, Value, describe
from attndsl.language.values import Extent, Feature, Fields, Position

_From = TypeVar("_From")
_To = TypeVar("_To")


class Evaluator(Protocol):
    """Gives values to syntax; implemented by `expressions.Expressions`."""

    def value(self, node: syntax.Expression, frame: Frame) -> Value:
        """The value of an expression of any sort."""
        ...

    def numeric(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """A number or condition."""
        ...

    def number(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """An integer or real expression."""
        ...

    def integer(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """An integer expression."""
        ...

    def condition(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """A condition."""
        ...

    def range_of(self, expr: Expr, frame: Frame) -> tuple[int, int] | None:
        """Smallest and largest value of an integer; None if they are not known."""
        ...

    def proves(self, condition: Expr, frame: Frame) -> bool:
        """Whether a condition certainly holds, for all coordinates and extents."""
        ...

    def demand(self, requirement: Requirement, frame: Frame) -> None:
        """Adds a requirement; raises if it can already be seen to fail."""
        ...

    def keep(self, value: Value, name: str, span: Span) -> None:
        """Remembers the spec's name for a value; raises if it is too large."""
        ...

    def lse_of(self, partial: Feature, span: Span) -> Feature:
        """The log-sum-exp of a partial, as a value of the program."""
        ...


def each(check: Callable[[_From], _To], items: Iterable[_From]) -> list[_To]:
    """Checks every item, so that errors in one do not hide errors in the next."""
    found: dict[Diagnostic, None] = {}
    values: list[_To] = []
    failed = False
    for item in items:
        try:
            values.append(check(item))
        except AttnError as error:
            failed = True
            found |= dict.fromkeys(error.diagnostics)
    if failed:
        raise AttnError(list(found)[:MAX_ERRORS])
    return values


def as_number(value: Value, node: syntax.Expression, frame: Frame, place: str, expected: str) -> Expr:
    """A value as an expression; whole positions only where there is one axis, reals only outside `where`."""
    match value:
        case Expr():
            return allow_kind(value, node.span, frame)
        case Feature() if frame.pair is None:
            return value.whole
        case Feature(type=FeatureType(tokens=TokenSet(origin=Relation() as origin))) if (
            frame.pair is not None
        ):
            return _related(value, origin, node, frame)
        case Position(tokens=tokens) if len(tokens.axes) == 1:
            return value.coordinates[0]
        case Extent(tokens=tokens) if len(tokens.axes) == 1:
            return tokens.axes[0].extent
        case Position(tokens=tokens) | Extent(tokens=tokens):
            raise _bare_on_grid(node, frame, tokens.name, tokens.axis_names)
        case _:
            raise fail(p.WrongValue(place, expected, describe(value), _remedy(value)), node.span)


def _related(value: Feature, origin: Relation, node: syntax.Expression, frame: Frame) -> Expr:
    """A selection or matrix on its own means its entry at the query and key at hand."""
    assert frame.pair is not None
    query, key = frame.pair.query, frame.pair.key
    if (query, key) != (origin.query, origin.key):
        problem = p.WrongSet(value.name, value.type.tokens.name, "i, j", f"{query.name} by {key.name}")
        raise fail(problem, node.span)
    coords = (*query.coordinates(QUERY), *key.coordinates(KEY))
    return allow_kind(Load(value.name, coords, value.type.kind), node.span, frame)


def _remedy(value: Value) -> str:
    match value:
        case Feature(type=type_, name=name):
            if type_.width is None:
                return f"look it up at a token: {name}[i] or {name}[j]"
            return f"a pair takes single numbers: reduce it to a field first, e.g. sum({name}, over = width)"
        case Fields(name=name, members=members):
            return f"take one of its parts, e.g. {name}.{next(iter(members))}"
        case TokenSet(name=name, axes=axes):
            return f"an extent is written {name}.{axes[0].name}"
        case tuple():
            return "take one item, e.g. [0]"
        case _:
            return "use it in `where`, `bias` or `score` of attend"


def _bare_on_grid(node: syntax.Expression, frame: Frame, tokens: str, axes: Sequence[str]) -> AttnError:
    site = frame.site
    if site is not None:
        lifted = " and ".join(
            f"{axis}: {site.text if len(site.text) < 24 else site.pattern}" for axis in axes
        )
        remedy = f"lift it to an axis, e.g. {lifted}"
        return fail(p.BareOnGrid(f"the pattern `{site.pattern}`", tokens, len(axes), remedy), site.span)
    name = node.name if isinstance(node, syntax.Name) else "i"
    choices = " or ".join(f"{name}.{axis}" for axis in axes)
    return fail(p.BareOnGrid(f"`{name}`", tokens, len(axes), f"choose a coordinate: {choices}"), node.span)
