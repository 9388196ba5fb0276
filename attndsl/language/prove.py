"""Proofs that a condition holds for every coordinate and every extent."""

from __future__ import annotations

from collections.abc import Iterator

from attndsl.ir.index import Apply, ArithmeticProblem, Const, Expr, apply
from attndsl.ir.rewrite import Ranges


def proves(condition: Expr, ranges: Ranges) -> bool:
    """Whether a condition certainly holds. False means only that this is not known."""
    try:
        return _proves(condition, ranges)
    except ArithmeticProblem:
        return False


def _proves(condition: Expr, ranges: Ranges) -> bool:
    if ranges.decide(condition):
        return True
    match condition:
        case Apply("and", parts):
            return all(_proves(part, ranges) for part in parts)
        case Apply("or", parts):
            return any(_proves(part, ranges) for part in parts)
        case Apply("<" | "<=" as order, (Apply("max", parts), b)):
            return all(_proves(apply(order, part, b), ranges) for part in parts)
        case Apply("<" | "<=" as order, (a, Apply("min", parts))):
            return all(_proves(apply(order, a, part), ranges) for part in parts)
        case Apply("<" | "<=" as order, (Apply("min", parts), b)):
            return any(_proves(apply(order, part, b), ranges) for part in parts)
        case Apply("<" | "<=" as order, (a, Apply("max", parts))):
            return any(_proves(apply(order, a, part), ranges) for part in parts)
        case Apply("<" | "<=" as order, (Apply("select", (_, *branches)), b)):
            return all(_proves(apply(order, branch, b), ranges) for branch in branches)
        case Apply("<" | "<=" as order, (a, b)) if a.kind == b.kind == "int":
            return bool(ranges.decide(apply(order, a - b, 0))) or any(
                _proves(apply(order, larger, b), ranges) for larger in _not_below(a, ranges)
            )
    return False


def _not_below(expr: Expr, ranges: Ranges) -> Iterator[Expr]:
    """Simpler expressions that are never smaller: if they are small enough, so is this one."""
    match expr:
        case Apply("//" | "%" as name, (a, divisor)) if _proves(apply("<=", 1, divisor), ranges):
            if _proves(apply("<=", 0, a), ranges):
                yield a
            if name == "%":
                yield divisor - 1
        case Apply("*", (Const(factor), Apply("//", (a, Const(divisor))))) if factor == divisor > 0:
            yield a
