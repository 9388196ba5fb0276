"""The whole figure: a title, the panels of every class of heads, notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from attndsl.picture import palette
from attndsl.picture.keypanels import (
    SliceLayout,
    bar_height,
    bar_panel,
    grid_panel,
    query_slice_of,
    slice_layout,
    slices_panel,
)
from attndsl.picture.model import HeadPicture, MaskPicture
from attndsl.picture.panels import (
    BODY,
    HEAD,
    HEADING,
    LEGEND_GAP,
    LEGEND_LINE,
    Frame,
    elements_panel,
    tiles_panel,
)
from attndsl.picture.scene import Item, Line, Scene, Text
from attndsl.picture.words import heads_text, notes, parameter_text, percent, shape_text, times

TITLE = 20.0
LEFT, RIGHT, TOP, BOTTOM = 84.0, 52.0, 48.0, 30.0
"""Margins; tick labels hang into the left one."""
GUTTER = 84.0
"""Between panels, tick labels included."""
ROW_GAP = 40.0
PANEL_GAP = 22.0
DRAWN, PER_BAND = 8, 4
"""Classes of heads in a figure, and side by side."""
SIDES = {1: 360.0, 2: 320.0, 3: 280.0}
"""The side of a panel, by the classes side by side."""
SMALLEST = 250.0
NARROW, WIDE = 1 / 3, 3.0
"""Panels keep the proportions of queries and keys between these."""
SLICES_HEIGHT = 300.0


def figure(picture: MaskPicture) -> Scene:
    """The figure of a picture: panels side by side, or one column per class of heads if there are several."""
    blocks = [_Block(picture, heads, len(picture.classes)) for heads in picture.classes[:DRAWN]]
    bands = [blocks[at : at + PER_BAND] for at in range(0, len(blocks), PER_BAND)]
    inner = max(sum(block.width for block in band) + GUTTER * (len(band) - 1) for band in bands)
    items: list[Item] = [Text(LEFT, TOP, picture.attention, TITLE, palette.INK)]
    y = TOP + 3
    subtitle = " · ".join(part for part in (shape_text(picture), parameter_text(picture)) if part)
    for line in _wrapped(subtitle, inner):
        y += 18
        items.append(Text(LEFT, y, line, BODY + 1, palette.SOFT))
    for band in bands:
        y += ROW_GAP
        x = LEFT
        for block in band:
            items += block.items(x, y)
            x += block.width + GUTTER
        y += max(block.height for block in band)
    y += 8
    for note in _notes(picture):
        for line in _wrapped(note, inner):
            y += 16
            items.append(Text(LEFT, y, line, BODY, palette.SOFT))
    title = f"{picture.attention}: which keys a query sees"
    return Scene(LEFT + inner + RIGHT, y + BOTTOM, tuple(items), title, _description(picture))


def _wrapped(text: str, width: float) -> list[str]:
    return wrap(text, max(20, int(width / (0.53 * BODY))), break_long_words=True)


def _notes(picture: MaskPicture) -> list[str]:
    more = len(picture.classes) - DRAWN
    hidden = [f"{more} more classes of heads are not drawn; --head chooses one."] if more > 0 else []
    return hidden + notes(picture)


def _description(picture: MaskPicture) -> str:
    every = picture.query_set.count * picture.key_set.count
    parts: list[str] = []
    for heads in picture.classes[:DRAWN]:
        counts = heads.tiles.counts
        parts.append(
            f"{heads_text(heads.heads, picture.heads)}: {counts.pairs:,} of {every:,} pairs visible "
            f"({percent(counts.pairs, every)}); of {counts.total:,} tiles "
            f"({times(heads.tiles.query.tile)} queries, {times(heads.tiles.key.tile)} keys) "
            f"{counts.full:,} are full and {counts.partial:,} partial."
        )
    return f"{shape_text(picture)}. {' '.join(parts)}"


@dataclass(frozen=True)
class _Block:
    """The panels of one class of heads: side by side if it is the only one, else below each other."""

    picture: MaskPicture
    heads: HeadPicture
    classes: int

    @property
    def alone(self) -> bool:
        return self.classes == 1

    @property
    def side(self) -> float:
        return SIDES.get(self.classes, SMALLEST)

    @property
    def axes(self) -> int:
        return len(self.picture.key_set.axes)

    @property
    def panel(self) -> tuple[float, float]:
        """Width and height of the panels of queries against keys."""
        aspect = min(max(self.picture.key_set.count / self.picture.query_set.count, NARROW), WIDE)
        return self.side * min(1, aspect), self.side * min(1, 1 / aspect)

    @property
    def columns(self) -> int:
        if not self.alone:
            return 1
        return 3 if self.axes == 2 else 2

    @property
    def width(self) -> float:
        return self.columns * self.side + (self.columns - 1) * GUTTER

    @property
    def slices(self) -> SliceLayout:
        here = query_slice_of(self.picture, self.heads)
        return slice_layout(self.picture.key_set.extents, here, self.width, SLICES_HEIGHT)

    @property
    def label_height(self) -> float:
        return 0 if self.alone else 46.0

    @property
    def height(self) -> float:
        panel = HEAD + self.panel[1] + LEGEND_GAP + 3 * LEGEND_LINE
        beside = self.alone and self.axes == 2
        matrices = panel if self.alone else 2 * panel + PANEL_GAP
        if beside:
            return max(panel, self._keys_height)
        return self.label_height + matrices + PANEL_GAP + self._keys_height

    @property
    def _keys_height(self) -> float:
        match self.axes:
            case 1:
                return bar_height()
            case 2:
                return HEAD + self.side + LEGEND_GAP + 2 * LEGEND_LINE
            case _:
                return self.slices.total_height

    def items(self, x: float, y: float) -> Iterator[Item]:
        """Everything, with the upper left corner of the block at (x, y)."""
        if not self.alone:
            label = heads_text(self.heads.heads, self.picture.heads)
            yield Line(x, y, x + self.width, y, palette.RULE)
            yield Text(x, y + 22, label[0].upper() + label[1:], HEADING + 1, palette.INK)
            y += self.label_height
        width, height = self.panel
        step = HEAD + height + LEGEND_GAP + 3 * LEGEND_LINE + PANEL_GAP
        across, down = (self.side + GUTTER, 0.0) if self.alone else (0.0, step)
        yield from elements_panel(Frame(x, y + HEAD, width, height), self.picture, self.heads)
        yield from tiles_panel(Frame(x + across, y + HEAD + down, width, height), self.picture, self.heads)
        match self.axes:
            case 1:
                yield from bar_panel(x, y + down + step, self.width, self.picture, self.heads)
            case 2:
                down = 0.0 if self.alone else 2 * step
                frame = Frame(x + 2 * across, y + HEAD + down, self.side, self.side)
                yield from grid_panel(frame, self.picture, self.heads)
            case _:
                yield from slices_panel(x, y + down + step, self.width, self.picture, self.heads, self.slices)
