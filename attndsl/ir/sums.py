"""Expressions of a query and a key that are a term of the query plus a term of the key."""

from __future__ import annotations

from collections.abc import Iterable

from attndsl.ir.index import ZERO, Apply, Const, Expr, apply
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import variables

Apart = tuple[Expr, Expr]
"""What depends on the query (and on neither side), and what depends on the key; their sum is meant."""


def taken_apart(expr: Expr) -> Apart | None:
    """A sum taken apart, or a multiple of one whose factor is of neither side; None if it is no such sum.

    -slope * (i - j)      ->  -slope * i,  slope * j       Press et al., ALiBi, 2022
    """
    sides = sides_of(expr)
    if not sides or len(sides) == 1:
        return (ZERO, expr) if KEY in sides else (expr, ZERO)
    match expr:
        case Apply("real", (whole,)):
            parts = taken_apart(whole)
            return None if parts is None else (_real(parts[0]), _real(parts[1]))
        case Apply("/", (whole, divisor)) if not sides_of(divisor):
            return taken_apart(apply("/", 1.0, divisor) * whole)
        case Apply("+", terms):
            return _sum(taken_apart(term) for term in terms)
        case Apply("*", factors):
            shared = [factor for factor in factors if not sides_of(factor)]
            others = [factor for factor in factors if sides_of(factor)]
            inner = taken_apart(others[0]) if len(others) == 1 else None
            if inner is None or not shared:
                return None
            factor = apply("*", *shared) if len(shared) > 1 else shared[0]
            return factor * inner[0], factor * inner[1]
    return None


def _real(expr: Expr) -> Expr:
    """A whole number as a real one, its factor outside."""
    match expr:
        case Apply("*", (Const(factor), rest)):
            return float(factor) * apply("real", rest)
    return apply("real", expr)


def _sum(parts: Iterable[Apart | None]) -> Apart | None:
    query, key = ZERO, ZERO
    for part in parts:
        if part is None:
            return None
        query, key = query + part[0], key + part[1]
    return query, key


def sides_of(expr: Expr) -> set[str]:
    """Whose coordinates an expression depends on."""
    return {name.split(".")[0] for name in variables(expr) if name.startswith((QUERY + ".", KEY + "."))}
