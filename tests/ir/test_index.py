"""Constructors fold, collect and share; arithmetic is Python's; nothing is slow or unbounded."""

import operator
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attndsl.ir.bounds import Bounds
from attndsl.ir.index import (
    FALSE,
    MAX_INTEGER,
    ONE,
    TRUE,
    ZERO,
    Apply,
    ArithmeticProblem,
    Const,
    Load,
    Var,
    apply,
    as_expr,
)
from attndsl.ir.namespaces import EXACT
from attndsl.ir.rewrite import Ranges, simplify
from attndsl.ir.walk import evaluate, evaluate_all, fields, postorder, substitute, transform, variables
from tests.ir.strategies import NAMES, PER_RULE, PROPERTY, boxes, expressions, i, j, n, sample

SMALL = st.integers(-30, 30)
NOT_ZERO = SMALL.filter(bool)
P, Q = i < j, apply("ispow2", i)


def test_equal_expressions_are_one_object():
    assert Var("i") is i
    assert (i + 2 * j) // 3 is (i + 2 * j) // 3
    assert Const(1) is ONE
    assert Load("f", (i, j)) is Load("f", (i, j))


def test_kinds_are_told_apart():
    assert len({Const(1), Const(1.0), Const(True)}) == 3
    assert Var("i") is not Var("i", "real")
    assert [Const(value).kind for value in (1, 1.0, True)] == ["int", "real", "bool"]


def test_a_default_kind_may_be_spelled_out():
    assert Var("i") is Var("i", "int")
    assert Load("f", (i,)) is Load("f", (i,), "int")
    assert substitute(Load("f", (j,)), {"j": i}) is Load("f", (i,))


def test_nodes_cannot_be_changed():
    with pytest.raises(AttributeError):
        i.name = "j"


def test_an_expression_has_no_truth_value():
    with pytest.raises(TypeError, match="no truth value"):
        bool(i < j)


@PROPERTY
@given(expressions())
def test_rebuilding_gives_the_same_object(expr):
    assert transform(expr, lambda node: node) is expr
    renamed = substitute(expr, {"i": Var("x"), "j": Var("y")})
    assert substitute(renamed, {"x": i, "y": j}) is expr


@PROPERTY
@given(expressions(), boxes())
def test_substituting_numbers_folds_to_the_value(expr, box):
    """Folding constants, the identities of the constructors and evaluation are one semantics."""
    for point in sample(box, count=4):
        folded = substitute(expr, point)
        assert isinstance(folded, Const)
        assert folded.value == evaluate(expr, point, EXACT)
        assert folded.kind == expr.kind


SAME = [
    (i + j - i, j),
    (i - i, ZERO),
    (2 * i + j + 3 * i, 5 * i + j),
    (i + 1 + j + 2, i + j + 3),
    (3 * (i - j + 2), 3 * i - 3 * j + 6),
    (2 * (3 * i), 6 * i),
    (-1 * -i, i),
    (i * j * n, i * (j * n)),
    (2 * (i * j) * n, 2 * (i * j * n)),
    (i * 0, ZERO),
    (i * 1 + 0, i),
    (5 - i - 5, -i),
    (i // 1, i),
    (i % 1, ZERO),
    (i**1, i),
    (i > j, j < i),
    (i >= j, j <= i),
    (i < i, FALSE),
    (i <= i, TRUE),
    (apply("==", i, i), TRUE),
    (apply("not", i < j), j <= i),
    (apply("not", i <= j), j < i),
    (apply("not", apply("not", Q)), Q),
    (P & TRUE, P),
    (P & FALSE, FALSE),
    (P | FALSE, P),
    (P | TRUE, TRUE),
    (P & Q & P, P & Q),
    (P & (Q & P), P & Q),
    (apply("and"), TRUE),
    (apply("or"), FALSE),
    (apply("min", i, i), i),
    (apply("min", 3, apply("min", i, 2)), apply("min", i, 2)),
    (apply("max", apply("max", i, j), n), apply("max", i, j, n)),
    (apply("select", TRUE, i, j), i),
    (apply("select", FALSE, i, j), j),
    (apply("select", P, i, i), i),
    (apply("real", apply("real", i)), apply("real", i)),
    (as_expr(-7) // 2, Const(-4)),
    (as_expr(-7) % 2, ONE),
    (as_expr(7) // -2, Const(-4)),
    (as_expr(7) % -2, Const(-1)),
    (as_expr(2) ** 10, Const(1024)),
    (apply("abs", -4), Const(4)),
    (apply("ispow2", 0), FALSE),
    (apply("ispow2", 64), TRUE),
    (apply("ispow2", -2), FALSE),
    (apply("ceilpow2", 5), Const(8)),
    (apply("ceilpow2", -5), ONE),
]


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_a_choice_between_conditions_is_a_condition(test, a, b):
    conditions = [apply("==", name, 1) for name in (i, j, n)]
    values = {"i": int(test), "j": int(a), "n": int(b)}
    assert evaluate(apply("select", *conditions), values, EXACT) is (a if test else b)


@pytest.mark.parametrize(("built", "expected"), SAME)
def test_constructors_fold_and_collect(built, expected):
    assert built is expected


OPERATORS = [operator.add, operator.sub, operator.mul, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("operation", OPERATORS)
@PER_RULE
@given(SMALL, SMALL)
def test_operators_are_pythons(operation, a, b):
    values = {"i": a, "j": b}
    assert operation(as_expr(a), b) is Const(operation(a, b))
    assert evaluate(operation(i, j), values, EXACT) == operation(a, b)
    assert evaluate(operation(i, b), values, EXACT) == operation(a, b)
    assert evaluate(operation(a, j), values, EXACT) == operation(a, b)


@pytest.mark.parametrize("operation", [operator.floordiv, operator.mod])
@PER_RULE
@given(SMALL, NOT_ZERO)
def test_floor_and_remainder_are_pythons(operation, a, b):
    assert operation(as_expr(a), b) is Const(operation(a, b))
    assert evaluate(operation(i, b), {"i": a}, EXACT) == operation(a, b)
    assert evaluate(operation(i, j), {"i": a, "j": b}, EXACT) == operation(a, b)


@contextmanager
def quickly(seconds=2.0):
    """Fails if the block is slow: what it guards against takes minutes or gigabytes."""
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < seconds


BOMBS = {
    "tower": lambda: as_expr(9) ** 9**9,
    "power": lambda: as_expr(-2) ** (MAX_INTEGER - 1),
    "real exponent": lambda: apply("**", 3, 1e18),
    "infinite exponent": lambda: apply("**", 3, float("inf")),
    "just too large": lambda: as_expr(2) ** 62,
    "literal": lambda: as_expr(10**100_000),
    "negative literal": lambda: as_expr(-MAX_INTEGER),
    "sum": lambda: as_expr(MAX_INTEGER - 1) + 1,
    "sum of terms": lambda: (i + (MAX_INTEGER - 1)) + 1,
    "coefficient": lambda: (MAX_INTEGER - 1) * i + i,
    "product": lambda: as_expr(2**31) * 2**31,
    "product of terms": lambda: 2**31 * (2**31 * i),
    "distributed product": lambda: 2**31 * (2**31 * i + j),
    "operand": lambda: i + MAX_INTEGER,
    "ceilpow2": lambda: apply("ceilpow2", 2**61 + 1),
    "exp": lambda: apply("exp", 1e9),
    "real power": lambda: apply("**", 10.0, 400.0),
}
NO_VALUE = {
    "floor by zero": lambda: as_expr(1) // 0,
    "remainder by zero": lambda: as_expr(1) % 0,
    "quotient by zero": lambda: apply("/", 1.0, 0.0),
    "negative power of zero": lambda: as_expr(0) ** -1,
    "logarithm": lambda: apply("log", -1.0),
    "root": lambda: apply("sqrt", -1.0),
    "complex": lambda: apply("**", -8.0, 0.5),
}


@pytest.mark.parametrize("build", (BOMBS | NO_VALUE).values(), ids=BOMBS | NO_VALUE)
def test_constants_without_a_usable_value_are_refused_quickly(build):
    with quickly(), pytest.raises(ArithmeticProblem):
        build()


def test_the_largest_integers_are_accepted():
    assert as_expr(2**61) + (2**61 - 1) is Const(MAX_INTEGER - 1)
    assert as_expr(2) ** 61 is Const(2**61)
    assert as_expr(-1) ** (MAX_INTEGER - 1) is Const(-1)
    assert (1 - MAX_INTEGER) * i is Const(1 - MAX_INTEGER) * i


def square_and_add(x, level):
    return x * x + 1


def multiply(x, level):
    return (x * i) * (x * j)


def step(x, level):
    """Its values stay small, so it can be evaluated."""
    return (x * x + level * i + x) % 97 - x // 5


def select(x, level):
    return apply("select", x % 7 < level, x + j, apply("abs", x) - x % 5)


def extremes(x, level):
    return apply("max", apply("min", x + 1, level * j - x), x - 1) % 1000


def branch(x, level):
    return ((x | (i < level)) & (x | (j <= level))) | (apply("not", x) & (n < level))


def negate(x, level):
    return apply("not", (x & (i < level)) | apply("not", x & apply("ispow2", j + level)))


DEPTH = 60
SHARED = [(i + 2, grow) for grow in (square_and_add, multiply, step, select, extremes)]
SHARED += [(P, branch), (P, negate)]
BOUNDED = [case for case in SHARED if case[1] not in (square_and_add, multiply)]
BOX = dict.fromkeys(NAMES, (-3, 9))


def size(*exprs):
    """The number of nodes and of the references between them."""
    nodes = list(postorder(exprs))
    return len(nodes) + sum(len(node.args) for node in nodes if isinstance(node, Apply))


def tower(start, grow):
    x = start
    for level in range(1, DEPTH + 1):
        x = grow(x, level)
        if level == 14:  # where exponential growth shows already, but does not yet hang the tests
            assert size(x) < 50 * level
    return x


@pytest.mark.parametrize(("start", "grow"), SHARED)
def test_shared_expressions_stay_small(start, grow):
    """Each level refers to the one below at least twice: as a tree it would have 2**60 nodes."""
    with quickly():
        top = tower(start, grow)
        assert size(top) < 50 * DEPTH
        assert transform(top, lambda node: node) is top
        assert variables(top) <= set(NAMES)


@pytest.mark.parametrize(("start", "grow"), BOUNDED)
def test_shared_expressions_evaluate_fast(start, grow):
    point = {"i": 5, "j": -2, "n": 7}
    expected = tower(substitute(start, point), grow)
    with quickly():
        assert evaluate(tower(start, grow), point, EXACT) == substitute(expected, point).value


@pytest.mark.parametrize(("start", "grow"), SHARED)
@pytest.mark.parametrize("ranges", [Ranges({}), Ranges(BOX)], ids=["unknown", "known"])
def test_shared_expressions_simplify_fast(start, grow, ranges):
    top = tower(start, grow)
    with quickly(5.0):
        simpler = simplify(top, ranges)
    if grow not in (square_and_add, multiply):
        for point in sample(BOX, count=4):
            assert evaluate(top, point, EXACT) == evaluate(simpler, point, EXACT)


@pytest.mark.parametrize(("start", "grow"), SHARED)
def test_bounds_of_shared_expressions_stay_small(start, grow):
    boxed = Bounds({name: (Var(f"{name}.lo"), Var(f"{name}.hi")) for name in NAMES})
    with quickly(5.0):
        pair = boxed.interval(tower(start, grow))
        assert size(*pair) < 200 * DEPTH


def test_postorder_visits_operands_first_and_each_node_once():
    shared = i + j
    order = list(postorder([shared * shared, shared, Load("f", (shared,))]))
    assert order == [i, j, shared, shared * shared, Load("f", (shared,))]


def test_names_that_occur():
    expr = Load("label", (i + Load("row", (j,)),)) + 2 * n
    assert variables(expr, Var("x")) == {"i", "j", "n", "x"}
    assert fields(expr) == {"label", "row"}


def test_lookups_are_evaluated_at_their_coordinates():
    loads = {"f": lambda a, b: 10 * a + b, "g": lambda a: a * a}
    expr = Load("f", (i, Load("g", (j,)))) - 1
    assert evaluate(expr, {"i": 2, "j": 3}, EXACT, loads) == 28
    assert evaluate_all([i + j, i * j], {"i": 2, "j": 3}, EXACT) == [5, 6]
