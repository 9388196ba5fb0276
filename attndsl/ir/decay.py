"""Factors of weights that decay along the tokens: what is left of a key on the way to a query."""

from __future__ import annotations

from attndsl.ir.index import ZERO, Apply, Const, Expr, apply
from attndsl.ir.namespaces import Arrays
from attndsl.ir.sums import taken_apart
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.ir.walk import evaluate, fields, substitute, variables

HEAD = "head"
MOST_HEADS = 1 << 16
"""No program has more."""


def decay_of(times: Expr, query: TokenSet, key: TokenSet) -> Expr | None:
    """The function a of the query's coordinates for which `times` is exp(a(query) - a(key)); None if none is.

    exp(a[i] - a[j])      ->  a[i]               state spaces: Dao and Gu, Mamba-2, 2024
    0.9 ** (i - j)        ->  log(0.9) * i       Sun et al., Retentive networks, 2023
    """
    logarithm = _logarithm(times)
    parts = None if logarithm is None else taken_apart(logarithm)
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
