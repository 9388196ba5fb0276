"""Expressions of a query and a key that depend on nothing but how far apart these are."""

from __future__ import annotations

from attndsl.ir.index import Apply, Expr, Load, Var
from attndsl.ir.sums import sides_of
from attndsl.ir.walk import fields, substitute, variables

MOVED = "moved "


def of_distance(expr: Expr) -> bool:
    """Whether an expression is the same for a query and a key that are moved together, along any axes.

    table[i.h - j.h + 6, i.w - j.w + 6]        Liu et al., Swin Transformer, 2021
    """
    places = {name for name in variables(expr) if sides_of(Var(name))}
    moved: dict[str, Expr] = {name: Var(name) + Var(MOVED + name.partition(".")[2]) for name in places}
    return not any(name.startswith(MOVED) for name in variables(substitute(expr, moved)))


def linear_in_fields(expr: Expr) -> bool:
    """Whether fields are added and scaled, and nothing else: derivatives by them are finite."""
    match expr:
        case Load():
            return not fields(*expr.coords)
        case Apply("+" | "real", terms):
            return all(linear_in_fields(term) for term in terms)
        case Apply("*", factors):
            having = [factor for factor in factors if fields(factor)]
            return len(having) == 0 or (len(having) == 1 and linear_in_fields(having[0]))
    return not fields(expr)
