"""Range extremes of fields: sound for every box, exact for aligned powers of two, one answer in numpy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attndsl.analysis.fields import Pyramid
from attndsl_codegen.kernels import fields as kernel
from tests.strategies import extents, thorough


@st.composite
def cases(draw):
    """A field and boxes inside it, (lo..., hi...) one array per bound."""
    sizes = draw(extents(draw(st.integers(1, 3)), 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    field = rng.integers(-3, 4, sizes) if draw(st.booleans()) else rng.random(sizes) < 0.3
    a, b = (np.array([rng.integers(0, extent, 12) for extent in sizes]) for _ in range(2))
    return field, np.minimum(a, b), np.maximum(a, b)


def inside(field, lo, hi):
    """The values in one box."""
    return field[tuple(slice(a, b + 1) for a, b in zip(lo, hi))]


def cover(field, lo, hi):
    """Two cells per axis, of the level that fits the side: all that may be looked at."""
    side = np.array([1 << max(int(length) - 1, 0).bit_length() for length in hi - lo])
    return inside(field, lo // side * side, hi // side * side + side - 1)


@thorough(200)
@given(cases())
def test_extremes_are_sound_and_near(case):
    """No value in the box is missed; nothing beyond the covering cells is looked at."""
    field, lo, hi = case
    pyramid = Pyramid(field)
    least, greatest = pyramid.least(*lo, *hi), pyramid.greatest(*lo, *hi)
    assert least.dtype == greatest.dtype == field.dtype
    for at in range(lo.shape[1]):
        values, seen = inside(field, lo[:, at], hi[:, at]), cover(field, lo[:, at], hi[:, at])
        assert seen.min() <= least[at] <= values.min()
        assert values.max() <= greatest[at] <= seen.max()


@thorough(200)
@given(cases(), st.lists(st.integers(0, 6), min_size=3, max_size=3))
def test_extremes_are_exact_on_aligned_powers_of_two(case, levels):
    """Of any aspect: a row of an image is as exact as a square."""
    field, lo, _ = case
    side = 2 ** np.array(levels[: field.ndim])[:, None]
    lo = lo // side * side
    hi = lo + side - 1  # cells at the end of an axis may be cut short: bounds are clamped
    pyramid = Pyramid(field)
    least, greatest = pyramid.least(*lo, *hi), pyramid.greatest(*lo, *hi)
    for at in range(lo.shape[1]):
        values = inside(field, lo[:, at], hi[:, at])
        # A cut cell has a shorter side, for which a smaller level fits: it may look at its neighbour.
        if (hi[:, at] < field.shape).all():
            assert least[at] == values.min()
            assert greatest[at] == values.max()


@thorough(100)
@given(cases())
def test_single_tokens_are_looked_up(case):
    field, lo, _ = case
    pyramid = Pyramid(field)
    expected = field[tuple(lo)]
    np.testing.assert_array_equal(pyramid.look_up(*lo), expected)
    np.testing.assert_array_equal(pyramid.least(*lo, *lo), expected)
    np.testing.assert_array_equal(pyramid.greatest(*lo, *lo), expected)


def test_coordinates_outside_are_clamped():
    pyramid = Pyramid(np.arange(10))
    far = np.array([-5, 3, 99])
    np.testing.assert_array_equal(pyramid.look_up(far), [0, 3, 9])
    np.testing.assert_array_equal(pyramid.least(far - 100, far), [0, 0, 0])
    assert pyramid.greatest(far, far + 100).tolist() == [9, 9, 9]


@thorough(100)
@given(cases(), st.integers(1, 2), st.integers(1, 2))
def test_torch_agrees_with_numpy(case, batch, heads):
    """The generated file plans with torch; rows of boxes belong to any batch element and head."""
    field, lo, hi = case
    fields = np.stack([np.stack([field if b == h else ~field for h in range(heads)]) for b in range(batch)])
    rng = np.random.default_rng(0)
    rows_b, rows_h = rng.integers(0, batch, lo.shape[1]), rng.integers(0, heads, lo.shape[1])
    found = kernel.FieldRange(
        kernel.Pyramid(torch.from_numpy(fields)), torch.from_numpy(rows_b), torch.from_numpy(rows_h)
    )
    box = [torch.from_numpy(bound) for bound in (*lo, *hi)]
    least, greatest = found.least(*box), found.greatest(*box)
    for at in range(lo.shape[1]):
        pyramid = Pyramid(fields[rows_b[at], rows_h[at]])
        one = [bound[at : at + 1] for bound in (*lo, *hi)]
        assert least[at].item() == pyramid.least(*one)[0]
        assert greatest[at].item() == pyramid.greatest(*one)[0]
    assert least.dtype == (torch.bool if field.dtype == bool else torch.long)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_every_integer_type(dtype):
    values = torch.tensor([[[3, 1, 2, 0, 7]]], dtype=dtype)
    rows = torch.zeros(1, dtype=torch.long)
    found = kernel.FieldRange(kernel.Pyramid(values), rows, rows)
    assert found.least(torch.tensor([1]), torch.tensor([2])).tolist() == [1]
    assert found.greatest(torch.tensor([0]), torch.tensor([4])).tolist() == [7]


def test_a_field_without_heads_serves_all_of_them():
    field = torch.arange(6).view(1, 1, 6)
    found = kernel.FieldRange(kernel.Pyramid(field), torch.zeros(3, dtype=torch.long), torch.arange(3))
    assert found.greatest(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 5])).tolist() == [0, 1, 5]


@thorough(60)
@given(cases())
def test_looked_up_in_torch_as_in_numpy(case):
    """`Field` gives (batch, heads, ...); with head coordinates in front, every head its own place."""
    field, lo, _ = case
    stacked = np.stack([field, field[::-1]])[None]
    found = kernel.Field(torch.from_numpy(stacked.copy()))
    coords = [torch.from_numpy(c) for c in lo]
    np.testing.assert_array_equal(found(*coords)[0, 0], field[tuple(lo)])
    np.testing.assert_array_equal(found(*coords)[0, 1], field[::-1][tuple(lo)])
