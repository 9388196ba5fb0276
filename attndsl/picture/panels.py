"""The panels of a figure: pairs, tiles, and legends below them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attndsl.picture import palette
from attndsl.picture.model import HeadPicture, MaskPicture
from attndsl.picture.palette import Colour
from attndsl.picture.scene import Box, Cells, Item, Line, Shape, Text
from attndsl.picture.stretches import Stretches
from attndsl.picture.ticks import Tick, side_ticks
from attndsl.picture.words import percent, times

HEADING, BODY, SMALL = 14.0, 11.5, 10.5
"""Sizes of text."""
HEAD = 74.0
"""Height above a panel: heading, remark, axis label, tick labels."""
LEGEND_GAP, LEGEND_LINE = 26.0, 19.0
RULED = 7.0
"""Cells at least this wide get thin lines between them."""
TICKS = 6


@dataclass(frozen=True)
class Frame:
    """Where a panel stands: its drawing area, without labels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    def outline(self, colour: Colour) -> Box:
        """A line around the frame that covers nothing of it."""
        return Box(self.x - 0.5, self.y - 0.5, self.width + 1, self.height + 1, stroke=colour)


@dataclass(frozen=True)
class Entry:
    """A line of a legend."""

    colour: Colour
    name: str
    count: str
    remark: str


def heading(frame: Frame, title: str, remark: str) -> Iterator[Item]:
    """Title and remark above a panel."""
    yield Text(frame.x, frame.y - HEAD + 12, title, HEADING, palette.INK)
    yield Text(frame.x, frame.y - HEAD + 29, remark, BODY, palette.SOFT)


def axes(
    frame: Frame, names: tuple[str, str], left: tuple[Tick, ...], top: tuple[Tick, ...]
) -> Iterator[Item]:
    """Names of the sides (down, across), ticks and their labels, and the outline."""
    down, across = names
    yield Text(frame.x - 12, frame.y - 8, f"{down} ↓", SMALL, palette.SOFT, "end")
    yield Text(frame.x, frame.y - 24, f"{across} →", SMALL, palette.SOFT)
    for tick in top:
        x = frame.x + tick.at * frame.width
        yield Line(x, frame.y - 4, x, frame.y, palette.SOFT)
        yield Text(x, frame.y - 8, tick.label, SMALL, palette.SOFT, "middle" if tick.at else "start")
    for tick in left:
        y = frame.y + tick.at * frame.height
        yield Line(frame.x - 4, y, frame.x, y, palette.SOFT)
        below = 8.0 if tick.at == 0 else 4.0
        yield Text(frame.x - 12, y + below, tick.label, SMALL, palette.SOFT, "end")
    yield frame.outline(palette.RULE)


def legend(frame: Frame, entries: list[Entry]) -> Iterator[Item]:
    """Swatch, name, number and remark, in columns."""
    for line, entry in enumerate(entries):
        y = frame.bottom + LEGEND_GAP + line * LEGEND_LINE
        outline = palette.RULE if entry.colour == palette.HIDDEN else None
        yield Box(frame.x, y - 9.5, 11, 11, entry.colour, outline)
        yield Text(frame.x + 20, y, entry.name, BODY, palette.INK)
        yield Text(frame.x + 154, y, entry.count, BODY, palette.INK, "end")
        yield Text(frame.x + 166, y, entry.remark, BODY, palette.SOFT)


def elements_panel(frame: Frame, picture: MaskPicture, heads: HeadPicture) -> Iterator[Item]:
    """Which pairs are visible."""
    elements = heads.elements
    grids = picture.query_set, picture.key_set
    orders = dict.fromkeys(f"({', '.join(grid.axes)})" for grid in grids if len(grid.axes) > 1)
    remark = f"{grids[0].count:,} queries, {grids[1].count:,} keys"
    if orders:
        remark += f" in {' and '.join(orders)} order"
    yield from heading(frame, "Pairs", remark)
    index, colours = palette.share_index(elements.share), palette.share_colours(palette.PRINT)
    yield Cells(frame.x, frame.y, frame.width, frame.height, index, colours, _ruled(frame, index.shape))
    left, top = (
        side_ticks(side, grid.axes, (1,) * len(grid.axes), TICKS)
        for side, grid in zip((elements.query, elements.key), grids)
    )
    yield from axes(frame, ("query", "key"), left, top)
    yield from _query_mark(frame, picture, heads)
    pairs = int(elements.visible.sum())
    every = grids[0].count * grids[1].count
    visible = Entry(palette.VISIBLE, "visible", f"{pairs:,}", f"{percent(pairs, every)} of all pairs")
    if not elements.exact:
        yield from legend(frame, [visible])
        yield from _scale(frame, heads)
        return
    remark = f"{percent(every - pairs, every)} of all pairs"
    yield from legend(frame, [visible, Entry(palette.HIDDEN, "hidden", f"{every - pairs:,}", remark)])


def _scale(frame: Frame, heads: HeadPicture) -> Iterator[Item]:
    """The scale of shares, where a cell is more than a pair."""
    y = frame.bottom + LEGEND_GAP + LEGEND_LINE
    colours = palette.share_colours(palette.PRINT)
    width = 108.0 / len(colours)
    for at, colour in enumerate(colours):
        yield Box(frame.x + 20 + at * width, y - 9.5, width + 0.5, 11, colour)
    yield Text(frame.x + 14, y, "0", SMALL, palette.SOFT, "end")
    yield Text(frame.x + 134, y, "1", SMALL, palette.SOFT)
    query, key = (int(side.sizes.max()) for side in (heads.elements.query, heads.elements.key))
    yield Text(frame.x + 166, y, f"share in cells of {times((query, key))}", BODY, palette.SOFT)


def _query_mark(frame: Frame, picture: MaskPicture, heads: HeadPicture) -> Iterator[Item]:
    """A small triangle at the row of the query whose keys are shown."""
    number = 0
    for extent, coordinate in zip(picture.query_set.extents, heads.query):
        number = number * extent + coordinate
    rows = heads.elements.query
    y = frame.y + frame.height * (rows.place(number) + 0.5 / max(rows.count, picture.query_set.count))
    yield Shape(((frame.x - 9, y - 4.5), (frame.x - 1, y), (frame.x - 9, y + 4.5)), palette.QUERY)


def tiles_panel(frame: Frame, picture: MaskPicture, heads: HeadPicture) -> Iterator[Item]:
    """Which tiles a kernel visits."""
    tiles, counts = heads.tiles, heads.tiles.counts
    shapes = f"each {times(tiles.query.tile)} queries by {times(tiles.key.tile)} keys"
    yield from heading(frame, "Tiles", shapes + _pooled(tiles.rows, tiles.columns))
    index = palette.tile_index(tiles.partial, tiles.full, np.outer(tiles.rows.sizes, tiles.columns.sizes))
    colours = palette.tile_colours(palette.PRINT)
    yield Cells(frame.x, frame.y, frame.width, frame.height, index, colours, _ruled(frame, index.shape))
    left = side_ticks(tiles.rows, picture.query_set.axes, tiles.query.tile, TICKS)
    top = side_ticks(tiles.columns, picture.key_set.axes, tiles.key.tile, TICKS)
    yield from axes(frame, ("query", "key"), left, top)
    skipped = counts.total - counts.visited
    entries = [
        Entry(colour, name, f"{count:,}", f"{percent(count, counts.visited)} of visited tiles")
        for colour, name, count in (
            (palette.FULL, "full", counts.full),
            (palette.PARTIAL, "partial", counts.partial),
        )
    ]
    share = f"{percent(skipped, counts.total)} of all tiles"
    yield from legend(frame, [*entries, Entry(palette.EMPTY, "skipped", f"{skipped:,}", share)])


def _pooled(rows: Stretches, columns: Stretches) -> str:
    if rows.single and columns.single:
        return ""
    return f", {times((int(rows.sizes.max()), int(columns.sizes.max())))} to a cell"


def _ruled(frame: Frame, shape: tuple[int, ...]) -> bool:
    return min(frame.height / shape[0], frame.width / shape[1]) >= RULED
