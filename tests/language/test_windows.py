"""Neighbourhood patterns against the definitions of FNA and GNA, written down again in plain Python."""

import numpy as np
import pytest

from attndsl.diagnostics import AttnError
from tests.language.masks import mask, masked, pairs

LONGEST = 13


def fna(n, i, j, size, stride, step, causal):
    """The FNA card: the leader's window, centred between L and m - 1 - R, inside one residue class."""
    if i % step != j % step:
        return False
    residue = i % step
    m = n // step + (residue < n % step)
    query, key = i // step, j // step
    if causal:
        leader = min(query // stride * stride + stride - 1, m - 1)
        return key <= query and leader - key < size
    leader = min(query // stride * stride + stride // 2, m - 1)
    left, right = size // 2, size // 2 - (size % 2 == 0)
    centre = max(left, min(leader, m - 1 - right))
    return centre - left <= key <= centre + right


def gna(n, i, j, size, stride, step):
    """The GNA card: a window that starts size // 2 before the leader, moved inwards at the borders."""
    group = [x for x in range(n) if x % step == i % step]
    if j not in group:
        return False
    query, key = group.index(i), group.index(j)
    leader = (query // stride) * stride + stride // 2
    start = min(max(leader - size // 2, 0), len(group) - size)
    return key in range(start, start + size)


def by_fna(n, size, stride, step=1, causal=False):
    return pairs(lambda i, j: fna(n, i, j, size, stride, step, causal), n)


def by_gna(n, size, stride, step=1):
    return pairs(lambda i, j: gna(n, i, j, size, stride, step), n)


def settings(steps):
    """Every size, stride and dilation that is legal for some length."""
    return [
        (size, stride, step)
        for step in steps
        for size in range(1, LONGEST // step + 1)
        for stride in range(1, size + 1)
    ]


def starts(where, n):
    return [int(np.argmax(row)) for row in mask(masked(where), n=n)]


def keys(where, n):
    return [np.flatnonzero(row).tolist() for row in mask(masked(where), n=n)]


@pytest.mark.parametrize(
    ("where", "n", "expected"),
    [
        ("window(5)", 10, [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]),
        ("window(4)", 8, [0, 0, 0, 1, 2, 3, 4, 4]),
        ("window(5, 2)", 10, [0, 0, 1, 1, 3, 3, 5, 5, 5, 5]),
        ("window(4, 4)", 10, [0, 0, 0, 0, 4, 4, 4, 4, 6, 6]),
        ("window(3, 2)", 10, [0, 0, 2, 2, 4, 4, 6, 6, 7, 7]),
    ],
)
def test_golden_starts(where, n, expected):
    assert starts(where, n) == expected


def test_golden_dilated():
    seen = keys("dilated_window(3, 3)", 11)
    assert seen[:3] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert (seen[6], seen[8], seen[10]) == ([3, 6, 9], [2, 5, 8], [4, 7, 10])


def test_golden_causal():
    expected = [[0], [0, 1], [0, 1, 2], [2, 3], [2, 3, 4], [2, 3, 4, 5], [5, 6], [5, 6, 7], [5, 6, 7, 8]]
    assert keys("causal_window(4, 3)", 9) == expected


@pytest.mark.parametrize("size", range(1, LONGEST + 1))
def test_window(size):
    for stride in range(1, size + 1):
        program = masked(f"window({size}, {stride})")
        for n in range(size, LONGEST + 1):
            seen = mask(program, n=n)
            assert np.array_equal(seen, by_fna(n, size, stride))
            assert np.array_equal(seen, by_gna(n, size, stride))
            assert (seen.sum(axis=1) == size).all()
            assert seen.diagonal().all()
            if size == n:
                assert seen.all()
            if stride == size and n % size == 0:
                assert np.array_equal(seen, pairs(lambda i, j: i // size == j // size, n))


@pytest.mark.parametrize("size", range(1, LONGEST + 1))
def test_causal_window(size):
    for stride in range(1, size + 1):
        program = masked(f"causal_window({size}, stride = {stride})")
        for n in range(size, LONGEST + 1):
            seen = mask(program, n=n)
            assert np.array_equal(seen, by_fna(n, size, stride, causal=True))
            assert seen.diagonal().all()
            if stride == 1:
                assert np.array_equal(seen, pairs(lambda i, j: 0 <= i - j < size, n))


@pytest.mark.parametrize("step", range(1, LONGEST + 1))
def test_dilated_window(step):
    for size, stride, _ in settings([step]):
        program = masked(f"dilated_window({size}, {step}, {stride})")
        for n in range(size * step, LONGEST + 1):
            seen = mask(program, n=n)
            assert np.array_equal(seen, by_fna(n, size, stride, step))
            assert np.array_equal(seen, by_gna(n, size, stride, step))
            assert (seen.sum(axis=1) == size).all()


def test_causal_window_inside_residue_classes():
    before = """
    pattern dilated_causal(size, step, stride) = i % step == j % step and causal_window(
      size, stride, i = i // step, j = j // step, extent = (extent - i % step + step - 1) // step)
    """
    for size, stride, step in settings([2, 3, 5]):
        program = masked(f"dilated_causal({size}, {step}, {stride})", before=before)
        for n in range(size * step, LONGEST + 1):
            seen = mask(program, n=n)
            assert np.array_equal(seen, by_fna(n, size, stride, step, causal=True))


@pytest.mark.parametrize(
    "where",
    [
        "window(0)", "window(3, 4)", "window(3, 0)", "window(3, -1)", "window(13)", "causal_window(3, 4)",
        "causal_window(13)", "dilated_window(7, 2)", "dilated_window(3, 0)", "dilated_window(3, 2, 4)",
        "dilated_window(1, 13)", "dilated_window(0, 2)",
    ],
)  # fmt: skip
def test_illegal_settings_are_refused(where):
    with pytest.raises(AttnError) as caught:
        masked(where, "x[n = 12]")
    assert {diagnostic.problem.code for diagnostic in caught.value.diagnostics} == {"E203"}


def test_the_largest_legal_settings():
    for where in (
        "window(12, 12)",
        "causal_window(12, 12)",
        "dilated_window(6, 2, 6)",
        "dilated_window(1, 12)",
    ):
        assert mask(masked(where, "x[n = 12]")).diagonal().all()
