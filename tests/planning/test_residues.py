"""Residue classes: the split attend sees the same pairs, and tiles of dilated masks visit far fewer keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attndsl.analysis.attention import analyse, dense_mask
from attndsl.analysis.layout import Brick
from attndsl.language import load_text
from attndsl.planning.residues import candidate_steps, split_attend
from attndsl.planning.tiles import choose_tiles


def attend(where: str, axes: str = "n"):
    text = f"attention a {{ tokens x[{axes}]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    return load_text(text).attends[0].op


def split_mask(op, steps, sizes):
    """The mask over tokens, put together from phases and rounds."""
    split = split_attend(op, steps, steps, exact=True)
    mask = dense_mask(split, {**sizes, "heads": 1})[0, 0]
    extents = op.query_tokens.extents(sizes)
    grids = np.meshgrid(*(np.arange(e) for e in split.query_tokens.extents(sizes)), indexing="ij")
    places = [grid.ravel() for grid in grids]
    number = np.zeros_like(places[0])
    exists = np.ones(len(number), dtype=bool)
    for extent, step in zip(extents, steps):
        coord = places.pop(0)
        if step > 1:
            coord = places.pop(0) * step + coord
        exists &= coord < extent
        number = number * extent + coord
    assert not mask[~exists].any()
    assert not mask[:, ~exists].any()
    order = number[exists].argsort()
    return mask[exists][:, exists][order][:, order]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), step=st.integers(2, 7), radius=st.integers(0, 20), causal=st.booleans())
def test_the_same_pairs(n, step, radius, causal):
    op = attend(f"dilated({step}) and sliding({radius})" + " and causal" * causal)
    expected = dense_mask(op, {"n": n, "heads": 1})[0, 0]
    assert np.array_equal(split_mask(op, (step,), {"n": n}), expected)


@pytest.mark.parametrize("extents", [(14, 15), (21, 9)])
def test_the_same_pairs_on_a_grid(extents):
    op = attend("h: dilated_window(3, 2) and w: dilated_window(3, 3)", "h, w")
    sizes = dict(zip("hw", extents))
    expected = dense_mask(op, {**sizes, "heads": 1})[0, 0]
    assert np.array_equal(split_mask(op, (2, 3), sizes), expected)


def test_counts_stay_exact_where_steps_do_not_divide():
    op = attend("causal and dilated(4)")
    split = split_attend(op, (4,), (4,), exact=True)
    layouts = [Brick(split.query_tokens.extents({"n": 103}), (1, 8))] * 2
    counts = analyse(split, {"n": 103, "heads": 1}, *layouts).classes[0].counts
    assert counts.pairs == dense_mask(op, {"n": 103, "heads": 1}).sum()


def test_dilated_masks_are_split_and_others_are_not():
    sizes = {"n": 2048, "heads": 1}
    split = choose_tiles(attend("dilated(8) and sliding(512)"), sizes)
    assert split.query_steps == split.key_steps == (8,)
    assert split.visits < 250  # of 1,024 keys within reach, one in eight is visible
    assert choose_tiles(attend("causal and sliding(128)"), sizes).query_steps == ()


def test_only_moduli_of_the_mask_are_candidates():
    assert list(candidate_steps(attend("causal"))) == [((1,), (1,))]
    assert {steps for steps, _ in candidate_steps(attend("i % 6 == j % 6 and i % 2 == 0"))} == {
        (1,),
        (2,),
        (6,),
    }
    assert {steps for steps, _ in candidate_steps(attend("i % 1000 == j % 1000"))} == {(1,)}
