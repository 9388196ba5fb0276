"""Conditions that hold for one range of a variable: its ends, as expressions of the other variables.

    j <= i and i - j < 8         j from i - 7 to i;  i from j to j + 7
    i // 4 == j // 4             j from i // 4 * 4 to i // 4 * 4 + 3;  i alike
    clamp(i - 3, 0, n - 7) <= j  j from clamp(i - 3, 0, n - 7) on

Other conditions have none here, nor have those that look up fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from attndsl.ir.index import TRUE, ZERO, Apply, Const, Expr, Var, apply
from attndsl.ir.walk import fields, variables


@dataclass(frozen=True)
class Range:
    """The integers from `lo` to `hi`, both included; it may be empty."""

    lo: Expr
    hi: Expr


def range_of(condition: Expr, name: str, last: Expr) -> Range | None:
    """The range in which a condition on integers holds; None if none is found.

    Args:
        name: the variable, from 0 to `last`. Ends may lie outside of that.
    """
    if fields(condition):
        return None
    ends = _Solver(name).holds(condition)
    if ends is None:
        return None
    return Range(ZERO if ends.lo is None else ends.lo, last if ends.hi is None else ends.hi)


@dataclass(frozen=True)
class _Ends:
    """A range, None where it has no end of its own."""

    lo: Expr | None = None
    hi: Expr | None = None


@dataclass(frozen=True)
class _Solver:
    name: str

    def holds(self, condition: Expr) -> _Ends | None:
        """Where a condition holds."""
        if condition is TRUE:
            return _Ends()
        match condition:
            case Apply("and", args):
                return _all(self.holds(arg) for arg in args)
            case Apply("<=" | "<" | "==" as relation, (a, b)) if a.kind == b.kind == "int":
                return self._compared(relation, a, b)
        return None

    def _mentioned(self, expr: Expr) -> bool:
        return self.name in variables(expr)

    def _compared(self, relation: str, a: Expr, b: Expr) -> _Ends | None:
        if self._mentioned(a) and self._mentioned(b):
            a, b = a - b, ZERO
        if not (self._mentioned(a) or self._mentioned(b)):
            return None
        if relation == "<":
            relation, b = "<=", b - 1
        ends = [self.at_most(a, b) if self._mentioned(a) else self.at_least(b, a)]
        if relation == "==":
            ends.append(self.at_least(a, b) if self._mentioned(a) else self.at_most(b, a))
        return _all(ends)

    def at_most(self, expr: Expr, bound: Expr) -> _Ends | None:
        """Where `expr <= bound`, which does not mention the variable."""
        match expr:
            case Var(self.name):
                return _Ends(hi=bound)
            case Apply("+", terms) if (term := self._only(terms)) is not None:
                return self.at_most(term, bound - (expr - term))
            case Apply("*", (Const(int() as factor), rest)) if factor > 0:
                return self.at_most(rest, bound // factor)
            case Apply("*", (Const(int() as factor), rest)):
                return self.at_least(rest, -(bound // -factor))
            case Apply("//", (rest, Const(int() as divisor))) if divisor > 0:
                return self.at_most(rest, bound * divisor + (divisor - 1))
            case Apply("abs", (rest,)):
                return _all([self.at_most(rest, bound), self.at_least(rest, -bound)])
            case Apply("max", args):
                return _all(self.holds(arg <= bound) for arg in args)
        return None

    def at_least(self, expr: Expr, bound: Expr) -> _Ends | None:
        """Where `expr >= bound`, which does not mention the variable."""
        match expr:
            case Var(self.name):
                return _Ends(lo=bound)
            case Apply("+", terms) if (term := self._only(terms)) is not None:
                return self.at_least(term, bound - (expr - term))
            case Apply("*", (Const(int() as factor), rest)) if factor > 0:
                return self.at_least(rest, -(-bound // factor))
            case Apply("*", (Const(int() as factor), rest)):
                return self.at_most(rest, -bound // -factor)
            case Apply("//", (rest, Const(int() as divisor))) if divisor > 0:
                return self.at_least(rest, bound * divisor)
            case Apply("min", args):
                return _all(self.holds(bound <= arg) for arg in args)
        return None

    def _only(self, terms: tuple[Expr, ...]) -> Expr | None:
        """The one term that mentions the variable."""
        found = [term for term in terms if self._mentioned(term)]
        return found[0] if len(found) == 1 else None


def _all(ranges: Iterable[_Ends | None]) -> _Ends | None:
    """What is in all of them."""
    found = list(ranges)
    if None in found:
        return None
    lows = [ends.lo for ends in found if ends is not None and ends.lo is not None]
    highs = [ends.hi for ends in found if ends is not None and ends.hi is not None]
    return _Ends(
        reduce(lambda a, b: _outer("max", a, b), lows) if lows else None,
        reduce(lambda a, b: _outer("min", a, b), highs) if highs else None,
    )


def _outer(name: str, a: Expr, b: Expr) -> Expr:
    """The larger or the smaller one, known where they are a number apart."""
    match a - b:
        case Const(value):
            return a if (value > 0) == (name == "max") else b
    return apply(name, a, b)
