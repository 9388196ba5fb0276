"""Writes a scene as SVG: small, deterministic, every text escaped."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from attndsl.picture import palette
from attndsl.picture.scene import Box, Cells, Item, Line, Scene, Shape, Text

MARKER = "<!-- drawn by attndsl show -->"
FONTS = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
MOST_RECTANGLES = 20_000
"""A table of cells with more is embedded as an image, one pixel per cell."""


def svg(scene: Scene) -> bytes:
    """The scene as a file."""
    width, height = _number(scene.width), _number(scene.height)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        MARKER,
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONTS}" role="img">',
        f"<title>{_words(scene.title)}</title>",
        f"<desc>{_words(scene.description)}</desc>",
        f'<rect width="{width}" height="{height}" fill="{palette.text(palette.PAPER)}"/>',
    ]
    for item in scene.items:
        lines += _item(item)
    return ("\n".join([*lines, "</svg>"]) + "\n").encode()


def _item(item: Item) -> Iterator[str]:
    match item:
        case Box(x, y, width, height, fill, stroke, stroke_width):
            fills = f' fill="{palette.text(fill) if fill else "none"}"'
            strokes = f' stroke="{palette.text(stroke)}"' if stroke else ""
            strokes += f' stroke-width="{_number(stroke_width)}"' if stroke and stroke_width != 1 else ""
            yield f"<rect{_place(x, y, width, height)}{fills}{strokes}/>"
        case Line(x, y, to_x, to_y, stroke, width):
            colour = palette.text(stroke)
            thick = f' stroke-width="{_number(width)}"' if width != 1 else ""
            path = f"M{_number(x)} {_number(y)}L{_number(to_x)} {_number(to_y)}"
            yield f'<path d="{path}" stroke="{colour}"{thick}/>'
        case Shape(points, fill):
            corners = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
            yield f'<polygon points="{corners}" fill="{palette.text(fill)}"/>'
        case Text(x, y, text, size, fill, anchor):
            anchors = f' text-anchor="{anchor}"' if anchor != "start" else ""
            place = f'x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}"'
            yield f'<text {place} fill="{palette.text(fill)}"{anchors}>{_words(text)}</text>'
        case Cells():
            yield from _cells(item)


def _cells(cells: Cells) -> Iterator[str]:
    rows, columns = cells.index.shape
    yield f"<rect{_place(cells.x, cells.y, cells.width, cells.height)} fill={_colour(cells, 0)}/>"
    found = rectangles(cells.index)
    if sum(map(len, found.values())) > MOST_RECTANGLES:
        yield _image(cells)
    elif found:
        across, down = cells.width / columns, cells.height / rows
        move = f"translate({_number(cells.x)} {_number(cells.y)}) scale({across:.8g} {down:.8g})"
        yield f'<g transform="{move}" shape-rendering="crispEdges">'
        for colour, members in found.items():
            path = "".join(f"M{x} {y}h{w}v{h}h{-w}z" for x, y, w, h in members)
            yield f'<path fill={_colour(cells, colour)} d="{path}"/>'
        yield "</g>"
    if cells.ruled:
        xs = (cells.x + cells.width * at / columns for at in range(1, columns))
        ys = (cells.y + cells.height * at / rows for at in range(1, rows))
        path = "".join(f"M{_number(x)} {_number(cells.y)}v{_number(cells.height)}" for x in xs)
        path += "".join(f"M{_number(cells.x)} {_number(y)}h{_number(cells.width)}" for y in ys)
        yield f'<path d="{path}" stroke="{palette.text(palette.PAPER)}" stroke-width="0.5"/>'


def rectangles(index: NDArray[np.uint8]) -> dict[int, list[tuple[int, int, int, int]]]:
    """Rectangles (x, y, width, height) of equal cells by colour: runs, joined with equal runs below.

    Colour 0 is the ground and has none.
    """
    found: dict[int, list[tuple[int, int, int, int]]] = {}
    growing: dict[tuple[int, int, int], int] = {}
    for y in range(len(index) + 1):
        runs = _runs(index[y]) if y < len(index) else set()
        for run in sorted(growing.keys() - runs):
            start, end, colour = run
            top = growing.pop(run)
            found.setdefault(colour, []).append((start, top, end - start, y - top))
        for run in runs - growing.keys():
            growing[run] = y
    return {colour: sorted(members) for colour, members in sorted(found.items())}


def _runs(row: NDArray[np.uint8]) -> set[tuple[int, int, int]]:
    """Start, end and colour of each run of equal cells that is not ground."""
    starts = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    ends = np.concatenate([starts[1:], [len(row)]])
    return {(s, e, c) for s, e, c in zip(starts.tolist(), ends.tolist(), row[starts].tolist()) if c}


def _image(cells: Cells) -> str:
    from PIL import Image

    image = Image.fromarray(cells.index).convert("P")
    image.putpalette([part for colour in cells.colours for part in colour])
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    data = b64encode(file.getvalue()).decode()
    place = _place(cells.x, cells.y, cells.width, cells.height)
    return (
        f'<image{place} preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _colour(cells: Cells, number: int) -> str:
    return f'"{palette.text(cells.colours[number])}"'


def _place(x: float, y: float, width: float, height: float) -> str:
    return f' x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'


def _number(value: float) -> str:
    """At most two decimals, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _words(text: str) -> str:
    """Text for XML, without characters that XML cannot hold."""
    return escape(re.sub(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))
