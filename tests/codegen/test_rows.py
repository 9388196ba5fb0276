"""Rows and windows: the same numbers as indexing, for any strides, without copies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attndsl_codegen.kernels.masks import numbered, words
from attndsl_codegen.kernels.rows import rows_of, windows

LAYOUTS = {
    "contiguous": lambda t: t.contiguous(),
    "tokens before heads": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
    "part of a wider tensor": lambda t: torch.cat([t, t, t], -1)[..., t.shape[-1] : 2 * t.shape[-1]],
    "every other head": lambda t: torch.repeat_interleave(t, 2, 1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("run", [1, 2, 4])
def test_rows_are_runs_of_tokens(layout, run):
    plain = torch.randn(2, 3, 8, 5)
    rows = rows_of(LAYOUTS[layout](plain), run, heads=6)
    if rows is None:  # runs need tokens side by side
        assert run > 1 or layout == "part of a wider tensor"
        return
    runs = torch.tensor([[1, 0]])
    found = rows.table[rows.numbers((slice(None), slice(None)), runs)].view(2, 6, 2 * run, 5)
    tokens = (runs.flatten()[:, None] * run + torch.arange(run)).flatten()
    assert torch.equal(found, plain.repeat_interleave(2, 1)[:, :, tokens])


def test_rows_of_one_layer():
    plain = torch.randn(2, 4, 6, 3)
    rows = rows_of(plain, 1, heads=4)
    assert rows is not None
    found = rows.table[rows.numbers((slice(1, 2), slice(2, 3)), torch.tensor([[5, 0]]))]
    assert torch.equal(found, plain[1, 2, [5, 0]])


def test_rows_share_memory():
    plain = torch.zeros(1, 2, 4, 3)
    rows = rows_of(plain, 2, heads=2)
    assert rows is not None
    rows.table[rows.numbers((slice(None), slice(1, 2)), torch.tensor([[1]]))] = 1.0
    assert plain.sum() == 6
    assert plain[0, 1, 2:].sum() == 6


def test_strides_that_rows_cannot_follow():
    assert rows_of(torch.randn(1, 2, 4, 3).transpose(2, 3), 1, heads=2) is None
    assert rows_of(torch.randn(1, 2, 4, 6)[..., ::2], 1, heads=2) is None


def test_windows_overlap():
    plain = torch.randn(2, 3, 20, 4)
    view = windows(plain, 2, 3, (4, 5))
    assert view is not None
    assert torch.equal(view.view(2, 3, 4, 5, 4)[:, :, 2], plain[:, :, 8:13])
    assert view.data_ptr() == plain[:, :, 2:].data_ptr()
    assert windows(plain[:, :2], 0, 1, (2, 2)) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=40, max_size=40), min_size=1, max_size=12))
def test_equal_masks_get_equal_numbers(rows):
    masks = torch.tensor(rows)
    number, first = numbered(words(masks))
    assert torch.equal(masks[first][number], masks)
    assert len(first) == len({tuple(row) for row in rows})
    assert number[0] == 0
