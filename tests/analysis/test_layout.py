"""Layouts cut the tokens exactly: every token in one slot, hulls around them, counts that add up."""

from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attndsl.analysis.layout import Brick, Raster, make_layout, ragged, slots, tile_coordinates, tile_count
from tests.strategies import extents, thorough, tile_shapes, tiles_of


@st.composite
def layouts(draw, kinds=("brick", "raster")):
    sizes = draw(extents(draw(st.integers(1, 3)), 60))
    if draw(st.sampled_from(kinds)) == "brick":
        return Brick(sizes, draw(tile_shapes(sizes)))
    return Raster(sizes, draw(st.integers(1, prod(sizes) + 3)))


def points(lo, hi):
    """The points of a box."""
    return list(product(*(range(a, b + 1) for a, b in zip(lo.tolist(), hi.tolist()))))


def tokens(layout, points_):
    return [int(np.ravel_multi_index(point, layout.extents)) for point in points_]


@thorough(200)
@given(layouts())
def test_pieces_tile_the_tokens_exactly(layout):
    """The pieces of each tile are the tokens of its slots, each once; together the tiles are everything."""
    lo, hi, exists = layout.pieces(np.arange(tile_count(layout)))
    assert lo.shape == hi.shape == (*exists.shape, len(layout.extents))
    everything = []
    expected = list(tiles_of(layout.tile, layout.extents))
    assert len(expected) == tile_count(layout)
    for tile, held in enumerate(expected):
        found = [
            token
            for piece in np.flatnonzero(exists[tile])
            for token in tokens(layout, points(lo[tile, piece], hi[tile, piece]))
        ]
        assert sorted(found) == sorted(token for token in held if token >= 0)
        assert len(held) == slots(layout)
        everything += found
    assert sorted(everything) == list(range(prod(layout.extents)))


@thorough(100)
@given(layouts(kinds=("raster",)))
def test_a_raster_tile_is_few_boxes(layout):
    """At most 2 * axes - 1, none of them empty."""
    lo, hi, exists = layout.pieces(np.arange(tile_count(layout)))
    assert exists.any(1).all()
    assert exists.sum(1).max() <= 2 * len(layout.extents) - 1
    assert (lo <= hi).all(-1)[exists].all()


@thorough(200)
@given(layouts(), st.data())
def test_ranges_of_tiles(layout, data):
    """A hull holds all tokens of its range of tiles, and is no larger than needed; counts add up."""
    lo = [data.draw(st.integers(0, cells - 1)) for cells in layout.grid]
    hi = [data.draw(st.integers(start, cells - 1)) for start, cells in zip(lo, layout.grid)]
    numbers = [int(np.ravel_multi_index(p, layout.grid)) for p in points(np.array(lo), np.array(hi))]
    held = [
        token
        for n, tile in enumerate(tiles_of(layout.tile, layout.extents))
        if n in numbers
        for token in tile
    ]
    inside = np.array([np.unravel_index(token, layout.extents) for token in held if token >= 0])
    first, last = layout.hull(np.array([lo]), np.array([hi]))
    np.testing.assert_array_equal(first[0], inside.min(0))
    np.testing.assert_array_equal(last[0], inside.max(0))
    assert layout.tokens_in(np.array([lo]), np.array([hi])) == [len(inside)]


@thorough(100)
@given(layouts())
def test_ragged_and_coordinates(layout):
    """`ragged` says along which axes the last tiles have empty slots."""
    kinds = np.array([min(tile) for tile in tiles_of(layout.tile, layout.extents)]).reshape(layout.grid)
    for axis, is_ragged in enumerate(ragged(layout)):
        last = np.take(kinds, -1, axis)
        others = np.take(kinds, range(layout.grid[axis] - 1), axis)
        if is_ragged:
            assert (last == -1).all()
        elif not ragged(layout).any():
            assert (last >= 0).all()
            assert (others >= 0).all()
    numbers = np.arange(tile_count(layout))
    back = np.ravel_multi_index(tuple(tile_coordinates(layout, numbers).T), layout.grid)
    np.testing.assert_array_equal(back, numbers)


def test_a_raster_tile_across_rows():
    """Tokens 0 to 16 of a 5 x 6 grid: two whole rows and the beginning of a third, each a box of its own."""
    lo, hi, exists = Raster((5, 6), 17).pieces(np.array([0]))
    boxes = sorted(zip(lo[0][exists[0]].tolist(), hi[0][exists[0]].tolist()))
    assert boxes == [([0, 0], [0, 5]), ([1, 0], [1, 5]), ([2, 0], [2, 4])]


def test_names():
    assert make_layout((4, 4), (2, 2)).name == "brick"
    assert make_layout((4, 4), (2,)).name == "raster"
    assert make_layout((16,), (2,)).name == "raster"  # on one axis they are the same


def test_a_tile_must_fit_the_axes():
    with pytest.raises(ValueError, match="a tile of 3 sizes does not fit 2 axes"):
        make_layout((4, 4), (2, 2, 2))
