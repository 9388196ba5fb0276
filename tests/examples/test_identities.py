"""What holds between the examples, or between an example and a construction of its paper."""

import numpy as np
import pytest

import attndsl
from attndsl.diagnostics import AttnError
from attndsl.language import load_text


def mask(name: str, sizes: dict[str, int], **params: object) -> np.ndarray:
    return attndsl.mask(attndsl.load(name, **params), **sizes)


def hw(h: int, w: int) -> dict[str, int]:
    return {"h": h, "w": w}


def same_block(extent: int, size: int) -> np.ndarray:
    block = np.arange(extent) // size
    return block[:, None] == block[None, :]


def grid(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A mask of an image from one for each axis."""
    return np.kron(rows, columns)


@pytest.mark.parametrize("stride", [1, 2, 7])
def test_a_neighbourhood_of_everything_is_dense(stride: int) -> None:
    assert mask("neighborhood1d", {"n": 7}, size=7, stride=stride).all()
    assert mask("neighborhood2d", hw(7, 5), size=(7, 5), stride=(stride, 1)).all()
    assert mask("dinat", hw(7, 7), size=7, dilation=1).all()


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 1), (5, 1), (4, 3), (6, 6), (7, 4)])
def test_a_neighbourhood_has_exactly_size_keys(size: int, stride: int) -> None:
    for extent in {size, 11, 12, 13}:
        assert (mask("neighborhood1d", {"n": extent}, size=size, stride=stride).sum(-1) == size).all()
    found = mask("neighborhood3d", {"t": 3, "h": 8, "w": 7}, size=(2, size, 3), stride=(1, stride, 2))
    assert (found.sum(-1) == 2 * size * 3).all()


def test_published_window_starts() -> None:
    """Golden vectors of NATTEN, by extent, size and stride."""
    starts = {
        (10, 5, 1): [0, 0, 0, 1, 2, 3, 4, 5, 5, 5],
        (8, 4, 1): [0, 0, 0, 1, 2, 3, 4, 4],
        (10, 5, 2): [0, 0, 1, 1, 3, 3, 5, 5, 5, 5],
        (10, 4, 4): [0, 0, 0, 0, 4, 4, 4, 4, 6, 6],
        (10, 3, 2): [0, 0, 2, 2, 4, 4, 6, 6, 7, 7],
    }
    for (extent, size, stride), expected in starts.items():
        found = mask("neighborhood1d", {"n": extent}, size=size, stride=stride)
        assert found.argmax(-1).tolist() == expected


def test_published_dilated_rows() -> None:
    found = mask("dinat", hw(11, 11), size=3, dilation=3).reshape(11, 11, 11, 11)
    rows = {0: [0, 3, 6], 1: [1, 4, 7], 2: [2, 5, 8], 6: [3, 6, 9], 8: [2, 5, 8], 10: [4, 7, 10]}
    for h, keys in rows.items():
        assert np.flatnonzero(found[h, 0].any(-1)).tolist() == keys


def test_published_causal_rows() -> None:
    found = mask("causal_neighborhood", {"t": 9, "h": 1, "w": 1}, size=(4, 1, 1), stride=(3, 1, 1))
    rows = [(0, 0), (0, 1), (0, 2), (2, 3), (2, 4), (2, 5), (5, 6), (5, 7), (5, 8)]
    assert [(row.argmax(), 8 - row[::-1].argmax()) for row in found] == rows
    assert [row.sum() for row in found] == [last - first + 1 for first, last in rows]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_stride_of_a_whole_window_is_blocked_where_it_divides(size: int) -> None:
    found = mask("neighborhood1d", {"n": 12}, size=size, stride=size)
    np.testing.assert_array_equal(found, same_block(12, size))
    found = mask("neighborhood2d", hw(12, 2 * size), size=(size, size), stride=(size, size))
    np.testing.assert_array_equal(found, mask("maxvit_block", hw(12, 2 * size), size=size))


def test_neighbourhoods_shift_where_sliding_windows_are_cut() -> None:
    near, band = mask("neighborhood1d", {"n": 11}, size=5), mask("sliding", {"n": 11}, radius=2)
    np.testing.assert_array_equal(near[2:-2], band[2:-2])
    assert (near[:2].sum(-1) > band[:2].sum(-1)).all()
    assert (band <= near).all()


@pytest.mark.parametrize("dilation", [2, 3])
def test_dinat_is_neighbourhoods_on_sub_grids(dilation: int) -> None:
    h, w, size = 13, 11, 3
    found = mask("dinat", hw(h, w), size=size, dilation=dilation).reshape(h, w, h, w)
    expected = np.zeros_like(found)
    for a in range(dilation):
        for b in range(dilation):
            rows, columns = np.arange(a, h, dilation), np.arange(b, w, dilation)
            sub = mask("neighborhood2d", hw(len(rows), len(columns)), size=(size, size))
            expected[np.ix_(rows, columns, rows, columns)] = sub.reshape(2 * (len(rows), len(columns)))
    np.testing.assert_array_equal(found, expected)
    assert (found.sum((-1, -2)) == size**2).all()


@pytest.mark.parametrize(("size", "shift"), [(4, 2), (7, 3), (3, 1), (5, 0)])
def test_swin_is_the_rolled_map_with_nine_regions(size: int, shift: int) -> None:
    """The official code: number the regions, roll, partition, compare; here rolled back."""
    h, w = 2 * size, 3 * size
    regions, windows = np.zeros((h, w), dtype=int), np.zeros((h, w), dtype=int)
    parts = [slice(0, -size), slice(-size, -shift), slice(-shift, None)] if shift else [slice(None)]
    for number, (rows, columns) in enumerate((a, b) for a in parts for b in parts):
        regions[rows, columns] = number
    windows[:] = (np.arange(h) // size)[:, None] * w + (np.arange(w) // size)[None, :]
    labels = np.roll(regions + 9 * windows, (shift, shift), axis=(0, 1)).ravel()
    np.testing.assert_array_equal(mask("swin", hw(h, w), size=size, shift=shift), labels[:, None] == labels)


def test_swin_without_shift_is_blocks_and_never_wraps_around() -> None:
    np.testing.assert_array_equal(
        mask("swin", hw(8, 12), size=4, shift=0), mask("maxvit_block", hw(8, 12), size=4)
    )
    shifted = mask("swin", hw(8, 8), size=4, shift=2)
    assert not shifted[0, -1]
    assert mask("swin", hw(4, 4), size=4, shift=0).all()


def test_maxvit_partitions() -> None:
    """Axes split as (blocks, size) and as (size, steps): one group each, of size x size tokens."""
    h, w, size = 6, 9, 3
    tokens = np.arange(h * w)
    blocks = tokens.reshape(h // size, size, w // size, size).transpose(0, 2, 1, 3)
    grids = tokens.reshape(size, h // size, size, w // size).transpose(1, 3, 0, 2)
    for name, groups in (("maxvit_block", blocks), ("maxvit_grid", grids)):
        label = np.empty(h * w, dtype=int)
        label[groups.reshape(-1, size**2)] = np.arange(h * w // size**2)[:, None]
        np.testing.assert_array_equal(mask(name, hw(h, w), size=size), label[:, None] == label)
    assert mask("maxvit_block", hw(5, 5), size=5).all()
    assert mask("maxvit_grid", hw(5, 5), size=5).all()


@pytest.mark.parametrize(
    ("h", "block", "spread", "connected"), [(8, 4, 2, True), (9, 3, 3, True), (8, 2, 2, False)]
)
def test_blocks_then_grid_connect_every_pair(h: int, block: int, spread: int, connected: bool) -> None:
    near = mask("maxvit_block", hw(h, h), size=block)
    far = mask("maxvit_grid", hw(h, h), size=spread)
    assert bool((far.astype(int) @ near.astype(int)).all()) == connected


@pytest.mark.parametrize("name", ["maxvit_block", "maxvit_grid"])
def test_maxvit_refuses_what_it_does_not_divide(name: str) -> None:
    with pytest.raises(AttnError):
        mask(name, hw(7, 8))


def test_neighbourhoods_refuse_maps_smaller_than_their_reach() -> None:
    with pytest.raises(AttnError):
        mask("neighborhood2d", hw(12, 20))
    with pytest.raises(AttnError):
        mask("dinat", hw(7 * 8 - 1, 60))


def test_axial_attention_twice_reaches_everything() -> None:
    rows, columns = mask("axial_rows", hw(3, 5)), mask("axial_columns", hw(3, 5))
    np.testing.assert_array_equal(rows, grid(np.eye(3, dtype=bool), np.ones((5, 5), dtype=bool)))
    assert (rows.astype(int) @ columns.astype(int)).all()
    cross = mask("criss_cross", hw(3, 5))
    np.testing.assert_array_equal(cross, rows | columns)
    assert (cross.sum(-1) == 3 + 5 - 1).all()
    assert (cross.astype(int) @ cross.astype(int)).all()


def test_power_attention_without_window_and_sink() -> None:
    found = mask("power_attention", {"n": 40}, size=1, near=0, sink=0)
    for i, row in enumerate(found):
        assert set(np.flatnonzero(row)) == {i} | {i - 2**p for p in range(6) if 2**p <= i}


def test_power_attention_reach_grows_exponentially() -> None:
    """After l layers every block distance up to 2^(l+1) - 2 is connected, and the next one is not."""
    one = mask("power_attention", {"n": 64}, size=1, near=0, sink=0).astype(int)
    reached = one
    for layers in (1, 2, 3, 4):
        distances = np.flatnonzero(reached[-1, ::-1])
        first_gap = int(np.setdiff1d(np.arange(65), distances)[0])
        assert first_gap == 2 ** (layers + 1) - 1
        reached = (reached @ one > 0).astype(int)


def test_power_attention_limits() -> None:
    causal = mask("causal", {"n": 30})
    np.testing.assert_array_equal(mask("power_attention", {"n": 30}, size=4, near=8), causal)
    last = mask("power_attention", {"n": 32768 // 256}, size=1)[-1]
    assert last.sum() == 10  # of 128 blocks at 32k tokens: five near, 8, 16, 32, 64 and the sink


def test_causal_families_agree_at_their_limits() -> None:
    causal = mask("causal", {"n": 13})
    np.testing.assert_array_equal(mask("streaming_llm", {"n": 13}, sink=0, recent=12), causal)
    np.testing.assert_array_equal(
        mask("causal_neighborhood", {"t": 13, "h": 1, "w": 1}, size=(13, 1, 1)), causal
    )
    np.testing.assert_array_equal(mask("pooled_causal", {"n": 13}, group=1), causal)
    assert mask("sliding", {"n": 13}, radius=12).all()
    assert mask("longformer", {"n": 13}, radius=0, anchors=13).all()


def test_labels_at_their_limits() -> None:
    n = 9
    causal, zeros = mask("causal", {"n": n}), np.zeros((1, n), dtype=np.int64)

    def labelled(name: str, field: str, values: np.ndarray) -> np.ndarray:
        found = attndsl.mask(attndsl.load(name), n=n, fields={field: values})
        return found.reshape(n, n)

    np.testing.assert_array_equal(labelled("packed", "doc", zeros), causal)
    np.testing.assert_array_equal(labelled("transfusion", "image", zeros), causal)
    np.testing.assert_array_equal(labelled("prefix_lm", "prefix", zeros.astype(bool)), causal)
    assert labelled("prefix_lm", "prefix", ~zeros.astype(bool)).all()
    assert labelled("transfusion", "image", zeros + 1).all()
    region = attndsl.load("region_isolation")
    assert attndsl.mask(region, h=3, w=3, fields={"region": zeros.reshape(1, 3, 3)}).all()


def test_packed_documents_are_separate_causal_sequences() -> None:
    doc = np.repeat(np.arange(3), [2, 5, 4])
    found = attndsl.mask(attndsl.load("packed"), n=11, fields={"doc": doc[None]}).reshape(11, 11)
    for number in range(3):
        inside = doc == number
        np.testing.assert_array_equal(found[np.ix_(inside, inside)], np.tri(inside.sum(), dtype=bool))
        assert not found[np.ix_(inside, ~inside)].any()


def test_hunyuan_with_stride_one_is_the_neighbourhood() -> None:
    sizes = {"t": 4, "h": 5, "w": 6}
    text = "attention small(size = (3, 4, 5)) { tokens x[t = 4, h = 5, w = 6]; input q, k, v : x\n"
    text += (
        "return attend(q, k, v, where = t: window(size[0]) and h: window(size[1]) and w: window(size[2])) }"
    )
    found = mask("neighborhood3d", sizes, size=(3, 4, 5))
    np.testing.assert_array_equal(found, attndsl.mask(load_text(text)))
