"""Which factors of weights are products along paths on a grid, and that their steps multiply to them."""

import numpy as np
import pytest

from attndsl.ir.namespaces import Arrays
from attndsl.ir.paths import by_lines_or_pairs, paths_of
from attndsl.ir.text import show
from attndsl.ir.walk import evaluate, variables
from attndsl.language import load_text

H, W, HEADS = 4, 3, 2
NUMPY = Arrays(np, np.float64)
DOWN, ALONG = "abs(b[i.h, j.w] - b[j])", "abs(a[i] - a[i.h, j.w])"
BACK, UP = "abs(a[j.h, i.w] - a[j])", "abs(b[i] - b[j.h, i.w])"


def attend_with(times, options="normalize = none", tokens="x[h, w]"):
    text = f"attention t {{ tokens {tokens}; input q, k, v : x; input a, b : x scalar; return attend(q, k, v, {options}, times = {times}) }}"
    return load_text(text).attends[0].op


@pytest.mark.parametrize(
    ("times", "orders"),
    [
        (f"exp(-{DOWN} - {ALONG})", [(0, 1)]),
        (f"exp(-{BACK} - {UP})", [(1, 0)]),
        (f"exp(-{DOWN} - {ALONG}) + exp(-{BACK} - {UP})", [(0, 1), (1, 0)]),
        (f"(exp(-{DOWN} - {ALONG}) + exp(-{BACK} - {UP})) / 2", [(0, 1), (1, 0)]),
        (f"exp(-{DOWN} - {ALONG}) - 3 * exp(-({BACK} + {UP}) / 2)", [(0, 1), (1, 0)]),
        (f"exp(-{DOWN}) * exp(-{ALONG}) * a[i] * b[j]", [(0, 1)]),
        ("0.9 ** (abs(i.h - j.h) + abs(i.w - j.w))", [(0, 1)]),
        ("(1 - 2 ** (-5 - head)) ** (abs(i.h - j.h) + abs(i.w - j.w))", [(0, 1)]),
        ("exp(-0.3 * abs(i.h - j.h))", [(0, 1)]),
        ("a[i.h, j.w] * b[j]", [(0, 1)]),
        ("a[j.h, i.w] * b[j]", [(1, 0)]),
        ("cos(a[i]) / (1 + b[j] * b[j])", [(0, 1)]),
    ],
)
def test_steps_multiply_to_the_factor(times, orders):
    op = attend_with(times)
    assert op.kernel == "along_paths"
    assert [path.order for path in op.paths] == orders
    values = np.random.default_rng(0).normal(size=(2, H, W))
    loads = {name: lambda *at, row=row: row[at] for name, row in zip("ab", values)}
    grid = np.meshgrid(*(np.arange(size) for size in (H, W, H, W)), indexing="ij")
    places = dict(zip(("i.h", "i.w", "j.h", "j.w"), grid))
    for head in range(HEADS):
        given = {"head": head, "heads": HEADS, **places}
        steps = [
            evaluate(path.first, given, NUMPY, loads) * evaluate(path.second, given, NUMPY, loads)
            for path in op.paths
        ]
        np.testing.assert_allclose(
            sum(steps), evaluate(op.times, given, NUMPY, loads) + 0 * grid[0], rtol=1e-12
        )


def test_steps_do_not_know_what_their_line_does_not_hold():
    for path in attend_with(f"exp(-{DOWN} - {ALONG}) + exp(-{BACK} - {UP})").paths:
        begin, end = path.order
        assert f"i.{'hw'[end]}" not in variables(path.first)
        assert f"j.{'hw'[begin]}" not in variables(path.second)


@pytest.mark.parametrize(
    "times",
    [
        "exp(-abs(a[i] - a[j]))",  # straight, not along axes
        "a[i.h, j.w] * a[j.h, i.w]",  # neither order
        "exp(a[i] - a[j])",  # a quotient of exponentials may overflow
        "exp(abs(a[i]) - abs(a[j]))",
        "1.1 ** (abs(i.h - j.h) + abs(i.w - j.w))",
        "0.9 ** (i.h - j.h + i.w - j.w)",
        f"exp(-{DOWN} - {ALONG}) + exp(-abs(a[i] - a[j]))",
        " + ".join(
            [
                f"exp(-{DOWN} - {ALONG})",
                *(f"a[i] * {n}.5" for n in range(1, 5)),
                "b[j]",
                "cos(b[j])",
                "sin(b[j])",
                "cos(a[i])",
            ]
        ),
    ],
)
def test_other_factors_have_no_paths(times):
    assert attend_with(times).paths is None


def test_a_positive_part_of_an_exponent_stays_with_the_rest_of_it():
    """exp(1000) * exp(-1000) is no number."""
    op = attend_with("exp(abs(b[i]) - abs(a[i]) - abs(a[j.h, i.w]))")
    assert [(p.order, show(p.second)) for p in op.paths] == [((1, 0), show(op.times))]


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ("normalize = softmax", "x[h, w]"),
        ("normalize = sigmoid", "x[h, w]"),
        ("normalize = none, where = h: causal", "x[h, w]"),
        ("normalize = none, bias = a[j]", "x[h, w]"),
        ("normalize = none, score = 2 * s", "x[h, w]"),
    ],
)
def test_only_plain_products_of_all_pairs_take_them(options, tokens):
    op = attend_with(f"exp(-{DOWN} - {ALONG})", options, tokens)
    assert op.paths is None
    assert op.kernel == "chunked"
    assert paths_of(op.times, op.query_tokens, op.key_tokens) is not None


def test_by_lines_where_lines_are_fewer_than_pairs():
    from attndsl.ir.index import Const
    from attndsl.ir.namespaces import EXACT

    def flops(side, width):
        sides = Const(side), Const(side)
        return evaluate(by_lines_or_pairs(2, sides, Const(width), Const(width)), {}, EXACT)

    assert flops(56, 16) == 4 * 56**2 * 16 * 16 * 112
    assert flops(8, 64) == 4 * 64 * 64 * 64
