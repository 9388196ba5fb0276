"""Whether two conditions exclude each other, for every coordinate and every size.

The two are written as alternatives, each a conjunction of linear inequalities and truth values. An
alternative is impossible if a truth value and its opposite occur, or if a sum of its inequalities with
positive weights reads `positive <= 0`, which Fourier-Motzkin elimination finds. What is not linear (floor
divisions, fields, products) counts as a variable of its own, about which its definition is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd

from attndsl.ir.index import Apply, ArithmeticProblem, Const, Expr, Load, Var, apply
from attndsl.ir.rewrite import Ranges
from attndsl.ir.tokens import TokenSet

MAX_ALTERNATIVES = 64
"""Alternatives that are looked at; with more, nothing is claimed."""
MAX_INEQUALITIES = 120
"""Inequalities during an elimination; with more, nothing is claimed."""
MAX_TERMS = 24
"""Variables of an alternative; with more, nothing is claimed."""


class _TooMany(Exception):
    """The conditions are too large to say anything about them."""


class Effort:
    """What proofs may cost in all: inequalities that are looked at. A spec is untrusted."""

    def __init__(self, left: int = 40_000) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        """Counts inequalities.

        Raises:
            _TooMany: nothing is left.
        """
        self.left -= count
        if self.left < 0:
            raise _TooMany


@dataclass(frozen=True)
class _Linear:
    """`constant + sum of factor * term`, as an inequality `... <= 0`."""

    factors: tuple[tuple[Expr, int], ...]
    constant: int

    @classmethod
    def of(cls, factors: Mapping[Expr, int], constant: int) -> _Linear:
        """Divided by the common factor, and rounded up: terms are integers."""
        kept = sorted(((t, f) for t, f in factors.items() if f), key=lambda item: id(item[0]))
        common = gcd(*(factor for _, factor in kept))
        if common > 1:
            return cls(tuple((t, f // common) for t, f in kept), -(-constant // common))
        return cls(tuple(kept), constant)

    def plus(self, other: _Linear, own: int, others: int) -> _Linear:
        """A sum with weights, which must be positive."""
        factors = {term: own * factor for term, factor in self.factors}
        for term, factor in other.factors:
            factors[term] = factors.get(term, 0) + others * factor
        return _Linear.of(factors, own * self.constant + others * other.constant)


def exclude(
    a: Expr, b: Expr, tokens: Iterable[tuple[str, TokenSet]], ranges: Ranges, effort: Effort | None = None
) -> bool:
    """Whether two conditions never hold for one pair. False means only that this is not known.

    Args:
        tokens: the sets that `i` and `j` range over.
        ranges: what is known of the variables.
        effort: what this proof and others may cost together.
    """
    effort = effort or Effort()
    below = {
        coord: axis.extent for role, own in tokens for coord, axis in zip(own.coordinates(role), own.axes)
    }
    try:
        effort.spend(1)
        return all(_impossible(parts, below, ranges, effort) for parts in _alternatives(a & b, True))
    except (_TooMany, ArithmeticProblem):
        return False


Literal = tuple[Expr, bool]
"""A condition, and whether it holds."""


def _alternatives(condition: Expr, holds: bool) -> list[frozenset[Literal]]:
    """Conjunctions, one of which is true if the condition holds (or does not)."""
    match condition:
        case Const(bool() as value):
            return [frozenset()] if value is holds else []
        case Apply("not", (inner,)):
            return _alternatives(inner, not holds)
        case Apply("and" | "or" as name, parts):
            every = [_alternatives(part, holds) for part in parts]
            if (name == "and") is holds:
                found: list[frozenset[Literal]] = [frozenset()]
                for options in every:
                    found = _limited([one | other for one in found for other in options])
                return found
            return _limited([option for options in every for option in options])
        case Apply("select", (test, a, b)) if condition.kind == "bool":
            return _alternatives((test & a) | (apply("not", test) & b), holds)
        case Apply("==", (a, b)) if not holds and a.kind == b.kind == "int":
            return [frozenset([(a < b, True)]), frozenset([(b < a, True)])]
        case _:
            return [frozenset([(condition, holds)])]


def _limited(found: list[frozenset[Literal]]) -> list[frozenset[Literal]]:
    distinct = list(dict.fromkeys(found))
    if len(distinct) > MAX_ALTERNATIVES:
        raise _TooMany
    return distinct


def _impossible(parts: frozenset[Literal], below: Mapping[Var, Expr], ranges: Ranges, effort: Effort) -> bool:
    if any((condition, not holds) in parts for condition, holds in parts):
        return True
    known = [inequality for condition, holds in parts for inequality in _inequalities(condition, holds)]
    return _contradict([*known, *_definitions(known, below, ranges)], effort)


def _inequalities(condition: Expr, holds: bool) -> Iterator[_Linear]:
    """A comparison of integers as `... <= 0`; nothing for other conditions."""
    match condition:
        case Apply("<" | "<=" as name, (a, b)) if a.kind == b.kind == "int":
            strict = int(name == "<")
            yield _linear(a, b, strict) if holds else _linear(b, a, 1 - strict)
        case Apply("==", (a, b)) if holds and a.kind == b.kind == "int":
            yield _linear(a, b, 0)
            yield _linear(b, a, 0)


def _linear(a: Expr, b: Expr, more: int) -> _Linear:
    """`a - b + more`."""
    factors: dict[Expr, int] = {}
    constant = more
    for side, sign in ((a, 1), (b, -1)):
        constant += _collect(side, sign, factors)
    return _Linear.of(factors, constant)


def _collect(expr: Expr, weight: int, factors: dict[Expr, int]) -> int:
    """Adds the terms of an expression; the result is its constant part."""
    match expr:
        case Const(int() as value):
            return weight * value
        case Apply("+", terms):
            return sum(_collect(term, weight, factors) for term in terms)
        case Apply("*", (Const(int() as factor), term)):
            return _collect(term, weight * factor, factors)
        case _:
            factors[expr] = factors.get(expr, 0) + weight
            return 0


def _definitions(known: list[_Linear], below: Mapping[Var, Expr], ranges: Ranges) -> Iterator[_Linear]:
    """What is known of the terms: ranges, and what floor divisions, minima, maxima and distances are."""
    waiting = [term for inequality in known for term, _ in inequality.factors]
    seen: set[Expr] = set()
    while waiting:
        term = waiting.pop()
        if term in seen:
            continue
        seen.add(term)
        if len(seen) > MAX_TERMS:
            raise _TooMany
        for fact in _facts(term, below, ranges):
            waiting += [other for other, _ in fact.factors]
            yield fact


def _facts(term: Expr, below: Mapping[Var, Expr], ranges: Ranges) -> Iterator[_Linear]:
    span = None if isinstance(term, Load) else ranges.of(term)
    if span is not None:
        yield _linear(term, Const(span[1]), 0)
        yield _linear(Const(span[0]), term, 0)
    match term:
        case Var() if term in below:
            yield _linear(term, below[term], 1)
        case Apply("//", (a, Const(int() as divisor))) if divisor > 0:
            yield _linear(divisor * term, a, 0)
            yield _linear(a, divisor * term + (divisor - 1), 0)
        case Apply("min", parts):
            yield from (_linear(term, part, 0) for part in parts)
        case Apply("max", parts):
            yield from (_linear(part, term, 0) for part in parts)
        case Apply("abs", (a,)):
            yield _linear(a, term, 0)
            yield _linear(-a, term, 0)


def _contradict(inequalities: Iterable[_Linear], effort: Effort) -> bool:
    """Fourier-Motzkin elimination: whether no numbers satisfy all inequalities."""
    known = set(inequalities)
    while True:
        effort.spend(len(known))
        if any(not inequality.factors and inequality.constant > 0 for inequality in known):
            return True
        terms = {term for inequality in known for term, _ in inequality.factors}
        if not terms:
            return False
        known = _without(min(terms, key=lambda term: _combinations(term, known)), known)
        if len(known) > MAX_INEQUALITIES:
            raise _TooMany


def _combinations(term: Expr, known: set[_Linear]) -> int:
    signs = [factor > 0 for inequality in known for other, factor in inequality.factors if other is term]
    return sum(signs) * (len(signs) - sum(signs)) - len(signs)


def _without(term: Expr, known: set[_Linear]) -> set[_Linear]:
    """What follows about the other terms."""
    above: list[tuple[_Linear, int]] = []
    under: list[tuple[_Linear, int]] = []
    kept: set[_Linear] = set()
    for inequality in known:
        factor = next((factor for other, factor in inequality.factors if other is term), 0)
        if factor > 0:
            above.append((inequality, factor))
        elif factor < 0:
            under.append((inequality, -factor))
        else:
            kept.add(inequality)
    return kept | {a.plus(b, g, f) for a, f in above for b, g in under}
