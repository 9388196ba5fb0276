"""Every rule of the table fires on what it shows and keeps the value; so does their combination."""

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from attndsl.ir.index import FALSE, ONE, TRUE, ZERO, Apply, Const, Load, Var, apply, as_expr
from attndsl.ir.namespaces import EXACT
from attndsl.ir.rewrite import RULES, Ranges, simplify
from attndsl.ir.text import show
from attndsl.ir.walk import evaluate, postorder
from tests.ir.strategies import (
    NAMES,
    PER_RULE,
    PROPERTY,
    booleans,
    boxes,
    expressions,
    i,
    integers,
    j,
    n,
    sample,
)

# `u` and `w` occur in no random expression, so a sum that contains one of them can neither fold to a
# constant nor lose a term to cancellation: the instances below keep the shape their rule asks for.
u, w = Var("u"), Var("w")
v = Var("v")
"""A divisor: its range contains neither zero nor one."""

POSITIVE = st.integers(1, 6)
PERIODS = st.integers(2, 9)
SIGNS = st.sampled_from((1, -1))
SLACK = st.sampled_from((0, 0, 1))
"""By how much an instance misses the condition of its rule: it must fire at 0, and be true anyway."""

INSTANCES = {}


def instance(shows):
    """Registers a function from (draw, box) to an expression and whether the rule must fire on it."""

    def register(build):
        assert shows not in INSTANCES
        INSTANCES[shows] = build
        return build

    return register


@st.composite
def wide_boxes(draw):
    box = draw(boxes((*NAMES, "u", "w"), limit=40, width=60))
    start, sign = draw(PERIODS), draw(SIGNS)
    ends = sign * start, sign * (start + draw(st.integers(0, 5)))
    return {**box, "v": (min(ends), max(ends))}


def opaque(draw, mark=u):
    """A random expression that is not a constant; a plain variable, often, meets its bounds for sure."""
    return (draw(integers(2)) if draw(st.booleans()) else ZERO) + mark


def comparison(draw, mark=u):
    """A random comparison that is not a constant."""
    return apply(draw(st.sampled_from(("<", "<=", "=="))), opaque(draw, mark), draw(integers(2)))


def ordered(draw, box, gap):
    """Two expressions whose ranges say that the second is larger by at least `gap`."""
    a, b = opaque(draw, u), opaque(draw, w)
    ranges = Ranges(box)
    return a, b + (ranges.of(a)[1] - ranges.of(b)[0] + gap)


def multiple_and_rest(draw, c):
    """`c*a + b`, where `b` may be a constant that itself contains a multiple of c."""
    if draw(st.booleans()):
        return c * opaque(draw) + draw(integers(2))
    return apply("abs", opaque(draw)) + draw(st.integers(-50, -1) | st.integers(c, 50))


@instance("(c*a + b) // c  ->  a + b // c            c > 0")
def divide_out(draw, box):
    c = draw(PERIODS)
    return multiple_and_rest(draw, c) // c, True


@instance("(c*a + b) % c  ->  b % c                  c > 0")
def drop_multiples(draw, box):
    c = draw(PERIODS)
    return multiple_and_rest(draw, c) % c, True


@instance("(a // c) // d  ->  a // (c*d)             c, d > 0")
def nested_floor(draw, box):
    c, d, sign = draw(PERIODS), draw(PERIODS), draw(st.sampled_from((1, 1, -1)))
    return opaque(draw) // c // (sign * d), sign > 0


@instance("(a % (c*d)) % d  ->  a % d                d > 0")
def nested_mod(draw, box):
    c, d, slack = draw(POSITIVE) * draw(SIGNS), draw(PERIODS), draw(SLACK)
    return opaque(draw) % (c * d + slack) % d, slack == 0


@instance("(a % (c*d)) // d  ->  (a // d) % c        c, d > 0")
def mod_of_floor(draw, box):
    c, d, slack = draw(POSITIVE), draw(PERIODS), draw(SLACK)
    return opaque(draw) % (c * d + slack) // d, slack == 0


@instance("a // b  ->  its value                     if one value is possible")
def small_quotient(draw, box):
    if draw(st.booleans()):
        start = min(box["v"], key=abs)
        return opaque(draw) % start // v, True
    c, sign, slack = draw(PERIODS), draw(SIGNS), draw(SLACK)
    return (opaque(draw) % (sign * (c + slack)) + draw(st.integers(-3, 3)) * c) // (sign * c), slack == 0


@instance("a % b  ->  a                              if 0 <= a < b")
def small_remainder(draw, box):
    slack = draw(SLACK)
    if box["v"][0] > 0 and draw(st.booleans()):
        return opaque(draw) % (box["v"][0] + slack) % v, slack == 0
    c = draw(PERIODS)
    below, above = draw(st.permutations((slack, 0)))
    return (opaque(draw) % (c + above) - below) % c, slack == 0


@instance("c*(a // c) + a % c  ->  a")
def floor_plus_mod(draw, box):
    a, c = opaque(draw), draw(PERIODS.map(as_expr) | st.integers(-9, -1).map(as_expr) | st.just(v))
    return c * (a // c) + a % c + draw(integers(2)), True


@instance("min(a, b)  ->  a                          if a <= b always; max alike")
def decided_minimum(draw, box):
    gap = draw(st.integers(-1, 2))
    operands = draw(st.permutations(ordered(draw, box, gap)))
    return apply(draw(st.sampled_from(("min", "max"))), *operands), gap >= 0


def decided(draw, box):
    """A condition that the ranges decide if the slack is 0."""
    slack = draw(SLACK)
    a, b = ordered(draw, box, 1 - slack)
    simple = draw(st.sampled_from((a < b, b <= a, b < a + slack, apply("==", a, b))))
    if draw(st.booleans()):
        simple = apply("not", simple)
    undecided = comparison(draw, w)
    return draw(st.sampled_from((simple, simple & (simple | undecided)))), slack == 0


@instance("condition  ->  true or false              if its range decides it")
def decided_condition(draw, box):
    return decided(draw, box)


@instance("a if c else b  ->  a or b                 if c is decided")
def decided_select(draw, box):
    test, must = decided(draw, box)
    return apply("select", test, opaque(draw, u), opaque(draw, w)), must


@instance("abs(a)  ->  a or -a                       if the sign is known")
def decided_abs(draw, box):
    a, gap = opaque(draw), draw(st.integers(-1, 2))
    lo, hi = Ranges(box).of(a)
    moved = draw(st.sampled_from((a - lo + gap, a - hi - gap)))
    return apply("abs", moved), gap >= 0


@instance("a + t <= b + t  ->  a <= b                < and == alike")
def cancel_comparison(draw, box):
    t = draw(POSITIVE) * draw(SIGNS) * opaque(draw) + draw(st.integers(-3, 3))
    a, b = opaque(draw, w), draw(integers(2))
    return apply(draw(st.sampled_from(("<", "<=", "=="))), *draw(st.permutations((a + t, b + t)))), True


@instance("a and not a  ->  false                    or: true")
def exclusive(draw, box):
    name, a = draw(st.sampled_from(("and", "or"))), comparison(draw)
    operands = a, apply("not", a), comparison(draw, w)
    return apply(name, *draw(st.permutations(operands))), True


@instance("a and (a or b)  ->  a                     and its dual")
def absorb(draw, box):
    name, dual = draw(st.permutations(("and", "or")))
    a, other, unrelated = comparison(draw), comparison(draw, w), apply("ispow2", opaque(draw, w))
    operands = a, apply(dual, *draw(st.permutations((a, other)))), apply(dual, other, unrelated)
    return apply(name, *draw(st.permutations(operands))), True


def same(before, after, points):
    """Asserts that two expressions have one kind and equal values."""
    note(f"{show(before)}  ->  {show(after)}")
    assert before.kind == after.kind
    for point in points:
        assert evaluate(before, point, EXACT) == evaluate(after, point, EXACT), point


def test_every_rule_has_instances():
    assert list(INSTANCES) == [rule.shows for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.apply.__name__.strip("_"))
@PER_RULE
@given(data=st.data())
def test_rule(rule, data):
    box = data.draw(wide_boxes())
    node, must = data.draw(st.composite(lambda draw: INSTANCES[rule.shows](draw, box))())
    after = rule.apply(node, Ranges(box))
    if must:
        assert after is not None, show(node)
        assert after is not node
    if after is not None:
        same(node, after, sample(box))


@PROPERTY
@given(expressions(), boxes())
def test_rules_are_true_wherever_they_fire(expr, box):
    ranges = Ranges(box)
    for node in postorder([expr]):
        for rule in RULES:
            after = rule.apply(node, ranges)
            if after is not None:
                note(rule.shows)
                same(node, after, sample(box))


@PROPERTY
@given(expressions(), boxes(width=12))
def test_simplify_keeps_the_value(expr, box):
    same(expr, simplify(expr, Ranges(box)), sample(box))


@PROPERTY
@given(expressions(), boxes(limit=60, width=60))
def test_simplify_without_ranges_keeps_the_value_everywhere(expr, box):
    same(expr, simplify(expr), sample(box))


@PROPERTY
@given(expressions(), boxes())
def test_simplify_leaves_nothing_to_do(expr, box):
    ranges = Ranges(box)
    once = simplify(expr, ranges)
    for node in postorder([once]):
        for rule in RULES:
            assert rule.apply(node, ranges) is None, (rule.shows, show(once))


@PROPERTY
@given(expressions(), boxes())
def test_ranges_and_decisions_are_true(expr, box):
    ranges = Ranges(box)
    values = [evaluate(expr, point, EXACT) for point in sample(box)]
    lo, hi = ranges.of(expr)
    assert all(lo <= value <= hi for value in values)
    if expr.kind == "bool" and ranges.decide(expr) is not None:
        assert set(values) == {ranges.decide(expr)}


KNOWN = {"i": (0, 63), "j": (0, 63), "n": (64, 128)}


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ((6 * i + 4 * j + 11) // 2, 3 * i + 2 * j + 5),
        ((i - 1) // 4, (i + 3) // 4 - 1),
        ((8 * i + j % 8) // 8, i),
        ((8 * i + j % 8) % 8, j % 8),
        (i // 2 // 4 * 8 + i % 8, i),
        (i % 64, i),
        (i % 12 // 4, i // 4 % 3),
        (apply("min", i, n - 1), i),
        (apply("max", 0, apply("min", i - 70, n)), ZERO),
        (apply("abs", i - n), -i + n),
        (apply("select", j < n, i, 0), i),
        (i + j * 2 <= j * 2 + n, TRUE),
        (i - j < n - j - 1, i < n - 1),
        ((i < j) & (j <= i), FALSE),
        ((i < j) | ((i < j) & apply("ispow2", i)), i < j),
        (i // n + i % n, i),
        (n // 128, n // 128),
    ],
    ids=lambda expr: show(expr) if not isinstance(expr, bool) else str(expr),
)
def test_simplify_known_expressions(expr, expected):
    assert simplify(expr, Ranges(KNOWN)) is expected


def test_simplify_works_inside_lookups():
    load = Load("label", ((4 * i + 2) // 4,))
    assert simplify(load + load % ONE) is Load("label", (i,))


def test_a_variable_without_a_range_is_not_guessed():
    ranges = Ranges({"i": (0, 5)})
    assert ranges.of(i) == (0, 5)
    assert ranges.of(i + j) is None
    assert ranges.decide(i < j) is None
    assert ranges.decide(i < 6) is True
    assert ranges.decide(i > 5) is False
    assert isinstance(simplify(apply("min", i, j), ranges), Apply)


def test_divisors_that_multiply_past_64_bits_stay_apart():
    nested = i // 2**40 // 2**40
    assert simplify(nested) is nested


def test_a_division_by_zero_is_left_alone():
    assert simplify(i // 0 + i % 0, Ranges({"i": (1, 5)})) is i // 0 + i % 0


@PER_RULE
@given(booleans(2), boxes())
def test_a_condition_and_its_negation_decide_oppositely(expr, box):
    ranges = Ranges(box)
    opposite = {True: False, False: True, None: None}
    assert ranges.decide(apply("not", expr)) is opposite[ranges.decide(expr)]


def test_simplify_takes_a_constant():
    assert simplify(Const(3)) is Const(3)
