"""Triton kernels whose tiles are of tokens in the order of their labels: as defined, and fewer tiles."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attndsl.language import load_text
from attndsl_codegen import generate
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.triton import launch, schedule
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import check, quick, run, run_exact
from tests.strategies import thorough

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

SMALL = Configuration(queries=16, keys=16, warps=4, stages=1)
LINE = "tokens x[n]; input q, k, v : x; input c : x int"
OTHERS = "tokens x[n]; tokens y[m]; input q : x; input k, v : y; input c : x int; input d : y int"
GRID = "tokens x[h, w]; input q, k, v : x; input c : x int"
SPECS = {
    "clusters": (LINE, "where = c[i] == c[j]"),
    "causal": (LINE, "where = causal and document(c)"),
    "empty rows": (LINE, "where = c[i] == c[j] and c[i] != 1 and j <= i - 3"),
    "heads differ": (LINE, "where = c[i] == c[j] and j <= i + head"),
    "other tokens": (OTHERS, "where = d[j] == c[i]"),
    "a grid": (GRID, "where = c[i] == c[j] and i.h <= j.h + 3"),
    "volumes": (
        "tokens x[t, h, w]; input q, k, v : x; input c : x int",
        "where = c[i] == c[j] and i.t >= j.t",
    ),
    "distances": (LINE, "where = c[i] == c[j], bias = -0.1 * abs(i - j)"),
    "capped scores": (LINE, "where = c[i] == c[j], score = 5 * tanh(s / 5)"),
    "a bias of both": (
        LINE + "; input b : x scalar",
        "where = causal and c[i] == c[j], bias = b[i] - 2 * b[j]",
    ),
}


def program_of(name):
    tokens, options = SPECS[name]
    return load_text(f"attention a {{ {tokens}; return attend(q, k, v, {options}) }}")


def extents_of(name, n, m):
    """Of queries and keys."""
    if name == "a grid":
        return (n, m), (n, m)
    if name == "volumes":
        return (3, n, m), (3, n, m)
    return (n,), (m if name == "other tokens" else n,)


def inputs_of(name, sizes, labels, kv_heads=2, seed=0):
    """Two batch elements, two heads, width 16; labels below `labels`, in no order."""
    random = torch.Generator().manual_seed(seed)
    query, key = extents_of(name, *sizes)
    found = {
        "q": torch.randn(2, 2, *query, 16, generator=random),
        "k": torch.randn(2, kv_heads, *key, 16, generator=random),
        "v": torch.randn(2, kv_heads, *key, 16, generator=random),
        "c": torch.randint(labels, (2, *query), generator=random),
        "d": torch.randint(labels, (2, *key), generator=random),
        "b": torch.randn(2, 2, *query, generator=random),
    }
    return {value.name: found[value.name] for value in program_of(name).inputs}


def module_of(program, name):
    axes = len(extents_of(name, 1, 1)[0])
    return quick(program, {"out": Tiles((4,) * axes, (4,) * axes)}).Module()


@pytest.fixture(autouse=True)
def used(monkeypatch):
    """The schedules that are made; tiles are small, and torch would fail in the kernels' place."""
    found = []

    def made(*arguments):
        found.append(schedule.labelled_schedule(*arguments))
        return found[-1]

    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)
    monkeypatch.setattr(launch, "tiled", None)
    monkeypatch.setattr(launch, "cached_schedule", made)
    return found


def agrees(name, inputs):
    """Output, log-sum-exp and all gradients are those of the definition."""
    program = program_of(name)
    module = module_of(program, name)
    check(
        run(lambda leaves: module(*leaves.values(), return_lse=True), inputs),
        run_exact(program, inputs),
        1e-4,
    )


@pytest.mark.parametrize("kv_heads", [2, 1])
@pytest.mark.parametrize("name", SPECS)
def test_kernels_agree_with_the_definition(name, kv_heads, used):
    """With several tiles, the last one ragged; also where query heads share those of keys."""
    sizes = (9, 5) if len(extents_of(name, 1, 1)[0]) > 1 else (37, 50)
    agrees(name, inputs_of(name, sizes, 4, kv_heads))
    assert all(made.order is not None for made in used)


@thorough(10)
@given(
    name=st.sampled_from(["clusters", "causal", "other tokens", "a grid"]),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 7)),
    labels=st.integers(1, 9),
    seed=st.integers(0, 1 << 20),
)
def test_any_sizes_and_labels(name, sizes, labels, seed):
    agrees(name, inputs_of(name, sizes, labels, seed=seed))


def test_labels_that_follow_the_tokens_are_where_they_are(used):
    """Equal labels in stretches: the other launch works, with the same tiles."""
    inputs = inputs_of("causal", (60, 1), 4)
    agrees("causal", inputs | {"c": inputs["c"].sort().values})
    assert [int(made.order.as_is) for made in used] == [1, 1]
    used.clear()
    agrees("causal", inputs)
    assert [int(made.order.as_is) for made in used] == [0, 0]


def test_labels_of_single_batch_elements_differ_in_order(used):
    """One is in order, the other is not: one launch works for both."""
    inputs = inputs_of("clusters", (40, 1), 3)
    inputs["c"][0] = inputs["c"][0].sort().values
    agrees("clusters", inputs)


def test_far_fewer_tiles_are_visited(used):
    """16 tokens of each label, which lie 8 apart."""
    inputs = inputs_of("clusters", (128, 1), 1) | {"c": (torch.arange(128) % 8).expand(2, -1)}
    agrees("clusters", inputs)
    for made in used:
        assert made.rows[..., 1].tolist() == [[[1] * 8]] * 2  # one tile each, and a full one
        assert not made.rows[..., 3].any()


@pytest.mark.parametrize(("kv_heads", "ordered"), [(2, True), (1, False)])
def test_heads_with_labels_of_their_own(kv_heads, ordered, used, monkeypatch):
    """Query heads that share keys could not have an order each: these stay where they are."""
    text = """attention a { tokens x[n]; input q, k, v : x; c = codebook(q, 5)
      return attend(q, k, v, where = causal and c.label[i] == c.label[j]) }"""
    module = quick(load_text(text), {"out": Tiles((4,), (4,))}).Module(heads=2, dim=16).eval()
    inputs = {
        name: value for name, value in inputs_of("clusters", (50, 1), 1, kv_heads).items() if name != "c"
    }
    found = run(lambda leaves: module(*leaves.values(), return_lse=True), inputs)
    assert [made.order is not None for made in used] == [ordered] * 2
    monkeypatch.undo()
    check(found, run(lambda leaves: module(*leaves.values(), return_lse=True), inputs), 1e-4)


@pytest.mark.parametrize(
    ("where", "n", "ordered"),
    [
        ("causal and c[i] == c[j]", 400, True),
        ("sliding(8) and c[i] == c[j]", 400, False),
        ("c[i] == c[j] or causal", 400, False),
    ],
    ids=["causal", "hidden otherwise", "no condition"],
)
def test_where_tokens_go_by_their_labels(where, n, ordered, used, monkeypatch):
    program = load_text(f"attention a {{ {LINE}; return attend(q, k, v, where = {where}) }}")
    inputs = {name: t[:, :1] if t.dim() > 2 else t for name, t in inputs_of("clusters", (n, 1), 50).items()}
    monkeypatch.setattr(launch, "softmax_forward_kernel", NoKernel())
    quick(program, {"out": Tiles((4,), (4,))}).Module()(*inputs.values())
    assert [made.order is not None for made in used] == [ordered]


class NoKernel:
    """Stands for a kernel: nothing runs."""

    def __getitem__(self, grid):
        return lambda *_, **__: None


def test_files_that_cannot_go_by_labels_have_no_orders():
    own = f"attention a {{ {LINE}; return attend(q, k, v, where = "
    assert "def ordered_places" in generate(load_text(own + "c[i] == c[j]) }"))
    for where in ("c[i] == c[j] or causal", "causal"):
        found = generate(load_text(own + where + ") }"))
        assert "softmax_forward_kernel" in found
        for name in ("ordered_places", "ORDERED", "orders", "LabelOrder("):
            assert name not in found
