"""Attends whose tokens are taken in the order of their labels agree with the definition, and visit less."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attndsl
from attndsl.ir.labels import same_labels
from attndsl.language import load_text
from attndsl_codegen import generate
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels import plan, tiled
from attndsl_codegen.kernels.sorting import Sorted
from tests.codegen.build import check, quick, run, run_exact
from tests.strategies import thorough

TOLERANCE = 1e-4

SPECS = {
    "clusters": ("tokens x[n]; input q, k, v : x; input c : x int", "c[i] == c[j]", {"q": (11,), "k": (11,)}),
    "causal": ("tokens x[n]; input q, k, v : x; input c : x int", "causal and document(c)", {}),
    "grid": ("tokens x[h, w]; input q, k, v : x; input c : x int", "c[i] == c[j] and i.h <= j.h + 3", {}),
    "cross": (
        "tokens x[n]; tokens y[m]; input q : x; input k, v : y; input c : x int; input d : y int",
        "d[j] == c[i]",
        {},
    ),
    "heads differ": ("tokens x[n]; input q, k, v : x; input c : x int", "c[i] == c[j] and j <= i + head", {}),
}


def program_of(name):
    tokens, where, _ = SPECS[name]
    return load_text(f"attention a {{ {tokens}; return attend(q, k, v, where = {where}) }}")


def inputs_of(name, sizes, labels, seed):
    """Two batch elements, two heads, width 5; labels below `labels`."""
    random = torch.Generator().manual_seed(seed)
    n, m = sizes
    query, key = ((n, m), (n, m)) if name == "grid" else ((n,), (m if name == "cross" else n,))
    real = {
        "q": torch.randn(2, 2, *query, 5, generator=random),
        "k": torch.randn(2, 2, *key, 5, generator=random),
        "v": torch.randn(2, 2, *key, 5, generator=random),
    }
    fields = {"c": query, "d": key} if name == "cross" else {"c": query}
    return {
        **real,
        **{f: torch.randint(labels, (2, *shape), generator=random) for f, shape in fields.items()},
    }


@pytest.mark.parametrize("name", SPECS)
@thorough(25)
@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 7)),
    labels=st.integers(1, 9),
    seed=st.integers(0, 1 << 20),
)
def test_sorted_tiles_agree_with_the_definition(name, sizes, labels, seed):
    """Forward and backward; also queries whose label no key has, and tiles of many labels."""
    program, inputs = program_of(name), inputs_of(name, sizes, labels, seed)
    module = quick(
        program, {"out": Tiles((4,) * (1 + (name == "grid")), (2,) * (1 + (name == "grid")))}
    ).Module()
    tiled.PLANS.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SORTING_GAIN", 0)
        patch.setattr("attndsl_codegen.kernels.sorting.SORTED_QUERIES", 4)
        patch.setattr("attndsl_codegen.kernels.sorting.SORTED_KEYS", 2)
        found = run(lambda leaves: module(*leaves.values(), return_lse=True), inputs)
    ordered = [(inputs[f].flatten(1).diff() >= 0).all() for f in ("c", "d") if f in inputs]
    assert isinstance(tiled.PLANS[0].plan.query, Sorted) == (not all(ordered))
    check(found, run_exact(program, inputs), TOLERANCE)


@pytest.mark.parametrize(
    ("where", "labels", "sorts"),
    [
        ("c[i] == c[j]", torch.arange(1024) % 16, True),
        ("c[i] == c[j]", torch.arange(1024) // 64, False),
        ("c[i] == c[j]", torch.arange(1024) // 64 ^ 1, False),
        ("c[i] == c[j] and sliding(8)", torch.arange(1024) % 16, False),
    ],
    ids=["clusters", "already in order", "in stretches", "hidden otherwise"],
)
def test_tokens_are_sorted_where_that_visits_much_less(where, labels, sorts):
    text = f"attention a {{ tokens x[n]; input q, k, v : x; input c : x int; return attend(q, k, v, where = {where}) }}"
    module = quick(load_text(text), {"out": Tiles((64,), (16,))}).Module()
    tiled.PLANS.clear()
    q = torch.randn(1, 1, 1024, 8)
    module(q, q, q, labels[None])
    used = tiled.PLANS[0].plan
    assert isinstance(used.query, Sorted) == sorts
    visited = sum(g.keys.numel() for g in used.groups) * used.query.slots * used.key.slots
    if sorts:  # 64 tokens of each label: one query tile and four key tiles
        assert visited == 1024 * 64


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("c[i] == c[j]", ("c", "c")),
        ("causal and d[j] == c[i]", ("c", "d")),
        ("c[i] == c[j] or causal", None),
        ("c[i] == c[max(0, i - 1)]", None),
        ("c[i] == c[max(0, j - 1)]", None),
        ("c[i] == 3", None),
        ("not c[i] == c[j]", None),
    ],
)
def test_labels_that_must_be_equal(where, found):
    text = f"attention a {{ tokens x[n]; input q, k, v : x; input c, d : x int; return attend(q, k, v, where = {where}) }}"
    assert same_labels(load_text(text).attends[0].op) == found


def test_only_files_with_labels_can_sort():
    assert "class Sorted" in generate(attndsl.load("packed"))
    assert "class Sorted" not in attndsl.source(attndsl.load("sliding"))
