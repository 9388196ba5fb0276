"""Conditions that a program states about its parameters and extents, checked when sizes are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

from attndsl.ir.index import TRUE, Const, Expr, Var
from attndsl.ir.namespaces import EXACT, Arrays
from attndsl.ir.problem import Problem, Span
from attndsl.ir.rewrite import Ranges
from attndsl.ir.walk import evaluate, fields, substitute, variables

MAX_CASES = 2**22
"""Coordinates for which a condition is tried one by one, where its bounds do not decide it."""
CHUNK = 2**18
"""Coordinates that are tried at a time."""


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
class TooManyCases(Problem):
    """A requirement on the coordinates of a huge axis would have to be tried token by token."""

    code: ClassVar[str] = "E506"
    title: ClassVar[str] = "this requirement cannot be checked for {count} coordinates"
    label: ClassVar[str] = "depends on coordinates"
    help: ClassVar[str] = "state it for parameters and extents, without i, j and head"
    count: int


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
        """Whether the condition is seen to hold at these sizes, for every coordinate."""
        return bool(self.decided(sizes))

    def decided(self, sizes: Mapping[str, int]) -> bool | None:
        """As `holds`; None if there are too many coordinates to tell."""
        if self._names <= sizes.keys():
            return bool(evaluate(self.condition, sizes, EXACT))
        condition = substitute(self.condition, sizes)
        if isinstance(condition, Const):
            return condition is TRUE
        if variables(condition) - {name for name, _ in self.coordinates}:
            return False
        return _holds_everywhere(condition, self._box(sizes))

    @cached_property
    def _names(self) -> set[str]:
        """The variables of the condition; looked-up fields count as unknown ones."""
        return variables(self.condition) | fields(self.condition)

    def _box(self, sizes: Mapping[str, int]) -> _Box:
        extents = ((name, evaluate(extent, sizes, EXACT)) for name, extent in self.coordinates)
        return {name: (0, max(extent - 1, 0)) for name, extent in extents}

    def failure(self, sizes: Mapping[str, int]) -> Problem | None:
        """The problem to report at these sizes, or None if the requirement holds."""
        match self.decided(sizes):
            case True:
                return None
            case False:
                return self.broken(sizes)
            case None:
                return TooManyCases(_count(self._box(sizes)))

    def broken(self, sizes: Mapping[str, int]) -> Problem:
        """What to say where the requirement does not hold."""
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


_Box = dict[str, tuple[int, int]]
"""The first and last value of each coordinate."""


def _count(box: _Box) -> int:
    return prod(last - first + 1 for first, last in box.values())


def _holds_everywhere(condition: Expr, whole: _Box) -> bool | None:
    """Halves boxes of coordinates until bounds decide them, or until few enough are left to try.

    None if the condition holds wherever it was tried, but not all could be.
    """
    boxes, budget = [whole], MAX_CASES
    while boxes:
        box = boxes.pop()
        decided = Ranges(box).decide(condition)
        if decided is None and _count(box) <= CHUNK:
            budget -= _count(box)
            decided = _holds_in(condition, box)
        match decided:
            case False:
                return False
            case None if budget > 0:
                boxes += _halves(box)
            case None:
                return None
    return True


def _halves(box: _Box) -> list[_Box]:
    """The box cut along its longest side, the lower half last."""
    name = max(box, key=lambda name: box[name][1] - box[name][0])
    first, last = box[name]
    middle = (first + last) // 2
    return [{**box, name: (middle + 1, last)}, {**box, name: (first, middle)}]


def _holds_in(condition: Expr, box: _Box) -> bool:
    """Tries every coordinate of a box."""
    import numpy as np

    sides = (np.arange(first, last + 1) for first, last in box.values())
    grids = np.meshgrid(*sides, indexing="ij", sparse=True)
    return bool(np.all(evaluate(condition, dict(zip(box, grids)), Arrays(np, np.float64))))
