"""Schedules for masks that look up fields: right for any labels, and made without a look at any value."""

import json
import math
from contextlib import nullcontext
from functools import cache
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.fields import Field
from attndsl_codegen.kernels.masks import tile_masks
from attndsl_codegen.kernels.tiles import Bricks
from attndsl_codegen.kernels.triton import labels, launch, lookups, schedule
from attndsl_codegen.kernels.triton.configurations import Configuration, brick
from tests.codegen.build import check, quick, run, run_exact
from tests.strategies import thorough

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

SMALL = Configuration(queries=16, keys=16, warps=4, stages=1)
MASKS = {
    "documents": ("x[n]", "doc : x int", "document(doc)"),
    "causal documents": ("x[n]", "doc : x int", "causal and document(doc)"),
    "documents of a window": ("x[n]", "doc : x int", "sliding(20) and document(doc) and doc[i] != 2"),
    "a prefix": ("x[n]", "doc : x bool", "causal or doc[j]"),
    "flags of distances": ("x[n]", "doc : x bool", "causal and doc[max(i - j, 0)]"),
    "a reach of its own": ("x[n]", "doc : x int", "abs(i - j) <= (doc[i] if i % 2 == 0 else 3)"),
    "labels of labels": ("x[n]", "doc : x int", "doc[clamp(doc[i], 0, x.n - 1)] <= doc[j] or j < i - 5"),
    "heads differ": ("x[n]", "doc : x int", "sliding((3, 17)[head % 2]) and document(doc)"),
    "residue classes": ("x[n]", "doc : x int", "dilated(3) and doc[i] == doc[j]"),
    "regions": ("x[h, w]", "doc : x int", "doc[i] == doc[j] or doc[i] == 0"),
    "regions of windows": ("x[h, w]", "doc : x int", "h: sliding(2) and w: causal and doc[i] != doc[j]"),
    "mixed places": ("x[h, w]", "doc : x int", "doc[i.h, j.w] <= doc[j.h, i.w]"),
    "clusters of a grid": ("x[h, w]", "doc : x int", "doc[i] == doc[j] and i.h <= j.h + 3"),
    "clusters of others": (
        "x[n]",
        "doc : x int",
        "doc[i] == doc[j] and doc[max(i - 1, 0)] != doc[max(j - 2, 0)]",
    ),
    "volumes": ("x[t, h, w]", "doc : x bool", "t: causal and (doc[j] or h: sliding(1))"),
}
BY_LABELS = {"documents", "causal documents", "clusters of a grid", "clusters of others"}
"""Masks whose tiles are of tokens in the order of their labels."""
IF_SHORT = {"documents of a window", "heads differ"}
"""The same, where the window spans a good part of the tokens."""
EXTENTS = {
    1: [(1,), (15,), (37,), (64,), (100,)],
    2: [(1, 1), (5, 7), (8, 16), (11, 9)],
    3: [(2, 3, 5), (3, 4, 4)],
}


def program_of(name):
    tokens, field, where = MASKS[name]
    text = f"attention a {{ tokens {tokens}; input q, k, v : x; input {field}; return attend(q, k, v, where = {where}) }}"
    return load_text(text)


def axes_of(name):
    return MASKS[name][0].count(",") + 1


@cache
def module_of(name):
    axes = axes_of(name)
    steps = ((3,), (3,)) if name == "residue classes" else ((), ())
    return quick(
        program_of(name),
        {"out": Tiles((4,) * (axes + bool(steps[0])), (4,) * (axes + bool(steps[0])), *steps)},
    )


def drawn_labels(name, extents, batch, generator):
    """Random labels, in no order; every other time in runs."""
    shape = (batch, *extents)
    found = torch.randint(-1, 4, shape, generator=generator)
    if torch.rand((), generator=generator) < 0.5:
        found = found.flatten(1).sort(1).values.view(shape)
    return found > 1 if "bool" in MASKS[name][1] else found


def visited(rows, runs, count, others):
    """(batch, heads, rows, others): 0 where a tile is not visited, 1 where it is full, 2 where partial."""
    found = torch.zeros(*rows.shape[:3], others, dtype=torch.long)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in rows.shape[:3])).tolist():
        for kind in (0, 1):
            at, left = rows[tuple(place)][2 * kind : 2 * kind + 2].tolist()
            before = -1
            while left > 0:
                first, length = runs[at].tolist()
                assert 0 <= before + 1 <= first
                assert 0 < length <= left
                assert first + length <= others
                assert not found[tuple(place)][first : first + length].any()
                found[tuple(place)][first : first + length] = kind + 1
                before, left, at = first + length - 1, left - length, at + 1
            assert left == 0
            assert at <= len(runs) - 1
    assert rows.shape[2] == count
    return found


class InOrder(Bricks):
    """Tiles of tokens in an order, (batch | 1, heads | 1, tokens); all layers at once."""

    def __init__(self, order, slots, extents):
        super().__init__((order.shape[2],), (slots,), clipped=False)
        self.order, self.grid_of_tokens = order, extents

    def coordinates(self, tiles):
        (place,), exists = super().coordinates(tiles)
        token = self.order[0, 0, place].long()
        return [*torch.unravel_index(token, tuple(self.grid_of_tokens))], exists


def masks_of(mechanism, at, tiles, layers, order):
    """Whether all, and whether any pairs of tokens of two tiles are visible, (batch, heads, queries, keys)."""
    query, key = tiles
    if order is not None:  # of one layer at a time
        layer = torch.cartesian_prod(*(torch.arange(n) for n in layers)).tolist()
        found = [masks_in_order(mechanism, at, tiles, place, order) for place in layer]
        return tuple(torch.stack(part).unflatten(0, layers) for part in zip(*found))
    pairs = torch.cartesian_prod(*(torch.arange(n) for n in (*layers, query.count, key.count)))
    masks = tile_masks(mechanism, tiles, pairs, at)
    exists = query.coordinates(pairs[:, 2])[1].unsqueeze(-1)
    shape = (*layers, query.count, key.count)
    return (masks | ~exists).all((1, 2)).view(shape), (masks & exists).any((1, 2)).view(shape)


def masks_in_order(mechanism, at, tiles, layer, order):
    """The same for tiles of tokens in an order, of one batch element and head."""
    sides = [
        InOrder(t[layer[0] % t.shape[0], layer[1] % t.shape[1]][None, None], side.slots, side.extents)
        for t, side in zip((order.query, order.key), tiles)
    ]
    pairs = torch.cartesian_prod(*(torch.tensor([n]) for n in layer), *(torch.arange(s.count) for s in sides))
    masks = tile_masks(mechanism, tuple(sides), pairs, at)
    exists = sides[0].coordinates(pairs[:, 2])[1].unsqueeze(-1)
    shape = sides[0].count, sides[1].count
    return (masks | ~exists).all((1, 2)).view(shape), (masks & exists).any((1, 2)).view(shape)


def sizes_of(mechanism, extents):
    """The sizes of a call with two heads."""
    names = mechanism.query.axes if len(extents) > 1 else ("n",)
    return {**dict(zip(names, extents)), "heads": 2}


def planned(name, doc, of_keys):
    """The schedule of labels, the truth about their tiles, and the candidates."""
    mechanism = module_of(name).names["OutAttend"]
    at = {**sizes_of(mechanism, doc.shape[1:]), "device": doc.device, "doc": Field(doc.unsqueeze(1))}
    shape = doc.shape[0], 2
    sides = brick(8, axes_of(name)), brick(16, axes_of(name))
    schedule.CANDIDATES.clear()
    found = schedule.labelled_schedule(mechanism, at, sides, shape, of_keys)
    tiles = schedule.bricks(mechanism, at, sides)
    layers = schedule.layers_of(mechanism, shape)
    in_order = [schedule.tiles_in_order(side) for side in tiles] if found.order is not None else tiles
    counts = [side.count for side in in_order]
    owner, other = reversed(counts) if of_keys else counts
    seen = visited(found.rows, found.runs, owner, other)
    every, some = masks_of(mechanism, at, tiles, layers, found.order)
    ordered = found.order is not None
    assert ordered if name in BY_LABELS else not ordered or name in IF_SHORT
    return (seen.transpose(2, 3) if of_keys else seen), every, some, schedule.CANDIDATES[0].made


@thorough(60)
@given(st.sampled_from(sorted(MASKS)), st.data())
def test_schedules_visit_what_they_must(name, data):
    extents = data.draw(st.sampled_from(EXTENTS[axes_of(name)]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    doc = drawn_labels(name, extents, data.draw(st.integers(1, 2)), generator)
    most = data.draw(st.sampled_from([1, 20, 60, 1 << 22]))
    size = data.draw(st.sampled_from([3, 1 << 20]))
    of_keys = data.draw(st.booleans())
    with patch.object(labels, "MOST_CANDIDATES", most), patch.object(labels, "DECIDED", size):
        seen, every, some, candidates = planned(name, doc, of_keys)
    assert not (some & (seen == 0)).any()
    assert not ((seen == 1) & ~every).any()
    rows = seen.shape[2 + of_keys] * seen.shape[0] * seen.shape[1]
    assert len(candidates.first) * seen.shape[0] <= max(most, rows)


@pytest.mark.parametrize("of_keys", [False, True])
@pytest.mark.parametrize("name", ["documents", "causal documents", "a prefix", "regions"])
def test_schedules_visit_no_more(name, of_keys):
    """Where bounds are exact: sorted labels on an axis, uniform ones on a grid."""
    doc = torch.arange(96).view(1, 96).expand(2, -1) // 19
    if name == "a prefix":
        doc = doc < 2
    if name == "regions":
        doc = (torch.arange(16).view(16, 1) // 8 + torch.arange(8) // 4 * 2 + 1).unsqueeze(0)
    seen, every, some, _ = planned(name, doc, of_keys)
    assert torch.equal(seen, torch.where(every, 1, torch.where(some, 2, 0)))


# --- the kernels ------------------------------------------------------------------------------------


def inputs_of(name, extents, batch=2):
    """Random inputs of a program."""
    generator = torch.Generator().manual_seed(1)
    found = {n: torch.randn(batch, 2, *extents, 16, generator=generator) for n in ("q", "k", "v")}
    return found | {"doc": drawn_labels(name, extents, batch, generator)}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("causal documents", 1 << 22),
        ("clusters of a grid", 30),
        ("clusters of others", 1 << 22),
        ("a prefix", 30),
        ("labels of labels", 30),
        ("regions", 1 << 22),
        ("volumes", 30),
    ],
)
def test_kernels_agree_with_the_definition(name, most, monkeypatch):
    monkeypatch.setattr(labels, "MOST_CANDIDATES", most)
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)
    monkeypatch.setattr(launch, "tiled", None)  # torch would fail
    schedule.CANDIDATES.clear()
    inputs, module = (
        inputs_of(name, EXTENTS[axes_of(name)][1 + (axes_of(name) == 1)]),
        module_of(name).Module(),
    )
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), inputs)
    check(found, run_exact(program_of(name), inputs), 1e-4)


def test_tiles_that_visit_most_come_first():
    """Of causal documents those at their ends, for queries; the tiles at their beginnings, for keys."""
    doc = (torch.arange(96) // 64).expand(2, -1)
    for of_keys in (False, True):
        mechanism = module_of("causal documents").names["OutAttend"]
        at = {**sizes_of(mechanism, (96,)), "device": doc.device, "doc": Field(doc.unsqueeze(1))}
        made = schedule.labelled_schedule(mechanism, at, ((16,), (16,)), (2, 2), of_keys)
        assert made.turns.tolist() == ([0, 1, 2, 4, 3, 5] if of_keys else [3, 2, 1, 5, 0, 4])


def test_other_labels_of_the_same_tensor_are_seen(monkeypatch):
    """Nothing of a call with other labels is left, even where they are written into the same memory."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)
    inputs, module = inputs_of("documents", (40,), 1), module_of("documents").Module()
    for last in (8, 40):
        inputs["doc"].copy_(torch.arange(40) // last)
        check(
            run(lambda leaves: module(*leaves.values(), return_lse=True), inputs),
            run_exact(program_of("documents"), inputs),
            1e-4,
        )


# --- nothing waits for the device -------------------------------------------------------------------


class Waits(RuntimeError):
    """An operation whose result the host must see, or that copies between host and device."""


WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "repeat_interleave")


class NoWaiting(TorchDispatchMode):
    """Refuses operations that wait for the device; counts the others."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._schema.name.removeprefix("aten::")
        if name in WAITING or name.startswith(("unique", "_unique")):
            raise Waits(name)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name.startswith("index") and any(
            t.dtype == torch.bool for t in tree_leaves(args[1:2]) if isinstance(t, torch.Tensor)
        ):
            raise Waits(f"{name} with a mask")
        found = operator(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        if any(t.device.type != "meta" and t.dim() for t in (*tensors, *results)):
            raise Waits(f"{name} on the host")
        self.count += 1
        return found


class Kernel:
    """Stands for a kernel: nothing runs."""

    launched = 0

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **constants):
        Kernel.launched += 1


def without_values(name, extents, monkeypatch, guard):
    """Forward and backward pass on tensors that have no values: those of the device `meta`."""
    for kernel in ("softmax_forward_kernel", "softmax_query_gradient_kernel", "softmax_key_gradient_kernel"):
        monkeypatch.setattr(launch, kernel, Kernel())
    monkeypatch.setattr(launch, "why_not_triton", lambda *_: None)
    q, k, v = (torch.empty(2, 2, math.prod(extents), 64, device="meta", requires_grad=True) for _ in range(3))
    doc = torch.empty(2, 1, *extents, device="meta", dtype=torch.long)
    doc = doc > 1 if "bool" in MASKS[name][1] else doc
    mechanism = module_of(name).names["OutAttend"]
    at = {**sizes_of(mechanism, extents), "q.width": 64, "real dtype": torch.float32, "doc": Field(doc)}
    for context in (nullcontext(), guard):  # the first call plans
        with context:
            out, lse = launch.tiled_softmax(mechanism, at, q, k, v)
            (out.sum() + lse.sum()).backward()
    return out, q.grad


@pytest.mark.parametrize("name", MASKS)
def test_nothing_waits_for_the_device(name, monkeypatch):
    guard, before = NoWaiting(), Kernel.launched
    results = without_values(name, EXTENTS[axes_of(name)][-1], monkeypatch, guard)
    assert all(t.device.type == "meta" for t in results)
    both = name in BY_LABELS | IF_SHORT and axes_of(name) == 1  # in their order, and where they are
    assert Kernel.launched == before + (12 if both else 6)
    assert guard.count <= 700  # of both passes: none per tile, or per label


LOOKED_UP = {
    "a table, in documents": (
        "learn t : [199] scalar",
        "where = causal and document(doc), bias = t[i - j + 99]",
    ),
    "a field, in documents": ("input t : x scalar", "where = causal and document(doc), bias = t[j]"),
    "a table of labels": ("learn t : [4, 4] scalar", "bias = t[doc[i], doc[j]]"),
    "a factor of labels, in documents": ("learn t : [4] scalar", "where = document(doc), times = t[doc[j]]"),
    "weights of a window in documents": (
        "learn t : [19] scalar",
        "where = sliding(9) and document(doc), normalize = sigmoid, bias = t[i - j + 9]",
    ),
}


@pytest.mark.parametrize("name", LOOKED_UP)
def test_gradients_of_fields_do_not_wait(name, monkeypatch):
    """Whether labels hide pairs, or say where a table is looked up."""
    declared, options = LOOKED_UP[name]
    text = f"attention a {{ tokens x[n]; input q, k, v : x; input doc : x int; {declared}; return attend(q, k, v, {options}) }}"
    mechanism = quick(load_text(text), {"out": Tiles((16,), (16,))}).names["OutAttend"]
    names = ("forward", "query_gradient", "key_gradient", "lookup_gradient")
    for module in (launch, lookups):
        for kernel in (*(f"softmax_{kernel}_kernel" for kernel in names), "weighted_forward_kernel"):
            monkeypatch.setattr(module, kernel, Kernel(), raising=False)
    monkeypatch.setattr(launch, "why_not_triton", lambda *_: None)
    q, k, v = (torch.empty(2, 2, 100, 64, device="meta", requires_grad=True) for _ in range(3))
    shape = (
        (2, 2, 100)
        if declared.startswith("input")
        else (1, 2, *json.loads(declared[declared.index("[") : declared.index("]") + 1]))
    )
    t = torch.empty(shape, device="meta", requires_grad=True)
    doc = Field(torch.empty(2, 1, 100, device="meta", dtype=torch.long))
    at = {"n": 100, "heads": 2, "q.width": 64, "real dtype": torch.float32, "doc": doc, "t": Field(t)}
    for context in (nullcontext(), NoWaiting()):  # the first call plans
        with context:
            launch.by_triton(mechanism, at, q, k, v)[0].sum().backward()
    assert t.grad.shape == t.shape


def test_what_waits_is_found(monkeypatch):
    """The guard sees schedules that the host makes."""
    monkeypatch.setattr(schedule, "labelled_schedule", schedule.make_schedule)
    with pytest.raises((Waits, NotImplementedError)):
        without_values("documents", (100,), monkeypatch, NoWaiting())
    for waits in (
        lambda t: t[t > 0],
        lambda t: t.unique(),
        lambda t: t.sum().item(),
        lambda t: t.new_empty(3, device="cpu"),
        lambda t: torch.tensor([1, 2]).to(t.device),
    ):
        with pytest.raises(Waits), NoWaiting():
            waits(torch.ones(3, device="meta"))
