"""Groups of query tiles: chains whose keys slide are found, gathered once, and change no result."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels import steps, tiled
from attndsl_codegen.kernels.groups import key_chains
from attndsl_codegen.kernels.steps import step_members
from tests.codegen.build import check, quick, run, run_exact
from tests.strategies import thorough

TOLERANCE = 1e-4
IMAGE = """
attention a {
  tokens x[h, w]
  input q, k, v : x
  return attend(q, k, v, where = h: window(5) and w: window(3))
}
"""
LINE = """
attention a {
  tokens x[n]
  input q, k, v : x
  return attend(q, k, v, where = causal and sliding(20))
}
"""


@thorough(200)
@given(st.data())
def test_chains_slide_evenly(data):
    """Every member of a chain sees what the one before sees, moved on by the same number of key tiles."""
    members, visited = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 8))
    moves = data.draw(st.lists(st.integers(0, 4), min_size=members - 1, max_size=members - 1))
    starts = torch.tensor([0, *moves]).cumsum(0)
    keys = starts.unsqueeze(1) + torch.arange(visited)
    slides, lengths = key_chains(keys)
    assert int(lengths.sum()) == members
    at = 0
    for length in lengths.tolist():
        own = keys[at : at + length]
        slide = int(slides[at + length - 1])
        if length > 1:
            assert 0 < 2 * slide <= visited
            assert torch.equal(own[1:, : visited - slide], own[:-1, slide:])
        at += length
    longest = max_run(moves, visited)
    assert int(lengths.max()) >= longest


def max_run(moves, visited):
    """The members of the longest stretch of equal moves that keep half of the keys, without its first."""
    best = now = 0
    for before, move in zip([None, *moves], moves):
        now = now + 1 if move == before and 0 < 2 * move <= visited else 0
        best = max(best, now)
    return best


def test_keys_with_a_gap_that_does_not_move_are_no_chain():
    keys = torch.tensor([[0, 1, 2, 9], [1, 2, 3, 9], [2, 3, 4, 9], [3, 4, 5, 9]])
    assert key_chains(keys)[1].tolist() == [1, 1, 1, 1]


def image(kv_heads, extents=(23, 16)):
    torch.manual_seed(0)
    shapes = (1, 4, *extents, 8), (1, kv_heads, *extents, 8), (1, kv_heads, *extents, 8)
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in zip("qkv", shapes)}


@pytest.mark.parametrize("room", [1, 1 << 15, 1 << 21])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_windows_of_an_image_slide(kv_heads, room, monkeypatch):
    """Rows of a window are gathered once for a column of tiles, however many fit the workspace."""
    for name in ("WORKSPACE", "WORKSPACE_BACKWARD"):
        monkeypatch.setattr(steps, name, room)
    tiled.PLANS.clear()
    program = load_text(IMAGE)
    module = quick(program, {"out": Tiles((2, 4), (1, 2))}).Module()
    given = image(kv_heads)
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), given)
    check(found, run_exact(program, given), TOLERANCE)
    (known,) = tiled.PLANS
    slid = [group for group in known.plan.groups if group.slide]
    assert len(slid) >= 2
    assert all(len(group.queries) % group.chain == 0 for group in slid)


@pytest.mark.parametrize("kv_heads", [4, 1])
def test_a_window_along_a_line_slides_where_heads_share_keys(kv_heads):
    """Shared key heads are not read in place: their steps gather every key about once."""
    tiled.PLANS.clear()
    program = load_text(LINE)
    module = quick(program, {"out": Tiles((16,), (4,))}).Module()
    torch.manual_seed(0)
    given = {
        name: torch.randn(1, heads, 512, 8, dtype=torch.float64)
        for name, heads in (("q", 4), ("k", kv_heads), ("v", kv_heads))
    }
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), given)
    check(found, run_exact(program, given), TOLERANCE)
    (known,) = tiled.PLANS
    (group,) = (g for g in known.plan.groups if g.slide)
    assert 2 * group.key_runs.numel() < group.runs.numel()


def test_a_backward_pass_has_tiles_of_its_own():
    tiled.PLANS.clear()
    program = load_text(LINE)
    module = quick(program, {"out": Tiles((16,), (4,), backward_query=(24,))}).Module()
    torch.manual_seed(0)
    given = {name: torch.randn(2, 2, 121, 8, dtype=torch.float64) for name in "qkv"}
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), given)
    check(found, run_exact(program, given), TOLERANCE)
    assert [known.plan.query.tile for known in tiled.PLANS] == [(24,), (16,)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_keys_that_need_no_mask_are_computed_apart(dtype):
    """Of a causal mask only the diagonal is masked, the same for all tiles; results are joined, once rounded."""
    tiled.PLANS.clear()
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }"
    )
    module = quick(program, {"out": Tiles((128,), (16,))}).Module()
    torch.manual_seed(0)
    given = {name: torch.randn(2, 2, 1000, 8, dtype=dtype) for name in "qkv"}
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), given)
    exact = run_exact(program, {name: tensor.double() for name, tensor in given.items()})
    check(found, exact, TOLERANCE if dtype == torch.float64 else 2e-2)
    (known,) = tiled.PLANS
    adding = [group for group in known.plan.groups if group.adds]
    assert sum(len(group.queries) for group in adding) == 6  # the first two tiles see too few keys
    assert all(group.classes is None for group in known.plan.groups if len(group.keys[0]) * 16 > 3 * 128)
    assert known.plan.complete


def test_a_small_mask_that_tiles_share_stays():
    tiled.PLANS.clear()
    program = load_text(LINE.replace("sliding(20)", "sliding(800)"))
    module = quick(program, {"out": Tiles((128,), (16,))}).Module()
    module(*(torch.randn(1, 1, 2500, 8) for _ in "qkv"))
    (known,) = tiled.PLANS
    shared = [group for group in known.plan.groups if group.shares and len(group.keys[0]) * 16 > 800]
    assert sum(len(group.queries) for group in shared) >= 12


def test_steps_are_equally_large():
    """Where all members of a chain but one fit, they are dealt into halves."""
    tiled.PLANS.clear()
    module = quick(load_text(IMAGE), {"out": Tiles((2, 4), (1, 2))}).Module()
    module(*(image(4)[name] for name in "qkv"))
    (known,) = tiled.PLANS
    group = next(g for g in known.plan.groups if g.slide and len(g.queries) > g.chain)
    tokens = (group.keys.shape[1] + (group.chain - 2) * group.slide) * known.plan.key.slots
    parts = list(step_members(known.plan, group, steps.WORKSPACE // tokens, backward=False))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == 2 * len(group.queries) // group.chain
    assert max(sizes) - min(sizes) <= 1
