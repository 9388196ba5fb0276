"""Proofs that a condition holds for every coordinate and every extent."""

from __future__ import annotations

from attndsl.ir.index import Apply, ArithmeticProblem, Expr, apply
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
            return bool(ranges.decide(apply(order, a - b, 0)))
    return False
