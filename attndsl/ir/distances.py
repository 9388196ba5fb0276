"""Expressions of a query and a key that depend on nothing but how far apart these are.

Tiles that are moved together have one such bias. Where it is linear in the fields that it looks up, hidden
pairs have no infinite derivative to fear.
"""

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
    """Whether fields are added, and scaled alike for all pairs, and no more: derivatives by them are finite.

    A factor of the place, such as `log(i - j)`, may be infinite where a pair is hidden.
    """
    match expr:
        case Load():
            return not fields(*expr.coords)
        case Apply("+" | "real", terms):
            return all(linear_in_fields(term) for term in terms)
        case Apply("*", factors):
            having = [factor for factor in factors if fields(factor)]
            alike = not any(sides_of(factor) for factor in factors if not fields(factor))
            return not having or (alike and len(having) == 1 and linear_in_fields(having[0]))
    return not fields(expr)
