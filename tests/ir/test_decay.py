"""Which factors of weights are a decay along the tokens, and that their logarithm is right."""

import numpy as np
import pytest

from attndsl.ir.namespaces import Arrays
from attndsl.ir.walk import evaluate
from attndsl.language import load_text

N, HEADS = 7, 3
NUMPY = Arrays(np, np.float64)


def attend_of(options, axes="n"):
    return (
        load_text(
            f"attention f {{ tokens x[{axes}]; input q, k, v : x; input a, b : x scalar;"
            f" return attend(q, k, v, {options}) }}"
        )
        .attends[0]
        .op
    )


def attend_with(times, options="where = causal, normalize = none", axes="n"):
    return attend_of(f"{options}, times = {times}", axes)


@pytest.mark.parametrize(
    "times",
    [
        "exp(a[i] - a[j])",
        "0.9 ** (i - j)",
        "2 ** (j - i)",
        "exp(-0.1 * (i - j))",
        "(1 - 2 ** (-5 - head)) ** (i - j)",
        "exp(a[i] - a[j]) * 0.5 ** (i - j)",
        "exp((head + 1) * (a[i] - a[j]))",
        "exp((i - j) / 3)",
        "exp(a[i] * b[i] - a[j] * b[j] + (i + 1) ** 0.5 - (j + 1) ** 0.5)",
    ],
)
def test_the_logarithm_of_a_decay(times):
    op = attend_with(times)
    assert op.kernel == "contracted"
    values = np.random.default_rng(0).normal(size=(2, N))
    loads = {name: lambda at, row=row: row[at] for name, row in zip("ab", values)}
    i, j = np.arange(N)[:, None], np.arange(N)[None, :]
    for head in range(HEADS):
        given = {"head": head, "heads": HEADS}
        weight = evaluate(op.times, {**given, "i.n": i, "j.n": j}, NUMPY, loads)
        left = [evaluate(op.decay, {**given, "i.n": place}, NUMPY, loads) for place in (i, j)]
        np.testing.assert_allclose(np.exp(left[0] - left[1]), weight, rtol=1e-12)


@pytest.mark.parametrize(
    "times",
    [
        "exp(a[i] * a[j])",
        "exp(a[i])",
        "exp(a[i] - b[j])",
        "exp(a[i] + a[j])",
        "exp(a[i] - a[j] + 1)",
        "0.9 ** abs(i - j)",
        "exp(a[i] - a[j]) + 1",
        "a[i] - a[j]",
        "2 * exp(a[i] - a[j])",
    ],
)
def test_other_factors_are_none(times):
    assert attend_with(times).decay is None


def test_only_causal_plain_products_of_sequences_take_one_in():
    decay = "exp(a[i] - a[j])"
    for options in ("normalize = none", "where = causal", "where = causal, normalize = linear"):
        assert attend_with(decay, options).decay is None
        assert attend_with(decay, options).kernel == "chunked"


def test_a_score_times_a_decay_is_taken_in():
    """Then sums of rows decay as well; a factor after the division would not."""
    for score in ("s * exp(a[i] - a[j])", "exp(a[i]) * s * exp(-a[j])"):
        op = attend_of(f"where = causal, normalize = linear, score = {score}")
        assert op.kernel == "contracted"
        assert op.decay is attend_with("exp(a[i] - a[j])").decay
    for score in ("s * s * exp(a[i] - a[j])", "s + exp(a[i] - a[j])", "s * exp(s * (i - j))", "s * a[j]"):
        assert attend_of(f"where = causal, normalize = linear, score = {score}").decay is None
    assert attend_with("exp(a[i] - a[j])", "where = causal, normalize = linear, score = s").decay is None
