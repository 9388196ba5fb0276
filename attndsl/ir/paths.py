"""Factors of weights that are products along a path on a grid: first along one axis, then along the other.

A factor t of the pair (i, j) is one if t = a(i.h, j.h, j.w) * b(i.h, i.w, j.w): from the key down its own
column to the query's row, then along that row. As matrices of all pairs t = B A, where A mixes tokens of a
column and B tokens of a row alone, so that t times a vector costs n * (h + w) instead of n * n.

Source: PPMA: Polyline Path Masked Attention for Vision Transformer, 2025, appendix: L = L_H L_V.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from attndsl.ir.decay import ends_of
from attndsl.ir.index import Apply, Const, Expr, apply
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.ir.walk import variables

ORDERS = ((0, 1), (1, 0))
"""Axes in the order in which a path from the key to the query takes them."""
MOST_PATHS = 4
"""A sum of more is computed pair by pair."""


@dataclass(frozen=True)
class Path:
    """A product of what the two steps of a path leave of a key.

    Attributes:
        order: the axis of the first step, and that of the second.
        first: a factor without the query's place on the second axis.
        second: one without the key's place on the first axis.
    """

    order: tuple[int, int]
    first: Expr
    second: Expr


def paths_of(times: Expr, query: TokenSet, key: TokenSet) -> tuple[Path, ...] | None:
    """The paths of whose factors `times` is the sum; None if it is no such sum.

    exp(-abs(a[i] - a[i.h, j.w]) - abs(b[i.h, j.w] - b[j]))  ->  exp(-abs(b...)), then exp(-abs(a...))
    0.9 ** (abs(i.h - j.h) + abs(i.w - j.w))                 ->  0.9 ** abs(i.h - j.h), then 0.9 ** ...

    Exponents are taken apart only where no part is positive: the parts of a small weight are no larger than
    one, so that nothing overflows which would not in the definition.
    """
    if len(query.axes) != 2 or query != key:
        return None
    terms = _terms(times)
    paths = [_path(term, query) for term in terms] if len(terms) <= MOST_PATHS else [None]
    found = tuple(path for path in paths if path is not None)
    return found if len(found) == len(paths) else None


def by_lines_or_pairs(paths: int, extents: tuple[Expr, ...], score: Expr, width: Expr) -> Expr:
    """Multiplications and additions per head: two steps of every path, or the scores of all pairs."""
    count = extents[0] * extents[1]
    by_lines = 2 * paths * count * score * width * (extents[0] + extents[1])
    return apply("min", by_lines, 2 * count * count * (score + width))


def _terms(expr: Expr) -> list[Expr]:
    """The terms of a sum; a number before it or below it, or one of every head, is put into each."""
    match expr:
        case Apply("+", parts):
            return [term for part in parts for term in _terms(part)]
        case Apply("real", (whole,)):
            return [apply("real", term) for term in _terms(whole)]
        case Apply("*", parts):
            shared = [part for part in parts if ends_of(part) is not None]
            others = [part for part in parts if part not in shared]
            if len(others) == 1 and shared:
                return [apply("*", *shared, term) for term in _terms(others[0])]
        case Apply("/", (whole, below)) if ends_of(below) is not None:
            return [term / below for term in _terms(whole)]
    return [expr]


def _path(term: Expr, tokens: TokenSet) -> Path | None:
    factors = list(_factors(term))
    at_query, at_key = ([place.name for place in tokens.coordinates(side)] for side in (QUERY, KEY))
    for order in ORDERS:
        begin, end = at_key[order[0]], at_query[order[1]]
        first = [factor for factor in factors if begin in variables(factor)]
        if all(end not in variables(factor) for factor in first):
            return Path(order, _product(first), _product(f for f in factors if f not in first))
    return None


def _product(factors: Iterable[Expr]) -> Expr:
    every = list(factors)
    return apply("*", *every) if len(every) > 1 else every[0] if every else Const(1.0)


def _factors(expr: Expr) -> Iterable[Expr]:
    match expr:
        case Apply("*", parts):
            for part in parts:
                yield from _factors(part)
        case Apply("/", (whole, below)):
            yield from _factors(whole)
            yield apply("/", 1.0, below)
        case Apply("exp", (exponent,)) if all(_sign(part) == -1 for part in _terms(exponent)):
            yield from (apply("exp", part) for part in _terms(exponent))
        case Apply("**", (base, exponent)) if _fades(base) and all(
            _sign(part) == 1 for part in _terms(exponent)
        ):
            yield from (apply("**", base, part) for part in _terms(exponent))
        case _:
            yield expr


def _fades(base: Expr) -> bool:
    """Whether the powers of a base are smaller the larger the exponent."""
    ends = ends_of(base)
    return ends is not None and ends[0] > 0 and ends[1] <= 1


def _sign(expr: Expr) -> int | None:
    """1 if an expression is seen to be nowhere negative without knowing any field, -1 if nowhere positive."""
    ends = ends_of(expr)
    if ends is not None:
        return 1 if ends[0] >= 0 else -1 if ends[1] <= 0 else None
    match expr:
        case Apply("abs" | "exp" | "sigmoid" | "relu", _):
            return 1
        case Apply("real", (whole,)):
            return _sign(whole)
        case Apply("+" | "*" | "/" as function, parts):
            signs = [sign for part in parts if (sign := _sign(part)) is not None]
            if len(signs) == len(parts):
                return prod(signs) if function != "+" else signs[0] if len(set(signs)) == 1 else None
    return None
