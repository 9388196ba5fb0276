"""Factors of weights that decay along the tokens: what is left of a key on the way to a query."""

from __future__ import annotations

from collections.abc import Iterable

from attndsl.ir.index import ZERO, Apply, Const, Expr, apply
from attndsl.ir.namespaces import Arrays
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.ir.walk import evaluate, fields, substitute, variables

HEAD = "head"
MOST_HEADS = 1 << 16
"""No program has more."""

Apart = tuple[Expr, Expr]
"""What depends on the query (and on neither side), and what depends on the key; their sum is meant."""


def decay_of(times: Expr, query: TokenSet, key: TokenSet) -> Expr | None:
    """The function a of the query's coordinates for which `times` is exp(a(query) - a(key)); None if none is.

    exp(a[i] - a[j])      ->  a[i]               state spaces: Dao and Gu, Mamba-2, 2024
    0.9 ** (i - j)        ->  log(0.9) * i       Sun et al., Retentive networks, 2023
    """
    logarithm = _logarithm(times)
    parts = None if logarithm is None else _apart(logarithm)
    if parts is None:
        return None
    places = zip(key.coordinates(KEY), query.coordinates(QUERY))
    at_query = substitute(parts[1], {own.name: other for own, other in places})
    return parts[0] if parts[0] + at_query in (ZERO, Const(0.0)) else None


def _logarithm(times: Expr) -> Expr | None:
    """The logarithm of a product of powers."""
    match times:
        case Apply("exp", (exponent,)):
            return exponent
        case Apply("**", (base, exponent)) if _is_positive(base):
            return apply("log", base) * exponent
        case Apply("*", factors):
            parts = [_logarithm(factor) for factor in factors]
            known = [part for part in parts if part is not None]
            return apply("+", *known) if len(known) == len(parts) else None
    return None


def _is_positive(base: Expr) -> bool:
    """Whether a base, a number or one of every head, is positive."""
    ends = ends_of(base)
    return ends is not None and ends[0] > 0


def ends_of(base: Expr) -> tuple[float, float] | None:
    """The least and the greatest value of a number, or of one of every head; None if it is neither."""
    match base:
        case Const(value):
            return float(value), float(value)
    if variables(base) != {HEAD} or fields(base):
        return None
    import numpy as np  # few programs need it here, and start-up would wait for it

    values = np.asarray(evaluate(base, {HEAD: np.arange(MOST_HEADS)}, Arrays(np, np.float64)))
    return float(values.min()), float(values.max())


def _apart(expr: Expr) -> Apart | None:
    """A sum taken apart, and a multiple of one whose factor is of neither side."""
    sides = _sides(expr)
    if not sides or len(sides) == 1:
        return (ZERO, expr) if KEY in sides else (expr, ZERO)
    match expr:
        case Apply("real", (whole,)):
            parts = _apart(whole)
            return None if parts is None else (_real(parts[0]), _real(parts[1]))
        case Apply("/", (whole, divisor)) if not _sides(divisor):
            return _apart(apply("/", 1.0, divisor) * whole)
        case Apply("+", terms):
            return _sum(_apart(term) for term in terms)
        case Apply("*", factors):
            shared = [factor for factor in factors if not _sides(factor)]
            others = [factor for factor in factors if _sides(factor)]
            inner = _apart(others[0]) if len(others) == 1 else None
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


def _sides(expr: Expr) -> set[str]:
    """Whose coordinates an expression depends on."""
    return {name.split(".")[0] for name in variables(expr) if name.startswith((QUERY + ".", KEY + "."))}
