"""The panel of one query's keys: a bar for one axis, a grid for two, slices for more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from attndsl.picture import palette
from attndsl.picture.model import HeadPicture, MaskPicture
from attndsl.picture.panels import (
    BODY,
    HEADING,
    RULED,
    SMALL,
    TICKS,
    Entry,
    Frame,
    axes,
    heading,
    legend,
)
from attndsl.picture.scene import Box, Cells, Item, Line, Shape, Text
from attndsl.picture.ticks import axis_ticks
from attndsl.picture.words import axis_name, coordinates, percent

POOLED = 512
"""Cells along a side of the grid."""
BAR = 18.0
STRIP_HEAD = 42.0
"""Height of heading and remark above a bar or slices."""
MOST_SLICES = 40
SLICE_GAP, SLICE_LABEL = 10.0, 16.0
STRETCHED = 1.5
"""Slices may grow by so much to fill the width."""
MAX_ASPECT = 6.0


def pooled(visible: NDArray[np.bool_], most: int) -> NDArray[np.float64]:
    """Shares of visible keys in blocks, so that no side has more than `most`."""
    sums, sizes = visible.astype(np.int64), np.ones(visible.shape, dtype=np.int64)
    for axis, extent in enumerate(visible.shape):
        starts = np.arange(0, extent, ceil(extent / most))
        sums, sizes = np.add.reduceat(sums, starts, axis), np.add.reduceat(sizes, starts, axis)
    return sums / sizes


def title_of(picture: MaskPicture, heads: HeadPicture) -> str:
    """The heading, with the query's coordinates."""
    return f"Keys of query {coordinates(picture.query_set, heads.query)}"


def _remark(heads: HeadPicture) -> str:
    return f"{percent(heads.keys.count, heads.keys.visible.size)} of all keys"


def _cells(frame: Frame, share: NDArray[np.float64]) -> Cells:
    ruled = min(frame.width / share.shape[1], frame.height / share.shape[0]) >= RULED
    index, colours = palette.share_index(share), palette.share_colours(palette.PRINT)
    return Cells(frame.x, frame.y, frame.width, frame.height, index, colours, ruled)


def grid_panel(frame: Frame, picture: MaskPicture, heads: HeadPicture) -> Iterator[Item]:
    """Two axes: the receptive field. The grid keeps its proportions inside the frame."""
    keys = heads.keys
    height, width = keys.visible.shape
    aspect = min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)
    inner = Frame(frame.x, frame.y, frame.width * min(1, aspect), frame.height * min(1, 1 / aspect))
    down, across = (axis_name(picture.key_set, axis) for axis in (0, 1))
    yield from heading(frame, title_of(picture, heads), f"on the {height:,}×{width:,} grid of keys")
    yield _cells(inner, pooled(keys.visible, POOLED))
    yield from axes(inner, (down, across), axis_ticks(height, TICKS), axis_ticks(width, TICKS))
    entries = [Entry(palette.VISIBLE, "visible", f"{keys.count:,}", _remark(heads))]
    if picture.query_set == picture.key_set:
        yield from _here(inner, (height, width), (heads.query[0], heads.query[1]))
        entries.append(Entry(palette.QUERY, "the query", "", ""))
    yield from legend(inner, entries)


def _here(frame: Frame, extents: tuple[int, int], at: tuple[int, int]) -> Iterator[Item]:
    """The query's own cell, large enough to be seen."""
    cell_h, cell_w = frame.height / extents[0], frame.width / extents[1]
    y, x = frame.y + (at[0] + 0.5) * cell_h, frame.x + (at[1] + 0.5) * cell_w
    h, w = max(cell_h, 5.0), max(cell_w, 5.0)
    yield Box(x - w / 2, y - h / 2, w, h, palette.QUERY, palette.PAPER, 1)


def bar_height() -> float:
    """The height of `bar_panel`, its heading included."""
    return STRIP_HEAD + 18 + BAR + 12


def bar_panel(x: float, y: float, width: float, picture: MaskPicture, heads: HeadPicture) -> Iterator[Item]:
    """One axis: a bar."""
    frame = Frame(x, y + STRIP_HEAD + 18, width, BAR)
    yield from _strip_heading(x, y, picture, heads)
    visible = heads.keys.visible
    yield _cells(frame, pooled(visible[None], 2 * POOLED))
    yield Text(x - 12, frame.y + 13, f"{axis_name(picture.key_set, 0)} →", SMALL, palette.SOFT, "end")
    yield frame.outline(palette.RULE)
    for tick in axis_ticks(len(visible), TICKS if width < 500 else 2 * TICKS):
        at = x + tick.at * width
        yield Line(at, frame.y - 4, at, frame.y, palette.SOFT)
        yield Text(at, frame.y - 8, tick.label, SMALL, palette.SOFT, "middle")
    if picture.query_set == picture.key_set:
        at, below = x + (heads.query[0] + 0.5) / len(visible) * width, frame.bottom + 2
        yield Shape(((at - 4.5, below + 8), (at, below), (at + 4.5, below + 8)), palette.QUERY)


def _strip_heading(
    x: float, y: float, picture: MaskPicture, heads: HeadPicture, extra: str = ""
) -> Iterator[Item]:
    yield Text(x, y + 12, title_of(picture, heads), HEADING, palette.INK)
    remark = f"{heads.keys.count:,} visible, {_remark(heads)}{extra}"
    yield Text(x, y + 29, remark, BODY, palette.SOFT)


@dataclass(frozen=True)
class SliceLayout:
    """How the slices of a key set with three or more axes are arranged."""

    chosen: tuple[int, ...]
    every: int
    columns: int
    width: float
    height: float

    @property
    def total_height(self) -> float:
        """The height of all rows of slices and the heading."""
        rows = ceil(len(self.chosen) / self.columns)
        return STRIP_HEAD + rows * (self.height + SLICE_LABEL + SLICE_GAP) + 8


def slice_layout(extents: tuple[int, ...], query_slice: int | None, width: float, most: float) -> SliceLayout:
    """The largest slices that fit the width and, if possible, the height; the query's own is among them."""
    count = prod(extents[:-2])
    every = ceil(count / MOST_SLICES)
    first = 0 if query_slice is None else query_slice % every
    chosen = tuple(range(first, count, every))
    aspect = min(max(extents[-1] / extents[-2], 1 / MAX_ASPECT), MAX_ASPECT)
    best: tuple[float, int] = (0.0, len(chosen))
    for columns in range(1, len(chosen) + 1):
        rows = ceil(len(chosen) / columns)
        cell = min(
            (width - (columns - 1) * SLICE_GAP) / columns,
            max(12.0, most / rows - SLICE_LABEL - SLICE_GAP) * aspect,
        )
        best = max(best, (cell, columns))
    columns = best[1]
    wide = (width - (columns - 1) * SLICE_GAP) / columns
    cell = wide if wide < STRETCHED * best[0] else best[0]
    return SliceLayout(chosen, every, columns, cell, cell / aspect)


def query_slice_of(picture: MaskPicture, heads: HeadPicture) -> int | None:
    """The number of the slice that holds the query, if queries and keys are one set."""
    if picture.query_set != picture.key_set:
        return None
    extents = picture.key_set.extents
    return int(np.ravel_multi_index(heads.query[:-2], extents[:-2]))


def slices_panel(
    x: float, y: float, width: float, picture: MaskPicture, heads: HeadPicture, layout: SliceLayout
) -> Iterator[Item]:
    """Three or more axes: a strip of two-dimensional slices."""
    extents = picture.key_set.extents
    names = [axis_name(picture.key_set, axis) for axis in range(len(extents))]
    here = query_slice_of(picture, heads)
    skipping = f"; one slice in {layout.every} is drawn" if layout.every > 1 else ""
    yield from _strip_heading(x, y, picture, heads, f"; {names[-2]} down, {names[-1]} across{skipping}")
    slices = heads.keys.visible.reshape(-1, *extents[-2:])
    for at, number in enumerate(layout.chosen):
        row, column = divmod(at, layout.columns)
        frame = Frame(
            x + column * (layout.width + SLICE_GAP),
            y + STRIP_HEAD + row * (layout.height + SLICE_LABEL + SLICE_GAP) + SLICE_LABEL,
            layout.width,
            layout.height,
        )
        own = number == here
        where = np.unravel_index(number, extents[:-2])
        label = " ".join(f"{name}={int(value)}" for name, value in zip(names, where))
        yield Text(frame.x, frame.y - 4, label, SMALL, palette.QUERY if own else palette.SOFT)
        yield _cells(frame, pooled(slices[number], 128))
        yield frame.outline(palette.QUERY if own else palette.RULE)
        if own:
            yield from _here(frame, (extents[-2], extents[-1]), (heads.query[-2], heads.query[-1]))
