"""The bounds of an expression hold at every point of the box, and are met where that is promised."""

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from attndsl.ir.bounds import Bounds
from attndsl.ir.index import FALSE, TRUE, Const, Load, Var, apply
from attndsl.ir.namespaces import EXACT, Arrays
from attndsl.ir.text import show
from attndsl.ir.walk import evaluate, evaluate_all, variables
from tests.ir.strategies import NAMES, PER_RULE, PROPERTY, booleans, boxes, expressions, i, j, n, points


def ends(name):
    """The variables that stand for the two ends of a box."""
    return Var(f"{name}.lo"), Var(f"{name}.hi")


def symbolic(names):
    return Bounds({name: ends(name) for name in names})


def numbers(box):
    """A value for each end of a box."""
    sides = {f"{name}.lo": lo for name, (lo, hi) in box.items()}
    return sides | {f"{name}.hi": hi for name, (lo, hi) in box.items()}


def bounds_on(expr, box, extent):
    """The bounds over the given box, evaluated; variables without a box have the value `extent`."""
    pair = symbolic(box).interval(expr)
    note(f"{show(expr)}  in  {show(pair[0])} .. {show(pair[1])}")
    return evaluate_all(pair, numbers(box) | {"n": extent}, EXACT)


def values_on(expr, box, extent):
    return [evaluate(expr, {"n": extent, **point}, EXACT) for point in points(box)]


@PROPERTY
@given(expressions(), boxes(("i", "j")), st.integers(-10, 20))
def test_bounds_hold_at_every_point_for_a_fixed_extent(expr, box, extent):
    lo, hi = bounds_on(expr, box, extent)
    assert all(lo <= value <= hi for value in values_on(expr, box, extent))


@PROPERTY
@given(expressions(), boxes())
def test_bounds_hold_at_every_point(expr, box):
    lo, hi = bounds_on(expr, box, extent=None)
    assert all(lo <= value <= hi for value in values_on(expr, box, extent=None))


@PROPERTY
@given(booleans(), boxes(limit=6))
def test_must_implies_all_and_any_implies_may(expr, box):
    bounds, held = symbolic(NAMES), values_on(expr, box, extent=None)
    must, may = evaluate_all([bounds.must(expr), bounds.may(expr)], numbers(box), EXACT)
    assert type(must) is type(may) is bool
    assert all(held) or not must
    assert may or not any(held)


@PROPERTY
@given(expressions(), boxes())
def test_numbers_as_boxes_give_numbers(expr, box):
    """Boxes of constants, as the rewriter uses them, say the same as boxes of variables."""
    folded = Bounds(box).interval(expr)
    assert all(isinstance(bound, Const) for bound in folded)
    assert [bound.value for bound in folded] == bounds_on(expr, box, extent=None)


@PROPERTY
@given(expressions(), boxes(width=0))
def test_bounds_of_one_point_are_its_value(expr, box):
    assert bounds_on(expr, box, None) == values_on(expr, box, None) * 2


RADIUS = 3
SIZE, STRIDE = 5, 2
LEAD = apply("min", i // STRIDE * STRIDE + STRIDE // 2, n - 1)
FIRST = apply("max", 0, apply("min", LEAD - SIZE // 2, n - SIZE))
EXACT_EXPRESSIONS = {
    "window start": FIRST,
    "window starts before": j >= FIRST,
    "window ends after": j < FIRST + SIZE,
    "floor": i // 3,
    "floor of a negative divisor": i // -3,
    "remainder": i % 5,
    "remainder of a negative divisor": i % -5,
    "remainder by an extent": i % n,
    "floor by an extent": (i - j) // n,
    "distance": apply("abs", i - j),
    "within a radius": apply("abs", i - j) <= RADIUS,
    "causal": j <= i,
    "strictly causal": j < i,
    "not causal": apply("not", j <= i),
    "equal": apply("==", i, j),
    "same block": apply("==", i // 4, j // 4),
    "scaled": -2 * i + n * j,
    "power of two": apply("ispow2", i - j),
    "next power of two": apply("ceilpow2", i),
    "select": apply("select", j < n, i, i - 40),
    "smaller": apply("min", i, j) + apply("max", 2, n),
    "sinks": (j < 4) | (n <= i),
    "product": i * j,
}


@pytest.mark.parametrize("expr", EXACT_EXPRESSIONS.values(), ids=EXACT_EXPRESSIONS)
@PER_RULE
@given(boxes(("i", "j"), limit=24, width=7), st.integers(1, 24))
def test_bounds_are_exact(expr, box, extent):
    values = values_on(expr, box, extent)
    assert bounds_on(expr, box, extent) == [min(values), max(values)]


@pytest.mark.parametrize("exponent", range(4))
@PER_RULE
@given(boxes(("i", "j"), limit=6))
def test_powers(exponent, box):
    power = (i - 2 * j) ** exponent
    lo, hi = bounds_on(power, box, None)
    assert all(lo <= value <= hi for value in values_on(power, box, None))


REAL_I, REAL_J = apply("real", i), apply("real", j)
REALS = [
    REAL_I / 3.0 - REAL_J / -4.0,
    REAL_I / apply("real", n) * 0.5,
    apply("/", -1.0, apply("abs", REAL_I) + 0.5),
    REAL_J / (apply("abs", REAL_I) + 2.0),
    apply("exp", REAL_I * -0.25) + apply("tanh", REAL_J),
    apply("sqrt", apply("abs", REAL_I)) - apply("log", apply("abs", REAL_J) + 1.0),
    apply("**", 2.0, REAL_I * -0.5),
]


@pytest.mark.parametrize("expr", REALS, ids=show)
@PER_RULE
@given(boxes(("i", "j")), st.sampled_from((-3, 5)))
def test_bounds_of_reals(expr, box, extent):
    lo, hi = bounds_on(expr, box, extent)
    assert all(lo - 1e-9 <= value <= hi + 1e-9 for value in values_on(expr, box, extent))


def numpy_arrays():
    return np.asarray, Arrays(np, np.float64)


def torch_tensors():
    torch = pytest.importorskip("torch")
    return torch.asarray, Arrays(torch, torch.float64)


@pytest.mark.parametrize("library", [numpy_arrays, torch_tensors])
@PROPERTY
@given(expressions(), st.lists(boxes(), min_size=1, max_size=4))
def test_arrays_agree_with_python(library, expr, several):
    """The compiler evaluates bounds with numpy, the generated file with torch, `EXACT` defines them."""
    asarray, namespace = library()
    pair = symbolic(NAMES).interval(expr)
    rows = [numbers(box) for box in several]
    columns = {name: asarray([row[name] for row in rows]) for name in rows[0]}
    for bound in pair:
        array = evaluate(bound, columns, namespace)
        expected = [evaluate(bound, row, EXACT) for row in rows]
        assert np.broadcast_to(np.asarray(array), len(rows)).tolist() == expected


LARGE = sorted(
    {0, *(sign * (2**bits + step) for bits in range(61) for step in (-1, 0, 1) for sign in (1, -1))}
)


@pytest.mark.parametrize("library", [numpy_arrays, torch_tensors])
@pytest.mark.parametrize("expr", [apply("ispow2", i), apply("ceilpow2", i), i // -7 + i % 12], ids=show)
def test_arrays_agree_with_python_on_large_numbers(library, expr):
    asarray, namespace = library()
    array = evaluate(expr, {"i": asarray(LARGE)}, namespace)
    assert array.tolist() == [evaluate(expr, {"i": value}, EXACT) for value in LARGE]


LABEL = Load("label", (i // 2,))
TABLE = [3, -1, 4, 1, -5, 9, 2, 6, 5, 3, -5, 8]
MARKED = [value > 2 for value in TABLE]
LOADS = {
    "label": TABLE.__getitem__,
    "label.least": lambda lo, hi: min(TABLE[lo : hi + 1]),
    "label.greatest": lambda lo, hi: max(TABLE[lo : hi + 1]),
    "marked": MARKED.__getitem__,
    "marked.least": lambda lo, hi: all(MARKED[lo : hi + 1]),
    "marked.greatest": lambda lo, hi: any(MARKED[lo : hi + 1]),
}


def test_a_lookup_is_bounded_by_lookups():
    (ilo, ihi), (jlo, jhi) = ends("i"), ends("j")
    bounds = symbolic(("i", "j"))
    box = (ilo // 2, ihi // 2)
    assert bounds.interval(LABEL) == (Load("label.least", box), Load("label.greatest", box))
    marked = Load("marked", (i, -j), "bool")
    box = (ilo, -jhi, ihi, -jlo)
    assert bounds.must(marked) is Load("marked.least", box, "bool")
    assert bounds.may(marked) is Load("marked.greatest", box, "bool")


def test_a_lookup_at_a_lookup():
    once = symbolic(("i",)).interval(LABEL)
    twice = Load("inner", (LABEL,))
    assert symbolic(("i",)).interval(twice) == (Load("inner.least", once), Load("inner.greatest", once))


LOOKUPS = [
    apply("==", LABEL, Load("label", (j,))),
    apply("==", LABEL, Load("label", (j,))) & (j <= i),
    Load("marked", (i,), "bool") | apply("not", Load("marked", (j,), "bool")),
    apply("select", Load("marked", (i,), "bool"), LABEL, -Load("label", (j,))),
    apply("abs", LABEL - Load("label", (apply("min", j, 4),))) % 3,
]


@st.composite
def boxes_in_table(draw):
    box = {}
    for name in ("i", "j"):
        lo = draw(st.integers(0, len(TABLE) - 1))
        box[name] = (lo, draw(st.integers(lo, len(TABLE) - 1)))
    return box


@pytest.mark.parametrize("expr", LOOKUPS, ids=show)
@PER_RULE
@given(boxes_in_table())
def test_bounds_with_fields_hold_at_every_point(expr, box):
    lo, hi = evaluate_all(symbolic(box).interval(expr), numbers(box), EXACT, LOADS)
    assert all(lo <= evaluate(expr, point, EXACT, LOADS) <= hi for point in points(box))


def test_bounds_are_expressions_over_the_ends_of_boxes():
    (ilo, ihi), (jlo, jhi) = ends("i"), ends("j")
    bounds = symbolic(("i", "j"))
    assert bounds.interval(i // 7) == (ilo // 7, ihi // 7)
    assert bounds.interval(i - j) == (ilo - jhi, ihi - jlo)
    assert bounds.interval(j <= i) == (jhi <= ilo, jlo <= ihi)
    assert bounds.interval(i + n) == (ilo + n, ihi + n)
    assert bounds.interval(n) == (n, n)


def test_bounds_of_constant_boxes_fold():
    bounds = Bounds({"i": (2, 9), "j": (10, 12)})
    assert bounds.interval(i // 3) == (Const(0), Const(3))
    assert bounds.interval(i * j - 1) == (Const(19), Const(107))
    assert bounds.interval(i < j) == (TRUE, TRUE)
    assert bounds.interval(j <= i) == (FALSE, FALSE)
    assert bounds.interval(apply("==", i, 9)) == (FALSE, TRUE)


@PER_RULE
@given(expressions())
def test_bounds_mention_boxes_and_extents_only(expr):
    pair = symbolic(("i", "j")).interval(expr)
    assert variables(*pair) <= {"i.lo", "i.hi", "j.lo", "j.hi", "n"}
