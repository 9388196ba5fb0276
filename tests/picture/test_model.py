"""What pictures show is exact: compared with the mask by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attndsl.analysis.attention import dense_mask
from attndsl.diagnostics import AttnError
from attndsl.language import load_text
from attndsl.picture import elements as elements_module
from attndsl.picture.elements import count_elements
from attndsl.picture.model import make_picture
from attndsl.picture.request import Request
from attndsl.picture.stretches import stretches
from attndsl.picture.tilemap import map_tiles
from attndsl.planning.plan import sample_fields
from tests.picture.specs import cases, program

CASES = [
    pytest.param(name, sizes, id=f"{name}-{'x'.join(map(str, sizes.values()))}") for name, sizes in cases()
]
HEADS = 4


def dense(spec, sizes):
    """The mask of every head by brute force, (heads, queries, keys)."""
    sizes = {**sizes, "heads": HEADS}
    found = dense_mask(spec.attends[-1].op, sizes, sample_fields(spec, sizes, heads=HEADS))[0]
    return np.broadcast_to(found, (HEADS, *found.shape[1:]))


def block_sums(mask, rows, columns):
    """Visible pairs per cell of two lists of stretches."""
    sums = np.add.reduceat(mask.astype(np.int64), rows.starts[:-1], axis=0)
    return np.add.reduceat(sums, columns.starts[:-1], axis=1)


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_elements_tiles_and_keys_are_exact(name, sizes):
    spec = program(name)
    mask = dense(spec, sizes)
    picture = make_picture(spec, {**sizes, "heads": HEADS})
    assert sorted(head for heads in picture.classes for head in heads.heads) == list(range(HEADS))
    for heads in picture.classes:
        expected = mask[heads.heads[0]]
        assert all((mask[head] == expected).all() for head in heads.heads)
        assert heads.elements.exact
        assert (heads.elements.visible == expected).all()
        assert heads.tiles.counts.pairs == expected.sum()
        query = np.ravel_multi_index(heads.query, picture.query_set.extents)
        assert (heads.keys.visible.reshape(-1) == expected[query]).all()


@pytest.mark.parametrize("evaluated", [1 << 20, 64])
@pytest.mark.parametrize("cells", [3, 10])
@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_shares_of_larger_cells_are_exact(name, sizes, cells, evaluated, monkeypatch):
    monkeypatch.setattr(elements_module, "EVALUATED", evaluated)
    monkeypatch.setattr(elements_module, "REFINED", 7)
    spec = program(name)
    mask = dense(spec, sizes)
    for heads in make_picture(spec, {**sizes, "heads": HEADS}).classes:
        found = count_elements(heads.predicate, cells, exact_pairs=0)
        assert max(found.visible.shape) <= cells
        assert (found.visible == block_sums(mask[heads.heads[0]], found.query, found.key)).all()


@pytest.mark.parametrize("cells", [4, 512])
@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_tile_maps_are_exact(name, sizes, cells):
    spec = program(name)
    heads = make_picture(spec, {**sizes, "heads": HEADS}).classes[0]
    query, key = heads.layouts
    found = map_tiles(heads.predicate, query, key, cells)
    kinds = map_tiles(heads.predicate, query, key).kinds
    assert (block_sums(kinds == 1, found.rows, found.columns) == found.partial).all()
    assert (block_sums(kinds == 2, found.rows, found.columns) == found.full).all()
    assert (found.counts.full, found.counts.partial) == (found.full.sum(), found.partial.sum())


def test_tile_kinds_against_the_mask():
    spec = program("sliding")
    heads = make_picture(spec, {"n": 20, "heads": 1}, Request(tile_q="4", tile_k="2")).classes[0]
    tiles = dense(spec, {"n": 20})[0].reshape(5, 4, 10, 2)
    expected = np.where(tiles.all((1, 3)), 2, np.where(tiles.any((1, 3)), 1, 0))
    assert (heads.tiles.kinds == expected).all()


@given(
    extents=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    limit=st.integers(1, 40),
)
def test_stretches_cut_a_sequence_without_gaps(extents, limit):
    cells = stretches(tuple(extents), limit)
    assert cells.count <= limit
    assert cells.starts[0] == 0
    assert cells.starts[-1] == np.prod(extents)
    assert (cells.sizes > 0).all()
    assert cells.place(0) == 0
    assert cells.place(int(np.prod(extents))) == 1


@settings(max_examples=40)
@given(n=st.integers(1, 40), m=st.integers(1, 30), step=st.integers(1, 5), cells=st.integers(1, 9))
def test_cells_between_two_sets_are_exact(n, m, step, cells):
    spec = load_text(
        f"attention a {{ tokens x[n]; tokens y[m]; input q : x; input k, v : y\n"
        f" return attend(q, k, v, where = causal(j = j * {step})) }}"
    )
    heads = make_picture(spec, {"n": n, "m": m, "heads": 1}).classes[0]
    found = count_elements(heads.predicate, cells, exact_pairs=0)
    expected = np.arange(m)[None, :] * step <= np.arange(n)[:, None]
    assert (found.visible == block_sums(expected, found.query, found.key)).all()


def test_large_masks_are_counted_without_looking_at_every_pair():
    spec = load_text(
        "attention a { tokens x[n]; input q, k, v : x\n"
        " return attend(q, k, v, where = causal and sliding(1000)) }"
    )
    heads = make_picture(spec, {"n": 1 << 20, "heads": 1}, Request(tile_q="1024", tile_k="1024")).classes[0]
    expected = sum(min(i, 1000) + 1 for i in range(1 << 20))
    assert heads.elements.visible.sum() == heads.tiles.counts.pairs == expected
    assert max(heads.elements.visible.shape) <= 1024


def test_heads_with_equal_masks_are_one_class():
    classes = make_picture(program("heads"), {"n": 20, "heads": 6}).classes
    assert [heads.heads for heads in classes] == [(0, 2, 4), (1, 3, 5)]
    equal = make_picture(program("equal_heads"), {"n": 20, "heads": 4}).classes
    assert [heads.heads for heads in equal] == [(0, 1, 2, 3)]
    chosen = make_picture(program("heads"), {"n": 20, "heads": 6}, Request(head=3)).classes
    assert [heads.heads for heads in chosen] == [(1, 3, 5)]


def test_the_attend_that_hides_something_is_shown():
    spec = load_text(
        "attention a { tokens x[n]; tokens y[3]; input q, k, v : x; input m : y\n"
        " z = attend(m, k, v, where = j < 5); return attend(q, m, z) }"
    )
    assert make_picture(spec, {"n": 8, "heads": 1}).attend == "z"
    assert make_picture(spec, {"n": 8, "heads": 1}, Request(attend="out")).others == ("z",)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request(query="7"), "E802"),
        (Request(query="0,0,0"), "E802"),
        (Request(query="-1"), "E802"),
        (Request(query="99,0"), "E802"),
        (Request(query="42"), "E802"),
        (Request(tile_q="4x"), "E803"),
        (Request(tile_q="0x4"), "E803"),
        (Request(tile_k="2x2x2"), "E803"),
        (Request(head=2), "E804"),
        (Request(head=-1), "E804"),
        (Request(attend="oud"), "E805"),
    ],
)
def test_requests_that_do_not_fit(request_, code):
    sizes = {"h": 6, "w": 7, "heads": 2}
    if request_.query == "7":
        sizes = {"h": 1, "w": 7, "heads": 2}
    spec = load_text(
        "attention a { tokens x[h, w]; input q, k, v : x\n return attend(q, k, v, where = i.h == j.h) }"
    )
    with pytest.raises(AttnError) as caught:
        make_picture(spec, sizes, request_)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.problem.code == code
    assert diagnostic.help


def test_too_many_tokens():
    with pytest.raises(AttnError, match="E807"):
        make_picture(program("dense"), {"n": 1 << 25, "heads": 1})


def test_too_many_tiles():
    with pytest.raises(AttnError, match="E803"):
        make_picture(program("power"), {"n": 1 << 23, "heads": 1}, Request(tile_q="1", tile_k="1"))
