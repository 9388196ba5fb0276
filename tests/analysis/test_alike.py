"""Counts by kinds of pairs of tile ranges: exact, and of work that hardly grows with the tokens."""

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import attndsl
from attndsl.analysis import alike
from attndsl.analysis.alike import alike_counts
from attndsl.analysis.attention import dense_mask, head_classes
from attndsl.analysis.layout import Brick
from attndsl.analysis.predicate import Predicate
from attndsl.planning.plan import sample_fields
from tests.analysis.test_schedules import Brute
from tests.strategies import specs, thorough, tile_shapes


@pytest.mark.parametrize("many", [0, 200], ids=["always", "where there are many"])
@given(st.data())
@thorough(40)
def test_counts_are_those_of_brute_force(many, data):
    spec = data.draw(specs(most=30))
    note(spec.text)
    op = spec.program.attends[0].op
    sides = [tokens.extents(spec.sizes) for tokens in (op.query_tokens, op.key_tokens)]
    layouts = [Brick(extents, data.draw(tile_shapes(extents))) for extents in sides]
    before, alike.MANY = alike.MANY, many
    try:
        for members in head_classes(op, spec.sizes, spec.fields):
            found = alike_counts(members.predicate, *layouts)
            mask = spec.mask(members.batch or 0, members.heads[0])
            kinds = Brute(Both(*layouts), mask).tile_map()
            assert found.pairs == int(mask.sum())
            np.testing.assert_array_equal(found.full, (kinds == 2).sum(1))
            np.testing.assert_array_equal(found.visited, (kinds > 0).sum(1))
    finally:
        alike.MANY = before


class Both:
    """The layouts that `Brute` asks for."""

    def __init__(self, query, key):
        self.query, self.key = query, key


LARGE = {
    "sliding": ({"n": 1 << 20}, (128,), (64,)),
    "windowed_tensor": ({"n": 1 << 20}, (128,), (8, 16)),
    "power_attention": ({"n": 1 << 20}, (128,), (64,)),
    "criss_cross": ({"h": 1024, "w": 1024}, (8, 16), (8, 8)),
    "region_isolation": ({"h": 1024, "w": 1024}, (8, 16), (8, 8)),
    "dinat": ({"h": 1024, "w": 1024}, (8, 16), (8, 8)),
}


@pytest.mark.parametrize("name", LARGE)
def test_few_pairs_of_ranges_are_looked_at_at_a_million_tokens(name, monkeypatch):
    """Far fewer than there are visited pairs of tiles."""
    sizes, *tiles = LARGE[name]
    attend, sizes = attndsl.load(name).attends[0].op, {**sizes, "heads": 1}
    predicate = head_classes(attend, sizes, sample_fields(attndsl.load(name), sizes, heads=1))[0].predicate
    sides = [tokens.extents(sizes) for tokens in (attend.query_tokens, attend.key_tokens)]
    looked_at = []
    decide = Predicate.decide
    monkeypatch.setattr(
        Predicate, "decide", lambda self, boxes: looked_at.append(len(boxes)) or decide(self, boxes)
    )
    found = alike_counts(predicate, *(Brick(extents, tile) for extents, tile in zip(sides, tiles)))
    assert 15 * sum(looked_at) < found.visited.sum()


def test_counts_at_a_million_tokens_are_those_of_a_formula():
    """A window of 1025 keys, cut off at both ends, in tiles of one query and of one key."""
    sizes = {"n": 1 << 20, "heads": 1}
    attend = attndsl.load("neighborhood1d", size=1025).attends[0].op
    (members,) = head_classes(attend, sizes)
    layout = Brick((1 << 20,), (1,))
    found = alike_counts(members.predicate, layout, layout)
    assert found.pairs == 1025 << 20
    assert set(found.full.tolist()) == set(found.visited.tolist()) == {1025}


def test_counts_of_a_dense_mask_follow_brute_force_at_odd_extents():
    attend = attndsl.load("criss_cross").attends[0].op
    sizes = {"h": 13, "w": 37, "heads": 1}
    (members,) = head_classes(attend, sizes)
    query, key = Brick((13, 37), (2, 5)), Brick((13, 37), (3, 4))
    found = alike_counts(members.predicate, query, key)
    mask = dense_mask(attend, sizes)[0, 0]
    kinds = Brute(Both(query, key), mask).tile_map()
    assert found.pairs == mask.sum()
    np.testing.assert_array_equal(found.visited, (kinds > 0).sum(1))
