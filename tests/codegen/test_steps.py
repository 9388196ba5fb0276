"""Steps of the tiled path: however the plan is dealt into steps, and whether it keeps them, results agree."""

import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st

from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels import groups, steps, tiled
from tests.codegen.build import check, quick, run, run_exact, tensors
from tests.strategies import specs, thorough, tile_shapes

TOLERANCE = 1e-4
ONE_TILE, FEW_TILES = 1, 1 << 13


@pytest.mark.parametrize(
    ("size", "kept", "full"),
    [
        (ONE_TILE, steps.KEPT, groups.FULL_KEYS),
        (FEW_TILES, steps.KEPT, groups.FULL_KEYS),
        (FEW_TILES, -1, 1),
        (steps.WORKSPACE, steps.KEPT, 1),
    ],
)
@thorough(40)
@given(specs(most=120), st.data())
def test_random_specs_in_small_steps(size, kept, full, spec, data):
    """Twice, since the second call finds the steps of the first; with keys that need no mask apart, or not."""
    sides = (tile_shapes(spec.query.extents), tile_shapes(spec.key.extents))
    backward = data.draw(st.none() | sides[0])
    tiles = Tiles(*(data.draw(shapes) for shapes in sides), backward_query=backward)
    note(f"{spec} {tiles}")
    module = quick(spec.program, {"out": tiles}).Module()
    exact = run_exact(spec.program, tensors(spec))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WORKSPACE", size), ("WORKSPACE_BACKWARD", size), ("KEPT", kept)):
            patch.setattr(steps, name, value)
        patch.setattr(groups, "FULL_KEYS", full)
        patch.setattr(groups, "HELD_MASK", 0 if full == 1 else groups.HELD_MASK)
        for _ in range(2):
            found = run(lambda leaves: module(*leaves.values(), return_lse=True), tensors(spec))
            check(found, exact, TOLERANCE)


WINDOW = (
    "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal and sliding(20)) }"
)


def plan_of(text, n=256):
    """The plan after a forward and a backward call."""
    tiled.PLANS.clear()
    module = quick(load_text(text), {"out": Tiles((16,), (4,))}).Module()
    q, k, v = (torch.randn(1, 2, n, 8, requires_grad=True) for _ in range(3))
    module(q, k, v).sum().backward()
    (known,) = tiled.PLANS
    return known.plan


def test_a_plan_keeps_the_steps_of_both_passes():
    plan = plan_of(WINDOW)
    assert len(plan.made) == 2
    before = {kind: [id(step) for step in kept] for kind, kept in plan.made.items()}
    q = torch.randn(1, 2, 256, 8)
    for backward in (False, True):
        found = [id(step) for step in steps.steps(plan, q, q, torch.float32, backward)]
        assert found == next(kept for kind, kept in before.items() if kind[-1] == backward)
        assert len(plan.made) == 2


UNLIKE = (
    "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = (i * i + j) % 257 < 99) }"
)
DOCUMENTS = (
    "attention a { tokens x[n]; input q, k, v : x; input doc : x int;"
    " return attend(q, k, v, where = causal and document(doc)) }"
)


@pytest.mark.parametrize(("room", "stay"), [(steps.KEPT, True), (1 << 16, False)])
def test_masks_that_few_tiles_share_stay_if_they_are_small(room, stay, monkeypatch):
    monkeypatch.setattr(steps, "KEPT", room)
    plan = plan_of(UNLIKE)
    held = [step for kept in plan.made.values() for step in kept if step.group.classes is not None]
    assert any(not step.group.shares for step in held)
    assert all(("hidden" in vars(step)) == stay for step in held if not step.group.shares)


def test_masks_of_documents_do_not_stay():
    """Each batch has its own, and plans of many batches are remembered."""
    tiled.PLANS.clear()
    module = quick(load_text(DOCUMENTS), {"out": Tiles((16,), (4,))}).Module()
    q, k, v = (torch.randn(1, 2, 250, 8) for _ in range(3))
    module(q, k, v, (torch.arange(250) ** 2 % 7).sort().values[None])
    (known,) = tiled.PLANS
    held = [step for kept in known.plan.made.values() for step in kept if not step.group.shares]
    assert any(step.group.classes is not None for step in held)
    assert not any("hidden" in vars(step) for step in held)


def test_large_steps_are_not_kept(monkeypatch):
    monkeypatch.setattr(steps, "KEPT", 0)
    assert not plan_of(WINDOW).made


@pytest.mark.parametrize(("where", "complete"), [("causal", True), ("causal and i >= 64", False)])
def test_results_are_cleared_only_where_queries_see_no_key(where, complete):
    text = f"attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    assert plan_of(text).complete == complete
