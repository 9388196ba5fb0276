"""Random index expressions, built as users of `ir.index` build them, and boxes to evaluate them on."""

import operator
import random
from functools import cache
from itertools import product

from hypothesis import settings
from hypothesis import strategies as st

from attndsl.ir.index import FALSE, TRUE, Var, apply, as_expr

NAMES = ("i", "j", "n")
i, j, n = (Var(name) for name in NAMES)

# No database: a run leaves no failing examples behind in the checkout, and every run is like the first.
PROPERTY = settings(max_examples=150, deadline=None, database=None)
PER_RULE = settings(max_examples=60, deadline=None, database=None)

# Variables as often as constants: expressions of constants fold away.
LEAVES = st.sampled_from((*(i, j, n) * 6, *map(as_expr, range(-8, 9))))
DIVISORS = st.integers(1, 8) | st.integers(-8, -1)


def calls(name, *arguments):
    """The function `name` applied to random arguments."""
    return st.builds(apply, st.just(name), *arguments)


@cache
def integers(depth=3):
    """Integer expressions over i, j, n; depth 3 keeps every value far below 64 bits."""
    if depth == 0:
        return LEAVES
    a = integers(depth - 1)
    return st.one_of(
        *([LEAVES] if depth == 1 else []),
        st.builds(operator.add, a, a),
        st.builds(operator.sub, a, a),
        st.builds(operator.mul, a, a),
        st.builds(operator.neg, a),
        st.builds(operator.floordiv, a, DIVISORS),
        st.builds(operator.mod, a, DIVISORS),
        calls("min", a, a),
        calls("max", a, a),
        calls("abs", a),
        calls("ceilpow2", a),
        calls("select", booleans(depth - 1), a, a),
    )


@cache
def booleans(depth=3):
    """Boolean expressions over i, j, n; at depth 0 a comparison of two leaves."""
    a = integers(max(depth - 1, 0))
    comparisons = st.one_of(
        st.builds(operator.lt, a, a),
        st.builds(operator.le, a, a),
        st.builds(operator.gt, a, a),
        calls("==", a, a),
    )
    if depth == 0:
        return comparisons
    p = booleans(depth - 1)
    return st.one_of(
        comparisons,
        st.builds(operator.and_, p, p),
        st.builds(operator.or_, p, p),
        calls("not", p),
        calls("ispow2", a),
        calls("select", p, p, p),
        *([st.sampled_from((TRUE, FALSE))] if depth == 1 else []),
    )


def expressions(depth=3):
    """Integer or boolean expressions."""
    return integers(depth) | booleans(depth)


@st.composite
def boxes(draw, names=NAMES, limit=20, width=3):
    """A range for each name, within -limit..limit and at most `width` beyond its start."""
    box = {}
    for name in names:
        lo = draw(st.integers(-limit, limit))
        box[name] = (lo, lo + draw(st.integers(0, width)))
    return box


def points(box):
    """Every integer point of a small box."""
    ranges = [range(lo, hi + 1) for lo, hi in box.values()]
    return [dict(zip(box, values)) for values in product(*ranges)]


def sample(box, count=14):
    """Points of a box, the same ones every time; half of them are corners, where bounds are met."""
    dice = random.Random(repr(box))
    corners = [{name: dice.choice(ends) for name, ends in box.items()} for _ in range(count // 2)]
    return corners + [{name: dice.randint(*ends) for name, ends in box.items()} for _ in range(count // 2)]
