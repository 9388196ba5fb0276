"""Blocks: tiles that begin where the blocks of a mask do see the same pairs, and visit few keys."""

import numpy as np
import pytest

from attndsl.analysis.attention import dense_mask
from attndsl.language import load_text
from attndsl.planning.blocks import Blocks, blocks_of, placed_at
from attndsl.planning.tiles import choose_tiles


def attend(where: str, axes: str = "n"):
    text = f"attention a {{ tokens x[{axes}]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    return load_text(text).attends[0].op


FOUND = {
    "block(7)": Blocks((7,), (0,)),
    "block(7, 3)": Blocks((7,), (4,)),
    "block(8, 4)": Blocks((8,), (4,)),
    "block(100)": Blocks((50,), (0,)),
    "block(100, 30)": Blocks((50,), (20,)),
    "causal and block(12, 1)": Blocks((12,), (11,)),
    "(i + 2) // 9 == (j + 2) // 9 + 1": Blocks((9,), (2,)),
}
NONE = {
    "tiles of 64 match": "block(64)",
    "no common side": "i // 7 == j // 5",
    "too small": "block(3)",
    "a prime": "block(127)",
    "not blocks": "sliding(9)",
    "products": "(2 * i) // 7 == (2 * j) // 7",
}


@pytest.mark.parametrize("where", list(FOUND))
def test_blocks_are_found(where):
    assert blocks_of(attend(where)) == FOUND[where]


@pytest.mark.parametrize("where", NONE.values(), ids=list(NONE))
def test_other_masks_have_none(where):
    assert blocks_of(attend(where)) is None


def test_axes_have_blocks_of_their_own():
    assert blocks_of(attend("h: block(7, 3) and w: sliding(2)", "h, w")) == Blocks((7, None), (4, 0))


@pytest.mark.parametrize("where", [w for w in FOUND if any(FOUND[w].origin)])
def test_the_same_pairs_are_seen_from_another_origin(where):
    op, sizes = attend(where), {"n": 61, "heads": 1}
    (empty,) = FOUND[where].origin
    placed = dense_mask(placed_at(op, (empty,)), sizes)[0, 0]
    assert not placed[:empty].any()
    assert not placed[:, :empty].any()
    assert np.array_equal(placed[empty:, empty:], dense_mask(op, sizes)[0, 0])


def test_tiles_of_few_tokens_match_no_blocks():
    assert blocks_of(attend("block(6)")) == Blocks((6,), (0,))
    assert choose_tiles(attend("block(6)"), {"n": 1024, "heads": 1}).query != (6,)
    assert choose_tiles(attend("block(12)"), {"n": 1024, "heads": 1}).query == (12,)


@pytest.mark.parametrize(
    ("where", "axes", "least"),
    [("h: block(7) and w: block(7)", "h, w", 49), ("h: block(7, 3) and w: block(7, 3)", "h, w", 60)],
)
def test_tiles_are_blocks(where, axes, least):
    sizes = {"h": 56, "w": 56, "heads": 1}
    found = choose_tiles(attend(where, axes), sizes)
    assert found.query == found.key == (7, 7)
    assert found.visits <= least
