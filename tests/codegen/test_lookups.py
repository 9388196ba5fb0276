"""Gradients of the fields that bias and score look up, by the Triton kernels, against the exact definition."""

from unittest.mock import patch

import pytest
import torch

from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.triton import launch, lookups, sums
from attndsl_codegen.kernels.triton.configurations import Configuration
from attndsl_codegen.kernels.triton.sums import summation_tables, sums_by_table
from tests.codegen.build import check, quick, run, run_exact

# What the interpreter computes for slots without a token (0 / 0, say) is hidden before it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Tiles so small that tests visit several, and no torch in their place."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: Configuration(32, 16, warps=4, stages=1))


def randoms(names, shape, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name in names.split()}


QKV = randoms("q k v", (2, 2, 40, 16))
GRID = randoms("q k v", (2, 2, 6, 7, 16))
PLAIN = "tokens x[n]; input q, k, v : x; "
LABELS = {"label": torch.arange(80).view(2, 40) * 7 % 3}
ATTENDS = {
    "of offsets": (PLAIN + "learn t : [19] scalar", "where = sliding(9), bias = t[i - j + 9]", QKV | randoms("t", (2, 19))),
    "of the query": (PLAIN + "input a : x scalar", "where = causal, bias = a[i] * (i - j)", QKV | randoms("a", (2, 2, 40))),
    "of the key": (PLAIN + "input a : x scalar", "bias = a[j] ** 2", QKV | randoms("a", (2, 2, 40))),
    "of nothing": (
        PLAIN + "learn t : [3] scalar",
        "where = causal, bias = exp(t[1]) * (j - i)",
        QKV | randoms("t", (2, 3)),
    ),
    "shared by all": (PLAIN + "learn t : [40] scalar shared", "bias = t[abs(i - j)]", QKV | randoms("t", (40,))),
    "in a score": (
        PLAIN + "input a, b : x scalar",
        "where = causal, score = a[i] * tanh(s * b[j]) + a[j]",
        QKV | randoms("a b", (2, 2, 40)),
    ),
    "by labels": (
        PLAIN + "input label : x int; learn t : [3, 3] scalar",
        "bias = t[label[i], label[j]]",
        QKV | LABELS | randoms("t", (2, 3, 3)),
    ),
    "by labels, one for all heads": (
        PLAIN + "input label : x int; learn t : [3] scalar shared",
        "bias = t[label[j]]",
        QKV | LABELS | randoms("t", (3,)),
    ),
    "by labels, in a field of each batch element": (
        PLAIN + "input label : x int; input a : x scalar",
        "bias = a[label[j] + i // 4]",
        QKV | LABELS | randoms("a", (2, 2, 40)),
    ),
    "by head": (
        PLAIN + "learn t : [40] scalar shared",
        "where = causal, bias = t[(i - j) // (head + 1)]",
        QKV | randoms("t", (40,)),
    ),
    "masks by document": (
        PLAIN + "input doc : x int; learn t : [40] scalar",
        "where = causal and document(doc), bias = t[i - j]",
        QKV | {"doc": torch.arange(80).view(2, 40) // 13} | randoms("t", (2, 40)),
    ),
    "masks by document, a field of each batch element": (
        PLAIN + "input doc : x int; input a : x scalar",
        "where = causal and document(doc), bias = a[abs(i - j)]",
        QKV | {"doc": torch.arange(80).view(2, 40) // 13} | randoms("a", (2, 2, 40)),
    ),
    "masks by head": (
        PLAIN + "learn t : [35] scalar shared",
        "where = sliding((3, 17)[head % 2]), bias = t[i - j + 17]",
        QKV | randoms("t", (35,)),
    ),
    "masks by head, a field of each batch element": (
        PLAIN + "input a : x scalar",
        "where = sliding((3, 17)[head % 2]), bias = a[abs(i - j)]",
        QKV | randoms("a", (2, 2, 40)),
    ),
    "residue classes": (
        PLAIN + "learn t : [14] scalar",
        "where = causal and dilated(3), bias = t[(i - j) // 3]",
        QKV | randoms("t", (2, 14)),
    ),
    "grouped heads": (
        PLAIN + "learn t : [40] scalar",
        "where = causal, bias = t[i - j]",
        QKV | randoms("k v", (2, 1, 40, 16), 5) | randoms("t", (2, 40)),
    ),
    "on a grid": (
        "tokens x[h, w]; input q, k, v : x; learn t : [5, 7] scalar",
        "where = h: block(3) and w: block(4), bias = t[i.h - j.h + 2, i.w - j.w + 3]",
        GRID | randoms("t", (2, 5, 7)),
    ),
    "of coordinates of both": (
        "tokens x[h, w]; input q, k, v : x; input a : x scalar",
        "bias = -abs(a[i.h, i.w] - a[i.h, j.w])",
        GRID | randoms("a", (2, 2, 6, 7)),
    ),
    "of four coordinates": (
        "tokens x[h, w]; input q, k, v : x; learn t : [6, 7, 6, 7] scalar shared",
        "bias = t[i.h, i.w, j.h, j.w]",
        GRID | randoms("t", (6, 7, 6, 7)),
    ),
    "hidden by an infinite bias": (
        PLAIN + "input a : x scalar",
        "where = causal, bias = log(a[j])",
        QKV | {"a": torch.arange(160).view(2, 2, 40).remainder(3).float()},
    ),
    "without visible pairs": (
        PLAIN + "input a : x scalar",
        "where = j > i + 100, bias = a[abs(i - j)]",
        QKV | randoms("a", (2, 2, 40)),
    ),
}  # fmt: skip
"""Declarations, options of attend, inputs and learned tensors."""


def with_backward(name, **tensors):
    """The kernels' results and gradients, and those of the definition."""
    declarations, options, inputs = ATTENDS[name]
    program = load_text(f"attention a {{ {declarations}; return attend(q, k, v, {options}) }}")
    inputs = {v.name: (inputs | tensors)[v.name] for v in (*program.inputs, *program.learned)}
    axes = len(program.inputs[0].type.tokens.axes)
    function = quick(program, {"out": Tiles((16 // axes**2,) * axes, (4,) * axes)}).function
    with patch.object(launch, "tiled", None), patch.object(launch, "all_keys", None):  # torch would fail
        found = run(lambda leaves: function(*leaves.values(), return_lse=True), inputs)
    return found, run_exact(program, inputs)


@pytest.mark.parametrize("name", ATTENDS)
def test_gradients(name):
    check(*with_backward(name), TOLERANCE)


def test_launches_in_portions_add_up_to_the_same(monkeypatch):
    portions = []
    monkeypatch.setattr(lookups, "SENT_AT_A_TIME", 1 << 11)
    sent_by_pairs = lookups.sent_by_pairs
    monkeypatch.setattr(
        lookups, "sent_by_pairs", lambda *given: portions.append(given) or sent_by_pairs(*given)
    )
    monkeypatch.setattr(lookups, "PORTIONS", [])
    check(*with_backward("of offsets"), TOLERANCE)
    assert len(portions) > 2


def test_equal_calls_give_equal_bits():
    first, second = (with_backward("by labels")[0] for _ in range(2))
    assert torch.equal(first.grads["t"], second.grads["t"])


def test_changed_labels_are_noticed():
    """What was planned for other labels, of the same shape, does not serve."""
    with_backward("by labels")
    check(*with_backward("by labels", label=torch.arange(80).view(2, 40) % 2), TOLERANCE)


def test_tables_are_kept_until_they_take_too_much_memory(monkeypatch):
    monkeypatch.setattr(lookups, "PORTIONS", [])
    for name in ("of the key", "of nothing"):
        with_backward(name)
    assert [len(known.made.parts) for known in lookups.PORTIONS] == [1, 1]
    newest = lookups.PORTIONS[0]
    monkeypatch.setattr(lookups, "MOST_REMEMBERED", lookups.bytes_of(newest.made))
    with_backward("of nothing")
    assert len(lookups.PORTIONS) == 1


@pytest.mark.parametrize(
    "name", ["masks by document", "by labels", "by labels, in a field of each batch element"]
)
def test_labels_are_looked_at_where_other_pairs_are_too_many(name, monkeypatch):
    launches, asked = lookups.launches, []

    def counted(lookup, call, looked):
        asked.append(looked)
        return launches(lookup, call, looked) if looked else None

    monkeypatch.setattr(lookups, "launches", counted)
    monkeypatch.setattr(lookups, "PORTIONS", [])
    check(*with_backward(name), TOLERANCE)
    assert asked == [False, True]


def test_too_large_sums_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(lookups, "MOST_SENT", 100)
    monkeypatch.setattr(lookups, "PORTIONS", [])
    with pytest.raises(ValueError, match="the gradient of t would take too much memory"):
        with_backward("of offsets")


# --- sums in fixed order ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "bins"), [(0, 3), (1, 1), (10, 3), (5000, 7), (5000, 4000), (70000, 1), (300, 1)]
)
def test_sums(count, bins):
    generator = torch.Generator().manual_seed(count)
    where = torch.randint(-1, bins, (count,), generator=generator)
    numbers = torch.randn(2, count + 1, generator=generator, dtype=torch.float64)
    numbers[:, -1] = 0
    tables = summation_tables(where, bins)
    expected = torch.zeros(2, bins, dtype=torch.float64).index_add_(
        1, where[where >= 0], numbers[:, :-1][:, where >= 0]
    )
    assert torch.allclose(sums_by_table(numbers, tables), expected, atol=1e-10)
    assert sum(table.shape[1] > sums.MOST_SIDE_BY_SIDE for table in tables) == 0
