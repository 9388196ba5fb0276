"""Printed text, read by Python, means the same: nothing is lost to precedence."""

import pytest
from hypothesis import given, note

from attndsl.ir.index import FALSE, TRUE, Const, Load, Var, apply
from attndsl.ir.namespaces import EXACT
from attndsl.ir.text import TextPrinter, show
from attndsl.ir.walk import evaluate
from tests.ir.strategies import PROPERTY, boxes, expressions, i, j, n, sample

HELPERS = {
    "__builtins__": {},
    "min": min,
    "max": max,
    "abs": abs,
    "ispow2": EXACT.ispow2,
    "ceilpow2": EXACT.ceilpow2,
    "true": True,
    "false": False,
}


def read(text, point):
    """The value of printed text: the language's expressions are Python's, but for `true` and `false`."""
    return eval(text, HELPERS, dict(point))


@PROPERTY
@given(expressions(), boxes(width=8))
def test_text_means_the_expression(expr, box):
    text = show(expr)
    note(text)
    for point in sample(box, count=6):
        assert read(text, point) == evaluate(expr, point, EXACT)


@PROPERTY
@given(expressions(), expressions(), boxes())
def test_text_with_names_for_parts(part, other, box):
    """A shared part that is printed by name needs no parentheses, wherever it occurs."""
    whole = apply("select", other if other.kind == "bool" else other < 2, part, part)
    if part.kind == "int":
        whole = whole * apply("max", other, i) - part if other.kind == "int" else whole // 3 - 2 * part
    text = TextPrinter({part: "shared"}).show(whole)
    note(text)
    for point in sample(box, count=4):
        values = {**point, "shared": evaluate(part, point, EXACT)}
        assert read(text, values) == evaluate(whole, point, EXACT)


X, Y = Var("x", "real"), Var("y", "real")
P, Q = i < j, apply("ispow2", n)
TEXTS = [
    (i - j, "i - j"),
    (-j + i, "i - j"),
    (-i - j - 3, "-i - j - 3"),
    (-(i * j), "-(i * j)"),
    (n - 2 * (i * j), "n - 2 * (i * j)"),
    (n - 2 * i + 1, "n + 1 - 2 * i"),
    (i * j * n, "i * j * n"),
    ((i + 1) * (j - 1), "(i + 1) * (j - 1)"),
    (i // 2 * j, "i // 2 * j"),
    (j * (i // 2), "j * (i // 2)"),
    (i // (j // 2), "i // (j // 2)"),
    ((i + j) % 3 // -2, "(i + j) % 3 // -2"),
    (-i % 3, "-i % 3"),
    (-(i % 3), "-(i % 3)"),
    (i**2 * 3, "3 * i ** 2"),
    ((-i) ** 2, "(-i) ** 2"),
    (-(i**2), "-i ** 2"),
    ((i**2) ** j, "(i ** 2) ** j"),
    (i ** (j**2), "i ** j ** 2"),
    (i**-j, "i ** -j"),
    (apply("abs", i - j) <= 5, "abs(i - j) <= 5"),
    (i + 1 < j, "i + 1 < j"),
    (P & Q & (j <= i + 2), "i < j and ispow2(n) and j <= i + 2"),
    ((P | Q) & (n <= i), "(i < j or ispow2(n)) and n <= i"),
    (P & Q | (n <= i), "i < j and ispow2(n) or n <= i"),
    (apply("not", P | Q), "not (i < j or ispow2(n))"),
    (apply("not", P & Q), "not (i < j and ispow2(n))"),
    (apply("not", Q) & P, "not ispow2(n) and i < j"),
    (apply("not", apply("==", i, j)), "i != j"),
    (apply("==", i % 2, 0), "i % 2 == 0"),
    (apply("select", P, i, j), "i if i < j else j"),
    (apply("select", P, i, j) + 1, "(i if i < j else j) + 1"),
    (apply("select", P, i, apply("select", Q, j, 0)), "i if i < j else j if ispow2(n) else 0"),
    (apply("select", P, apply("select", Q, j, 0), i), "(j if ispow2(n) else 0) if i < j else i"),
    (apply("min", i, j - 1, apply("max", n, 0)), "min(i, j - 1, max(n, 0))"),
    (Load("label", (Var("i.h"), j % 4)), "label[i.h, j % 4]"),
    (2.0 * (X + Y), "2.0 * (x + y)"),
    (X - 0.5 * (X * Y), "x - 0.5 * (x * y)"),
    (X - (X + Y), "x - (x + y)"),
    (apply("/", X, Y) * X, "x / y * x"),
    (apply("/", X, Y * X), "x / (y * x)"),
    (apply("real", i + 1) * X, "(i + 1) * x"),
    (apply("exp", -X), "exp(-x)"),
    (TRUE, "true"),
    (FALSE, "false"),
    (Const(-3), "-3"),
]


@pytest.mark.parametrize(("expr", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_exact_texts(expr, text):
    assert show(expr) == text


def test_names_replace_parts():
    part = i + j
    printer = TextPrinter({part: "total", P: "before"})
    assert printer.show(apply("select", P, 3 * n % part, part)) == "3 * n % total if before else total"
    assert printer.show(apply("abs", -j * part)) == "abs(-(j * total))"
