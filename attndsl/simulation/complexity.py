"""Visible pairs as a formula of extents: counted at a few sizes, fitted, and checked at another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import product
from math import lcm, prod

from attndsl.ir.index import Const, Expr, Var

SAMPLES: tuple[int, ...] = (4, 5, 6)
"""Multiples of the step at which pairs are counted: they grow at most with the square of an extent."""

Count = Callable[[Mapping[str, int]], int]


def fitted_pairs(count: Count, base: Mapping[str, int], far: int) -> Expr | None:
    """A polynomial in the extents that gives the visible pairs at all sizes tried, or None.

    Args:
        count: visible pairs at some extents.
        base: the step of each extent: a common multiple of what the mask divides coordinates by.
        far: an extent near which the formula is checked, too: it must not hold for short sequences alone.
    """
    if not base:
        return Const(count({}))
    names = list(base)
    grid = {at: count(_sizes(base, at)) for at in product(SAMPLES, repeat=len(names))}
    values = {at: Fraction(found) for at, found in grid.items()}
    for axis in range(len(names)):
        values = _interpolated(values, axis, [Fraction(s * base[names[axis]]) for s in SAMPLES])
    coefficients = {powers: value for powers, value in values.items() if value}
    near = tuple(SAMPLES[-1] + 1 + at for at in range(len(names)))
    for at in (near, tuple(max(2 * SAMPLES[-1], far // step) for step in base.values())):
        sizes = _sizes(base, at)
        predicted = sum(
            value * prod(sizes[name] ** power for name, power in zip(names, powers))
            for powers, value in coefficients.items()
        )
        if predicted != count(sizes):
            return None
    return _formula(coefficients, names)


def _sizes(base: Mapping[str, int], at: tuple[int, ...]) -> dict[str, int]:
    return {name: step * factor for (name, step), factor in zip(base.items(), at)}


def _interpolated(
    values: Mapping[tuple[int, ...], Fraction], axis: int, points: list[Fraction]
) -> dict[tuple[int, ...], Fraction]:
    """Values at three points along an axis as coefficients of powers 0, 1, 2 (Newton's differences)."""
    a, b, c = points
    found: dict[tuple[int, ...], Fraction] = {}
    rest = dict.fromkeys((*at[:axis], *at[axis + 1 :]) for at in values)
    for others in rest:
        f, g, h = (values[(*others[:axis], label, *others[axis:])] for label in SAMPLES)
        slope, next_slope = (g - f) / (b - a), (h - g) / (c - b)
        curve = (next_slope - slope) / (c - a)
        powers = (f - slope * a + curve * a * b, slope - curve * (a + b), curve)
        found |= {(*others[:axis], power, *others[axis:]): value for power, value in enumerate(powers)}
    return found


def _formula(coefficients: Mapping[tuple[int, ...], Fraction], names: list[str]) -> Expr:
    """The polynomial, terms that grow fastest first."""
    below = lcm(*(value.denominator for value in coefficients.values())) if coefficients else 1
    total: Expr = Const(0)
    for powers, value in sorted(coefficients.items(), key=lambda item: (-sum(item[0]), item[0])):
        term: Expr = Const(int(value * below))
        for name, power in zip(names, powers):
            for _ in range(power):
                term = term * Var(name)
        total = total + term
    return total if below == 1 else total // below
