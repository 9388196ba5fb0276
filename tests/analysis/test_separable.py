"""Counts axis by axis and pair by pair against refinement; which masks fall apart, and into what."""

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import attndsl
from attndsl.analysis import separable
from attndsl.analysis.attention import head_classes
from attndsl.analysis.contents import content_classes
from attndsl.analysis.layout import Brick
from attndsl.analysis.predicate import Predicate
from attndsl.analysis.refine import sampled_visits
from attndsl.analysis.separable import Separated, exact_counts, factors, refined_counts
from attndsl.language import load_text
from attndsl.planning.plan import program_tiles
from tests.analysis.test_schedules import drawn_layout
from tests.strategies import specs, thorough, tile_shapes


def predicate_of(where, tokens="x[h, w]", **sizes):
    text = f"attention a {{ tokens {tokens}; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    return head_classes(load_text(text).attends[0].op, sizes)[0].predicate


@pytest.mark.parametrize("small", [0, 1 << 20], ids=["by bounds", "pair by pair"])
@given(st.data())
@thorough(40)
def test_counts_are_those_of_refinement(small, data):
    spec = data.draw(specs(most=30))
    note(spec.text)
    op = spec.program.attends[0].op
    layouts = [drawn_layout(data.draw, t.extents(spec.sizes)) for t in (op.query_tokens, op.key_tokens)]
    before, separable.SMALL = separable.SMALL, small
    try:
        for members in head_classes(op, spec.sizes, spec.fields):
            found, mask = refined_counts(members.predicate, *layouts), Separated(members.predicate)
            own = mask.counts(*layouts)
            assert own.pairs == found.pairs
            np.testing.assert_array_equal(own.full, found.full)
            np.testing.assert_array_equal(own.visited, found.visited)
            if all(isinstance(layout, Brick) for layout in layouts):
                assert mask.totals(*layouts) == found.totals
    finally:
        separable.SMALL = before


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ("h: window(5) and w: window(5, 2)", [((0,), (0,)), ((1,), (1,))]),
        ("h: window(5)", [((0,), (0,)), ((1,), (1,))]),  # w is free on both sides
        ("i.h < 5 and i.w == j.w", [((0,), (0,)), ((1,), (1,))]),
        ("i.h == j.w and i.w == j.h", [((0,), (1,)), ((1,), (0,))]),
        ("i.h == j.h or i.w == j.w", [((0, 1), (0, 1))]),
        ("h: sliding(3) and i.w + i.h == j.w", [((0, 1), (0, 1))]),
        ("i.h == i.w", [((0, 1), (0, 1))]),
    ],
)
def test_masks_fall_apart_by_axes(where, parts):
    predicate = predicate_of(where, h=12, w=11)
    found = factors(predicate)
    assert sorted((part.query, part.key) for part in found) == parts
    query, key = Brick((12, 11), (4, 2)), Brick((12, 11), (2, 8))
    own, refined = Separated(predicate).counts(query, key), refined_counts(predicate, query, key)
    assert own.pairs == refined.pairs
    np.testing.assert_array_equal(own.full, refined.full)
    np.testing.assert_array_equal(own.visited, refined.visited)


def test_boxes_that_hold_the_same_labels_see_the_same_mask():
    """Of 64 x 64 open pairs of tiles, as many masks as there are pairs of different labels in tiles."""
    text = "attention a { tokens x[n]; input q, k, v : x; input r : x int; return attend(q, k, v, where = r[i] == r[j]) }"
    labels = np.tile(np.arange(4), 64)[None]
    predicate = head_classes(load_text(text).attends[0].op, {"n": 256, "heads": 1}, {"r": labels})[
        0
    ].predicate
    layout = Brick((256,), (4,))
    from attndsl.analysis.attention import HeadPredicate, analyse_class

    found = analyse_class(HeadPredicate((0,), None, predicate), layout, layout)
    assert found.counts.pairs == 64 * 64 * 4
    assert len(found.inside.masks) == 1


def test_contents_tell_apart_values_and_sizes():
    values = np.array([1, 2, 1, 2, 1, 1])
    lo, hi = np.array([[0], [2], [4], [0]]), np.array([[1], [3], [5], [2]])
    found = content_classes(values, lo, hi)
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 3


def test_one_large_tile_is_counted_by_smaller_ones(monkeypatch):
    """Few of 256 * 256 * 256 pairs are visible, and nobody looks at them all."""
    text = (
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, kron(k, k), kron(v, v), "
        "where = abs(i - j.0) < 5 and abs(i - j.1) < 2) }"
    )
    predicate = head_classes(load_text(text).attends[0].op, {"n": 256})[0].predicate
    layouts = Brick((256,), (256,)), Brick((256, 256), (256, 256))
    monkeypatch.setattr(separable, "ONE_TILE", 1 << 20)
    monkeypatch.setattr("attndsl.analysis.partial.CHUNK", 0)
    monkeypatch.setattr(type(predicate), "points", limited(type(predicate).points, 1 << 20))
    found = exact_counts(predicate, *layouts)
    expected = sum(
        sum(abs(i - a) < 5 for a in range(256)) * sum(abs(i - b) < 2 for b in range(256)) for i in range(256)
    )
    assert (found.pairs, found.totals) == (expected, (0, 1))


def limited(points, most):
    """The method `points`, which must not be asked for many pairs at once."""

    def called(self, queries, keys):
        found = points(self, queries, keys)
        assert found.size <= most
        return found

    return called


@pytest.mark.parametrize("tiles", [((4, 2), (2, 8)), ((12, 11), (12, 11)), ((5, 3), (4, 11))])
def test_a_mask_that_hides_nothing_is_not_looked_at(tiles):
    predicate = predicate_of("0 == 0", h=12, w=11)
    query, key = (Brick((12, 11), tile) for tile in tiles)
    own, refined = Separated(predicate).counts(query, key), refined_counts(predicate, query, key)
    assert own.pairs == refined.pairs == (12 * 11) ** 2
    np.testing.assert_array_equal(own.full, refined.full)
    np.testing.assert_array_equal(own.visited, refined.visited)


@given(st.data())
@thorough(40)
def test_visits_factor_by_factor_are_those_of_the_whole_mask(data):
    """By the bounds of a conjunction, which are those of its parts."""
    spec = data.draw(specs(most=30))
    note(spec.text)
    op = spec.program.attends[0].op
    sides = [tokens.extents(spec.sizes) for tokens in (op.query_tokens, op.key_tokens)]
    layouts = [Brick(extents, data.draw(tile_shapes(extents))) for extents in sides]
    samples = data.draw(st.integers(1, 9))
    for members in head_classes(op, spec.sizes, spec.fields):
        own = Separated(members.predicate).sampled_visits(*layouts, samples)
        assert own == pytest.approx(sum(sampled_visits(members.predicate, *layouts, samples)))


@pytest.mark.parametrize("name", ["hunyuan_gna", "dinat", "neighborhood3d"])
def test_tile_shapes_that_are_compared_share_what_is_known_of_their_sides(name, monkeypatch):
    """Dozens of shapes are tried; each used to be refined on its own, some ten steps for every shape."""
    asked = []
    decide = Predicate.decide
    monkeypatch.setattr(Predicate, "decide", lambda self, boxes: asked.append(1) or decide(self, boxes))
    program_tiles(attndsl.load(name))
    assert len(asked) < 150
