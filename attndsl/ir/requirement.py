"""Conditions that a program states about its parameters and extents, checked when sizes are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import TRUE, Const, Expr, Var
from attndsl.ir.namespaces import EXACT, Arrays
from attndsl.ir.problem import Problem, Span
from attndsl.ir.rewrite import Ranges
from attndsl.ir.walk import evaluate, substitute, variables


@dataclass(frozen=True)
class RequirementFails(Problem):
    """A pattern or attention states with `require` what its parameters must satisfy, and these do not.

    The label shows the condition as it was written. `extent` is the length of the axis that the pattern
    is applied to. A requirement that mentions the query `i` must hold for every query.
    """

    code: ClassVar[str] = "E203"
    title: ClassVar[str] = "{what}"
    label: ClassVar[str] = "requires {text}"
    help: ClassVar[str] = "{remedy}"
    what: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Side:
    """One side of a required comparison: its value and how to speak of it."""

    expr: Expr
    name: str = ""
    axis: str = ""
    tokens: str = ""

    def words(self, value: Any) -> str:
        """E.g. `size 24`, `axis w (16 tokens)`, `3`; no value where it differs from token to token."""
        if self.axis:
            return f"axis {self.axis} ({value} token{'' if value == 1 else 's'})"
        if value == "?":
            return self.name.removesuffix(" =")
        return f"{self.name} {value}" if self.name else str(value)


@dataclass(frozen=True)
class Requirement:
    """A condition over symbols (and perhaps coordinates) with what an error needs to say.

    Attributes:
        condition: must hold for every value of the coordinates in it.
        text: the condition as written.
        subject: the pattern or attention that requires it.
        span: the call that must satisfy it.
        declared: where the `require` stands.
        left, operator, right: its sides if it is a comparison.
        coordinates: the extents of the coordinates that occur in it, by variable name.
    """

    condition: Expr
    text: str
    subject: str
    span: Span
    declared: Span
    left: Side | None = None
    operator: str = ""
    right: Side | None = None
    coordinates: tuple[tuple[str, Expr], ...] = ()

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether the condition holds at these sizes, for every coordinate."""
        condition = substitute(self.condition, sizes)
        if isinstance(condition, Const):
            return condition is TRUE
        boxes = {name: evaluate(extent, sizes, EXACT) for name, extent in self.coordinates}
        decided = Ranges({name: (0, max(extent - 1, 0)) for name, extent in boxes.items()}).decide(condition)
        return bool(decided) or _holds_everywhere(condition, boxes)

    def failure(self, sizes: Mapping[str, int]) -> Problem | None:
        """The problem to report at these sizes, or None if the requirement holds."""
        if self.holds(sizes):
            return None
        if self.left is None or self.right is None:
            what = f"{self.subject}: `{self.text}` does not hold"
            return RequirementFails(what, self.text, "choose parameters or extents that satisfy it")
        return self._compared(self.left, self.right, sizes)

    def _compared(self, left: Side, right: Side, sizes: Mapping[str, int]) -> Problem:
        operator = self.operator
        if not left.name and not left.axis:
            left, right, operator = right, left, _FLIPPED[operator]
        a, b = (_value(side.expr, sizes) for side in (left, right))
        what = f"{self.subject} {left.words(a)} {_FAILED[operator]} {right.words(b)}"
        return RequirementFails(what, self.text, _remedy(left, operator, right, a, b))


_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_FAILED = {
    "<": "is not smaller than",
    "<=": "is larger than",
    ">": "is not larger than",
    ">=": "is smaller than",
    "==": "is not equal to",
    "!=": "must differ from",
}


def _remedy(left: Side, operator: str, right: Side, a: Any, b: Any) -> str:
    if a == "?" or b == "?" or not left.name.isidentifier():
        return "choose parameters or extents that satisfy it"
    bound = {
        "<": f"below {b}", "<=": f"up to {b}", ">": f"above {b}", ">=": f"of at least {b}",
        "==": f"of {b}", "!=": f"other than {b}",
    }[operator]  # fmt: skip
    remedy = f"use a {left.name} {bound}"
    if right.axis and operator in ("<", "<="):
        remedy += _longer(right, a + (operator == "<"))
    return remedy


def _longer(axis: Side, least: int) -> str:
    """How to get an axis of that length, if it is not fixed in the spec."""
    match axis.expr:
        case Var(symbol):
            return f", or a longer axis with --shape {symbol}={least}"
        case Const():
            return f", or more tokens along axis {axis.axis}"
        case _:
            return f", or a larger {axis.tokens} with --shape"


def _value(expr: Expr, sizes: Mapping[str, int]) -> Any:
    missing = variables(expr) - set(sizes)
    return "?" if missing else evaluate(expr, sizes, EXACT)


def _holds_everywhere(condition: Expr, boxes: Mapping[str, int]) -> bool:
    """Evaluates the condition on the whole grid of its coordinates, when the bounds were undecided."""
    import numpy as np

    missing = variables(condition) - set(boxes)
    if missing:
        return False
    grids = np.meshgrid(*(np.arange(extent) for extent in boxes.values()), indexing="ij", sparse=True)
    return bool(np.all(evaluate(condition, dict(zip(boxes, grids)), Arrays(np, np.float64))))
