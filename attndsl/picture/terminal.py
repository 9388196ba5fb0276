"""A picture in a terminal: half-blocks in colour, plain ASCII where there is no colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.style import Style
from rich.text import Text

from attndsl.analysis.layout import Ints
from attndsl.picture import palette
from attndsl.picture.keypanels import query_slice_of
from attndsl.picture.model import HeadPicture, MaskPicture
from attndsl.picture.palette import SCREEN, Colour
from attndsl.picture.words import (
    axis_name,
    coordinates,
    heads_text,
    notes,
    parameter_text,
    percent,
    shape_text,
    times,
)

WIDTH = 80
GAP = 3
CELLS = 38
"""Cells along a side; two panels fit side by side."""
SLICE_CELLS = 18
DRAWN, SLICES = 4, 8
"""Classes of heads, and slices of a key set with three or more axes."""
SHARES = ".:+*#"
"""ASCII for none, a little, some, most, all."""


@dataclass(frozen=True)
class Panel:
    """A table of cells with a colour and a letter each."""

    title: str
    colours: NDArray[np.uint8]
    letters: NDArray[np.str_]

    @property
    def width(self) -> int:
        """Columns of the table."""
        return self.colours.shape[1]

    def enlarged(self, times: int) -> Panel:
        """The table with cells several times as large; as it is for less than 2."""
        if times < 2 or len(self.colours) * times > CELLS:
            return self
        colours = self.colours.repeat(times, 0).repeat(times, 1)
        return Panel(self.title, colours, self.letters.repeat(times, 0).repeat(times, 1))


class TerminalPicture:
    """Prints a picture to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._fancy = console.is_terminal and not console.no_color and _prints_blocks(console)
        self._width = min(WIDTH, console.width)

    def show(self, picture: MaskPicture) -> None:
        """Everything: masks, tiles and a query's keys per class of heads, then the notes."""
        self.title(picture)
        for heads in picture.classes[:DRAWN]:
            self._line()
            self._class_line(picture, heads)
            pairs, tiles = _elements(heads, CELLS), _tiles(heads, CELLS)
            self._panels([pairs, tiles.enlarged(pairs.width // tiles.width) if self._fancy else tiles])
            self._legend()
            self.counts(picture, heads)
            self._line()
            self._line(_key_line(picture, heads))
            self._panels(_key_panels(picture, heads, 2 * CELLS if self._fancy else CELLS))
        self.notes(picture, DRAWN)

    def summary(self, picture: MaskPicture) -> None:
        """The numbers alone."""
        self.title(picture)
        for heads in picture.classes:
            self._class_line(picture, heads)
            self.counts(picture, heads)
        self.notes(picture, len(picture.classes))

    def title(self, picture: MaskPicture) -> None:
        """Name, shape and parameters."""
        rest = "; ".join(part for part in (shape_text(picture), parameter_text(picture)) if part)
        title = Text.assemble((picture.attention, "bold"), "  ", self._plain(rest))
        self._console.print(title, width=self._width)

    def counts(self, picture: MaskPicture, heads: HeadPicture) -> None:
        """Two lines: pairs and tiles."""
        found = heads.tiles.counts
        every = picture.query_set.count * picture.key_set.count
        self._line(f"{found.pairs:,} of {every:,} pairs visible ({percent(found.pairs, every)})")
        shape = f"{times(heads.tiles.query.tile)} by {times(heads.tiles.key.tile)}"
        visited = f"{found.visited:,} of {found.total:,} visited ({percent(found.visited, found.total)})"
        self._line(f"tiles of {shape}: {visited}, {found.full:,} full, {found.partial:,} partial")

    def notes(self, picture: MaskPicture, drawn: int) -> None:
        """What a reader must know."""
        more = len(picture.classes) - drawn
        if more > 0:
            self._line(f"{more} more classes of heads are not drawn; --head chooses one.")
        for note in notes(picture):
            self._line(note, "dim")

    def _class_line(self, picture: MaskPicture, heads: HeadPicture) -> None:
        if len(picture.classes) > 1 or len(heads.heads) < picture.heads:
            self._line(heads_text(heads.heads, picture.heads), "bold")

    def _line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(self._plain(text), style), width=self._width)

    def _plain(self, text: str) -> str:
        if _prints_blocks(self._console):
            return text
        return (
            text.replace("×", "x").replace("–", "-").replace("…", "...").encode("ascii", "replace").decode()
        )

    def _legend(self) -> None:
        if not self._fancy:
            self._line("pairs: # visible  . hidden     tiles: # full  + partial  . skipped")
            return
        parts = (
            ("visible, full", SCREEN.visible),
            ("partial", SCREEN.partial),
            ("hidden, skipped", SCREEN.hidden),
        )
        line = Text()
        for name, colour in parts:
            line.append("██", _style(colour)).append(f" {name}   ")
        self._console.print(line)

    def _panels(self, panels: Sequence[Panel]) -> None:
        """Panels side by side, as many as fit in a line."""
        scale = 1 if self._fancy else 2
        row: list[Panel] = []
        used = 0
        for panel in panels:
            width = max(panel.width * scale, len(panel.title))
            if row and used + GAP + width > self._width:
                self._row(row)
                row, used = [], 0
            used += width + (GAP if row else 0)
            row.append(panel)
        self._row(row)

    def _row(self, panels: Sequence[Panel]) -> None:
        drawn = [[Text(panel.title, "dim")] * bool(panel.title) + self._lines(panel) for panel in panels]
        widths = [max(line.cell_len for line in lines) for lines in drawn]
        for at in range(max(map(len, drawn))):
            line = Text()
            for lines, width in zip(drawn, widths):
                part = lines[at].copy() if at < len(lines) else Text()
                part.pad_right(width - part.cell_len)
                line.append_text(part).append(" " * GAP)
            line.rstrip()
            self._console.print(line, soft_wrap=True)

    def _lines(self, panel: Panel) -> list[Text]:
        if not self._fancy:
            return [Text(" ".join(row)) for row in panel.letters]
        return list(_half_blocks(panel.colours))


def _prints_blocks(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def _style(colour: Colour, below: Colour | None = None) -> Style:
    return Style(
        color=f"rgb{colour}".replace(" ", ""), bgcolor=f"rgb{below}".replace(" ", "") if below else None
    )


SCALE = palette.share_colours(SCREEN)
TILES = palette.tile_colours(SCREEN)
QUERY = len(SCALE) + len(TILES)
COLOURS = (*SCALE, *TILES, SCREEN.query)
"""All colours that a panel may use: shares, then tiles, then the query."""


def _half_blocks(colours: NDArray[np.uint8]) -> Iterator[Text]:
    """Two rows of cells per line: the upper one in the colour of the sign, the lower one behind it."""
    for top in range(0, len(colours), 2):
        line = Text()
        for column, upper in enumerate(colours[top]):
            if top + 1 < len(colours):
                lower = colours[top + 1, column]
                same = upper == lower
                line.append("█" if same else "▀", _style(COLOURS[upper], None if same else COLOURS[lower]))
            else:
                line.append("▀", _style(COLOURS[upper]))
        yield line


def _sums(values: Ints, most: int) -> Ints:
    """Sums over blocks, so that no side is longer than `most`."""
    return _block_sums(values, [ceil(extent / most) for extent in values.shape])


def _block_sums(values: Ints, blocks: Sequence[int]) -> Ints:
    for axis, block in enumerate(blocks):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], block), axis)
    return values


def _shares(title: str, share: NDArray[np.float64]) -> Panel:
    step = np.where(share <= 0, 0, np.where(share >= 1, 4, 1 + np.minimum(share * 3, 2).astype(int)))
    return Panel(title, palette.share_index(share), np.array(list(SHARES))[step])


def _elements(heads: HeadPicture, most: int) -> Panel:
    elements = heads.elements_in(2 * most)
    pairs = np.outer(elements.query.sizes, elements.key.sizes)
    return _shares("pairs", _sums(elements.visible, most) / _sums(pairs, most))


def _tiles(heads: HeadPicture, most: int) -> Panel:
    tiles = heads.tiles
    pairs = np.outer(tiles.rows.sizes, tiles.columns.sizes)
    partial, full, pairs = (_sums(values, most) for values in (tiles.partial, tiles.full, pairs))
    colours = palette.tile_index(partial, full, pairs) + len(SCALE)
    letters = np.where(full == pairs, "#", np.where(partial + full > 0, "+", "."))
    return Panel("tiles", colours.astype(np.uint8), letters)


def _key_line(picture: MaskPicture, heads: HeadPicture) -> str:
    keys = heads.keys
    share = percent(keys.count, picture.key_set.count)
    where = coordinates(picture.query_set, heads.query)
    return f"query {where} sees {keys.count:,} of {picture.key_set.count:,} keys ({share})"


def _key_panels(picture: MaskPicture, heads: HeadPicture, bar: int) -> list[Panel]:
    """One line for one axis, the grid for two, some slices for more."""
    visible, query = heads.keys.visible, heads.query
    own = query_slice_of(picture, heads) if len(visible.shape) > 1 else None
    marked = query[-2:] if picture.query_set == picture.key_set else None
    match visible.shape:
        case (_,):
            return [_grid("", visible[None], None, bar)]
        case (_, _):
            return [_grid("", visible, marked, CELLS)]
    extents = picture.key_set.extents
    slices = visible.reshape(-1, *extents[-2:])
    panels: list[Panel] = []
    for number in _chosen_slices(slices, own):
        where = np.unravel_index(number, extents[:-2])
        title = " ".join(f"{axis_name(picture.key_set, axis)}={int(at)}" for axis, at in enumerate(where))
        panels.append(_grid(title, slices[number], marked if number == own else None, SLICE_CELLS))
    return panels


def _chosen_slices(slices: NDArray[np.bool_], own: int | None) -> list[int]:
    """Slices that hold keys, evenly spaced; the query's own among them."""
    holding = [int(at) for at in np.flatnonzero(slices.any((1, 2)))] or [own or 0]
    every = ceil(len(holding) / SLICES)
    first = holding.index(own) % every if own in holding else 0
    return holding[first::every]


def _grid(title: str, visible: NDArray[np.bool_], query: Sequence[int] | None, most: int) -> Panel:
    block = ceil(max(visible.shape) / most)
    counts = _block_sums(np.ones(visible.shape, dtype=np.int64), [block, block])
    panel = _shares(title, _block_sums(visible.astype(np.int64), [block, block]) / counts)
    if query is not None:
        cell = tuple(at // block for at in query)
        panel.colours[cell] = QUERY
        panel.letters[cell] = "Q"
    return panel
