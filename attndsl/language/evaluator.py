"""What the parts of the checker ask of each other, and the errors they share."""

from __future__ import annotations

from typing import NoReturn, Protocol

from attndsl.diagnostics import AttnError, Diagnostic, Note
from attndsl.ir.index import Expr
from attndsl.ir.problem import Problem, Span
from attndsl.ir.requirement import Requirement
from attndsl.ir.rewrite import Ranges
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.scope import Frame
from attndsl.language.values import Extent, Position, Value, describe


class Evaluator(Protocol):
    """Gives values to syntax; implemented by `expressions.Expressions`."""

    def value(self, node: syntax.Expression, frame: Frame) -> Value:
        """The value of an expression of any sort."""
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

    def ranges(self, frame: Frame) -> Ranges:
        """What is known of the variables in a frame."""
        ...

    def demand(self, requirement: Requirement) -> None:
        """Adds a requirement; raises if it can already be seen to fail."""
        ...

    def label(self, expr: Value, name: str) -> None:
        """Remembers the spec's name for a subexpression."""
        ...


def refuse(problem: Problem, span: Span, *notes: Note) -> NoReturn:
    """Raises the error for one problem."""
    raise AttnError([Diagnostic(problem, span, notes)])


def numeric(value: Value, node: syntax.Expression, frame: Frame, place: str) -> Expr:
    """A value as an expression; whole positions and extents only where there is one axis."""
    match value:
        case Expr():
            return value
        case Position(tokens=tokens) if len(tokens.axes) == 1:
            return value.coordinates[0]
        case Extent(tokens=tokens) if len(tokens.axes) == 1:
            return tokens.axes[0].extent
        case Position(tokens=tokens) | Extent(tokens=tokens):
            _bare_on_grid(node, frame, tokens.name, tokens.axis_names)
        case _:
            remedy = _REMEDIES.get(type(value).__name__, "use a number, a coordinate or a field")
            refuse(p.WrongValue(place, "a number or condition", describe(value), remedy), node.span)


_REMEDIES = {
    "Feature": "tensors meet in attend(q, k, v); a field is looked up, e.g. label[i]",
    "TokenSet": "an extent is written x.h",
    "tuple": "take one item, e.g. size[0]",
}


def _bare_on_grid(node: syntax.Expression, frame: Frame, tokens: str, axes: tuple[str, ...]) -> NoReturn:
    if frame.pattern and frame.call is not None:
        remedy = f"lift it to an axis, e.g. {' and '.join(f'{a}: {frame.pattern}(...)' for a in axes[:2])}"
        refuse(p.BareOnGrid(f"the pattern `{frame.pattern}`", tokens, len(axes), remedy), frame.call)
    name = node.name if isinstance(node, syntax.Name) else "this"
    remedy = f"choose a coordinate, e.g. {name}.{axes[0]}"
    refuse(p.BareOnGrid(f"`{name}`", tokens, len(axes), remedy), node.span)
