"""Interval analysis as a rewrite: the bounds of an expression are expressions over box variables.

    first <= j              may   first.lo <= j.hi           must  first.hi <= j.lo
    i // 7                  lo    i.lo // 7                  hi    i.hi // 7
    label[i]                lo    label.least[i.lo, i.hi]    hi    label.greatest[i.lo, i.hi]

The compiler evaluates the result with numpy, the generated file contains it printed as torch. The
bounds are sound for any box; they are exact where every variable occurs once per comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import Apply, Const, Expr, Load, Operand, Var, apply, as_expr
from attndsl.ir.walk import postorder

LEAST, GREATEST = ".least", ".greatest"
"""Suffixes of a field's name: its smallest and largest value over a box of coordinates."""


class Symbolic:
    """The namespace whose values are expressions."""

    def where(self, test: Operand, a: Operand, b: Operand) -> Expr:
        return apply("select", test, a, b)

    def minimum(self, a: Operand, b: Operand) -> Expr:
        return apply("min", a, b)

    def maximum(self, a: Operand, b: Operand) -> Expr:
        return apply("max", a, b)

    def absolute(self, a: Operand) -> Expr:
        return apply("abs", a)

    def equal(self, a: Operand, b: Operand) -> Expr:
        return apply("==", a, b)

    def negate(self, a: Operand) -> Expr:
        return apply("not", a)

    def ispow2(self, a: Operand) -> Expr:
        return apply("ispow2", a)

    def ceilpow2(self, a: Operand) -> Expr:
        return apply("ceilpow2", a)

    def real(self, a: Operand) -> Expr:
        return apply("real", a)

    def unary(self, name: str, a: Operand) -> Expr:
        return apply(name, a)


SYMBOLIC = Symbolic()


class Bounds:
    """Bounds of expressions over the boxes given for their variables.

    Args:
        boxes: for each variable that ranges over a box, its smallest and largest value as
            expressions. A variable that is not listed stands for itself (an extent, say).
    """

    def __init__(self, boxes: Mapping[str, tuple[Operand, Operand]]) -> None:
        self._boxes = {name: (as_expr(lo), as_expr(hi)) for name, (lo, hi) in boxes.items()}
        self._known: dict[Expr, tuple[Expr, Expr]] = {}

    def interval(self, expr: Expr) -> tuple[Expr, Expr]:
        """Smallest and largest value; for a condition, whether it must and whether it may hold."""
        if expr not in self._known:
            for node in postorder([expr]):
                if node not in self._known:
                    self._known[node] = self._compute(node)
        return self._known[expr]

    def must(self, expr: Expr) -> Expr:
        """A condition on the box that implies `expr` for every point of the box."""
        return self.interval(expr)[0]

    def may(self, expr: Expr) -> Expr:
        """A condition on the box that holds if `expr` holds for any point of the box."""
        return self.interval(expr)[1]

    def _compute(self, expr: Expr) -> tuple[Expr, Expr]:
        match expr:
            case Const():
                return expr, expr
            case Var(name):
                return self._boxes.get(name, (expr, expr))
            case Load(field, coords, kind):
                return self._load(field, coords, kind)
            case Apply(function, args):
                arguments = [self._known[arg] for arg in args]
                lo, hi = FUNCTIONS[function].interval(SYMBOLIC, *arguments)
                return as_expr(lo), as_expr(hi)
        raise AssertionError(expr)

    def _load(self, field: str, coords: tuple[Expr, ...], kind: Any) -> tuple[Expr, Expr]:
        intervals = [self._known[coord] for coord in coords]
        box = tuple(lo for lo, _ in intervals) + tuple(hi for _, hi in intervals)
        return Load(field + LEAST, box, kind), Load(field + GREATEST, box, kind)


class BoundsOfAnyFields(Bounds):
    """Bounds that hold whatever fields hold: a comparison with an integer that is looked up is undecided.

    `label[i] == label[j] and j <= i` may hold where `j.lo <= i.hi`. An integer without bounds has none here
    (`None` in place of its interval): infinities would be no integers, and the widest ones overflow.
    """

    def _compute(self, expr: Expr) -> tuple[Expr, Expr]:
        match expr:
            case Load(kind="bool"):
                return as_expr(False), as_expr(True)
            case Load():
                return UNBOUNDED
            case Apply(_, args) if any(self._known[arg] is UNBOUNDED for arg in args):
                return (as_expr(False), as_expr(True)) if expr.kind == "bool" else UNBOUNDED
        return super()._compute(expr)


UNBOUNDED: Any = (None, None)
"""The interval of an integer of which nothing is known."""
