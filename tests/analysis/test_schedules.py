"""Schedules and counts of random specs against brute force, on bricks and rasters of any tile shape."""

from math import prod

import numpy as np
import pytest
from hypothesis import event, given, note
from hypothesis import strategies as st

from attndsl.analysis.attention import Analysis, HeadClass, analyse, dense_mask, head_classes
from attndsl.analysis.layout import make_layout, slots
from attndsl.analysis.refine import in_stretches, sampled_visits
from attndsl.analysis.schedule import FULL, Schedule
from attndsl.language import load_text
from tests.strategies import Spec, specs, thorough, tile_shapes, tiles_of

EMPTY, PARTIAL, WHOLE = 0, 1, 2


class Brute:
    """Everything about one class of heads, found by looking at every pair.

    Attributes:
        mask: (queries, keys).
        query, key: per tile the token of each slot, -1 where there is none.
    """

    def __init__(self, analysis: Analysis, mask: np.ndarray) -> None:
        self.mask = mask
        self.query, self.key = (
            np.array(list(tiles_of(layout.tile, layout.extents))) for layout in (analysis.query, analysis.key)
        )

    def slots(self, query_tile: int, key_tile: int) -> np.ndarray:
        """Which slots of the key tile each slot of the query tile sees."""
        q, k = self.query[query_tile], self.key[key_tile]
        return self.mask[q[:, None], k[None, :]] & (q >= 0)[:, None] & (k >= 0)[None, :]

    def tile_map(self) -> np.ndarray:
        """0 without a visible pair, 2 where every query token sees every slot, else 1."""
        kinds = np.zeros((len(self.query), len(self.key)), dtype=int)
        for at, tokens in enumerate(self.query):
            for to in range(len(self.key)):
                seen = self.slots(at, to)
                kinds[at, to] = WHOLE if seen[tokens >= 0].all() else int(seen.any())
        return kinds


def drawn_layout(draw, extents):
    """A brick or a raster of any size, at most 40 tiles of them."""
    fewest = -(-prod(extents) // 40)
    if draw(st.booleans()):
        tile = draw(tile_shapes(extents))
        if prod(tile) >= fewest:
            return make_layout(extents, tile)
    return make_layout(extents, (draw(st.integers(fewest, prod(extents) + 3)),))


@st.composite
def analysed(draw, most=40):
    """A spec with its analysis."""
    spec = draw(specs(most, reals=False))
    query, key = drawn_layout(draw, spec.query.extents), drawn_layout(draw, spec.key.extents)
    note(f"{spec} {query} {key}")
    op = spec.program.attends[0].op
    return spec, analyse(op, spec.sizes, query, key, spec.fields)


def rows_of(schedule: Schedule) -> list[list[tuple[int, int, int]]]:
    """Per row its runs (start, length, mask class)."""
    runs = list(zip(schedule.start.tolist(), schedule.length.tolist(), schedule.mask_class.tolist()))
    ends = schedule.row_start.tolist()
    return [runs[a:b] for a, b in zip(ends, ends[1:])]


def check_rows(schedule: Schedule) -> None:
    """Runs are sorted and disjoint, neighbours that are full are one run, partial runs are single tiles."""
    assert schedule.row_start[0] == 0
    assert schedule.row_start[-1] == len(schedule.start) == len(schedule.length) == len(schedule.mask_class)
    for row in rows_of(schedule):
        for start, length, kind in row:
            assert length >= 1
            assert start >= 0
            assert start + length <= prod(schedule.key.grid)
            assert kind >= FULL
            assert length == 1 or kind == FULL
        for (start, length, kind), (after, _, kind_after) in zip(row, row[1:]):
            assert start + length <= after
            assert start + length < after or FULL not in (kind, kind_after) or kind != kind_after


def check_class(found: HeadClass, brute: Brute) -> None:
    schedule, counts = found.schedule, found.counts
    kinds = brute.tile_map()
    np.testing.assert_array_equal(schedule.tile_map(), kinds)  # implies that every visible pair is visited
    assert counts.pairs == brute.mask.sum()
    assert counts.total == kinds.size
    assert counts.visited == schedule.visited == (kinds != EMPTY).sum()
    assert counts.full == schedule.full == (kinds == WHOLE).sum()
    assert counts.partial == schedule.partial == (kinds == PARTIAL).sum()
    np.testing.assert_array_equal(schedule.visits_per_query_tile(), (kinds != EMPTY).sum(1))
    keys = found.keys_per_query()
    assert keys.shape == schedule.query.extents
    np.testing.assert_array_equal(keys.reshape(-1), brute.mask.sum(1))
    check_rows(schedule)
    check_rows(schedule.transpose)
    np.testing.assert_array_equal(schedule.transpose.tile_map(), kinds.T)
    assert [schedule.transpose.query, schedule.transpose.key] == [schedule.key, schedule.query]
    check_mask_classes(schedule, brute)


def check_mask_classes(schedule: Schedule, brute: Brute) -> None:
    """Partial tiles of one class have the same mask, slot by slot."""
    masks: dict[int, np.ndarray] = {}
    for row, start, kind in zip(schedule.row.tolist(), schedule.start.tolist(), schedule.mask_class.tolist()):
        if kind != FULL:
            seen = brute.slots(row, start)
            np.testing.assert_array_equal(seen, masks.setdefault(kind, seen), err_msg=f"class {kind}")


@thorough(500)
@given(analysed())
def test_schedule_is_what_brute_force_finds(case: tuple[Spec, Analysis]) -> None:
    spec, analysis = case
    fields = analysis.classes[0].batch is not None
    for batch in range(spec.batch if fields else 1):
        classes = [found for found in analysis.classes if found.batch == (batch if fields else None)]
        heads = [head for found in classes for head in found.heads]
        assert sorted(heads) == list(range(spec.heads))  # the classes partition the heads
        for found in classes:
            brute = Brute(analysis, spec.mask(batch, found.heads[0]))
            check_class(found, brute)
            for head in found.heads[1:]:
                np.testing.assert_array_equal(spec.mask(batch, head), brute.mask)
    event(f"axes {len(spec.query.axes)}, {len(spec.key.axes)}")
    event(f"kinds {sorted(set(brute.tile_map().flat))}")


@thorough(100)
@given(specs(reals=False))
def test_dense_mask_is_the_definition(spec: Spec) -> None:
    found = dense_mask(spec.program.attends[0].op, spec.sizes, spec.fields)
    expected = np.array([[spec.mask(b, h) for h in range(spec.heads)] for b in range(spec.batch)])
    assert found.shape[0] in (1, spec.batch)
    assert found.shape[1] in (1, spec.heads)
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


@thorough(80)
@given(analysed(most=200))
def test_schedules_of_more_tokens(case: tuple[Spec, Analysis]) -> None:
    """Enough tiles that many share a class; the masks are those of `dense_mask`, compared above."""
    spec, analysis = case
    masks = dense_mask(spec.program.attends[0].op, spec.sizes, spec.fields)
    for found in analysis.classes:
        heads = found.heads if masks.shape[1] > 1 else [0]
        brute = Brute(analysis, masks[found.batch or 0, heads[0]])
        check_class(found, brute)
        for head in heads:
            np.testing.assert_array_equal(masks[found.batch or 0, head], brute.mask)


@thorough(60)
@given(analysed())
def test_sampled_visits_bound_the_schedule(case: tuple[Spec, Analysis]) -> None:
    """The bounds alone visit at least what is visible; asked for every query tile, on average."""
    _, analysis = case
    tiles = prod(analysis.query.grid)
    for found in analysis.classes:
        full, open_ = sampled_visits(found.predicate, analysis.query, analysis.key, samples=tiles)
        assert full <= found.counts.full / tiles + 1e-9
        estimate = full + open_
        assert found.counts.visited / tiles <= estimate + 1e-9
        assert estimate <= prod(analysis.key.grid)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("causal", True),
        ("causal and sliding(40)", True),
        ("sliding(40) or sinks(4)", False),
        ("power(16)", False),
        ("i < 100 and false", True),
    ],
)
def test_keys_in_stretches(where: str, expected: bool) -> None:
    text = f"attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    (found,) = head_classes(load_text(text).attends[0].op, {"n": 1024, "heads": 1})
    query, key = make_layout((1024,), (64,)), make_layout((1024,), (16,))
    assert in_stretches(found.predicate, query, key, samples=8) == expected


def analysis_of(where: str, sizes: dict[str, int], query: tuple[int, ...], key: tuple[int, ...]) -> HeadClass:
    """The analysis of a mask over `x`, whose axes are the sizes."""
    op = (
        load_text(
            f"attention a {{ tokens x[{', '.join(sizes)}]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
        )
        .attends[0]
        .op
    )
    extents = tuple(sizes.values())
    return analyse(op, {**sizes, "heads": 1}, make_layout(extents, query), make_layout(extents, key)).classes[
        0
    ]


def test_bounds_that_multiply_still_give_exact_counts() -> None:
    """`min` of `max` of mod: nothing the bounds can decide on a tile, so tiles are looked into."""
    found = analysis_of("(i * j + i) % 3 == 1", {"n": 23}, (4,), (5,))
    i, j = np.mgrid[:23, :23]
    mask = (i * j + i) % 3 == 1
    assert found.counts.pairs == mask.sum()
    check_mask_classes(found.schedule, Brute(_analysis(found), mask))


def _analysis(found: HeadClass) -> Analysis:
    return Analysis(found.schedule.query, found.schedule.key, (found,))


@pytest.mark.parametrize("tile", [(16,), (7,), (64,)], ids=str)
def test_raster_tiles_of_equal_kind_but_other_pieces(tile: tuple[int, ...]) -> None:
    """Stretches of a 5-wide grid end mid-row at changing places: equal counts are not equal masks."""
    found = analysis_of("i.h == j.h", {"h": 9, "w": 5}, tile, tile)
    h = np.arange(45) // 5
    mask = h[:, None] == h
    check_class(found, Brute(_analysis(found), mask))


def test_tiles_at_the_corner_of_ragged_bricks() -> None:
    """A tile that lacks a row and one that lacks a column hold equally many tokens, in other slots."""
    found = analysis_of("i.h + i.w + j.h + j.w > 3", {"h": 3, "w": 3}, (2, 2), (2, 2))
    h, w = np.divmod(np.arange(9), 3)
    mask = (h + w)[:, None] + (h + w) > 3
    check_class(found, Brute(_analysis(found), mask))


def test_equal_tiles_share_a_class() -> None:
    """Classes are not merely right but few: a window has the same partial tiles all along the diagonal."""
    found = analysis_of("sliding(10)", {"n": 4096}, (16,), (16,))
    assert found.counts.partial == 256 + 2 * 255
    assert len(np.unique(found.schedule.mask_class)) == 3  # below, on and above the diagonal
    assert len(found.inside.masks) == 3


def test_slots_of_layouts() -> None:
    assert slots(make_layout((5, 7), (2, 4))) == 8
    assert slots(make_layout((5, 7), (6,))) == 6
    with pytest.raises(ValueError, match="2 sizes does not fit 3 axes"):
        make_layout((5, 7, 2), (2, 4))
