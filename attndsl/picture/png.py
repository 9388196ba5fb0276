"""Draws a scene as a PNG, at two pixels per unit."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from attndsl.picture import palette
from attndsl.picture.palette import Colour
from attndsl.picture.scene import Box, Cells, Item, Line, Scene, Shape, Text

SCALE = 2
CRISP = 6
"""Cells at least so many pixels wide have borders on whole pixels; smaller ones are blended."""
MARKER_KEY, MARKER_TEXT = "Software", "attndsl show"
DRAWN_GLYPHS = {"×": 0.58, "→": 0.9, "↓": 0.55, "–": 0.56}
"""Widths, in the size of the text, of signs that the font lacks."""


def png(scene: Scene) -> bytes:
    """The scene as a file."""
    size = round(scene.width * SCALE), round(scene.height * SCALE)
    image = Image.new("RGB", size, palette.PAPER)
    draw = ImageDraw.Draw(image)
    for item in scene.items:
        _draw(image, draw, item)
    about = PngImagePlugin.PngInfo()
    about.add_text(MARKER_KEY, MARKER_TEXT)
    about.add_itxt("Title", scene.title)
    about.add_itxt("Description", scene.description)
    file = BytesIO()
    image.save(file, "PNG", pnginfo=about)
    return file.getvalue()


def _draw(image: Image.Image, draw: ImageDraw.ImageDraw, item: Item) -> None:
    match item:
        case Box(x, y, width, height, fill, stroke, stroke_width):
            if fill:
                draw.rectangle(_corners(x, y, width, height), fill)
            if stroke:
                half = stroke_width / 2
                outer = _corners(x - half, y - half, width + stroke_width, height + stroke_width)
                draw.rectangle(outer, None, stroke, round(stroke_width * SCALE))
        case Line(x, y, to_x, to_y, stroke, width):
            thick = max(1, round(width * SCALE))
            left, top = _pixels(min(x, to_x), min(y, to_y))
            right, bottom = _pixels(max(x, to_x), max(y, to_y))
            across = x == to_x
            corner = (left + thick - 1, bottom - 1) if across else (right - 1, top + thick - 1)
            draw.rectangle([left, top, *corner], stroke)
        case Shape(points, fill):
            _polygon(image, points, fill)
        case Text():
            _text(draw, item)
        case Cells():
            _cells(image, draw, item)


def _corners(x: float, y: float, width: float, height: float) -> list[int]:
    """The first and the last pixel of a rectangle."""
    return [*_pixels(x, y), *(edge - 1 for edge in _pixels(x + width, y + height))]


def _pixels(x: float, y: float) -> tuple[int, int]:
    return round(x * SCALE), round(y * SCALE)


def _polygon(image: Image.Image, points: tuple[tuple[float, float], ...], fill: Colour) -> None:
    """A polygon with smooth edges: drawn four times as large as a mask."""
    left, top = _pixels(min(x for x, _ in points) - 1, min(y for _, y in points) - 1)
    right, bottom = _pixels(max(x for x, _ in points) + 1, max(y for _, y in points) + 1)
    mask = Image.new("L", (4 * (right - left), 4 * (bottom - top)))
    corners = [(4 * (x * SCALE - left), 4 * (y * SCALE - top)) for x, y in points]
    ImageDraw.Draw(mask).polygon(corners, 255)
    image.paste(fill, (left, top), mask.reduce(4))


def _cells(image: Image.Image, draw: ImageDraw.ImageDraw, cells: Cells) -> None:
    left, top = _pixels(cells.x, cells.y)
    right, bottom = _pixels(cells.x + cells.width, cells.y + cells.height)
    rows, columns = cells.index.shape
    width, height = right - left, bottom - top
    table = np.array(cells.colours, dtype=np.uint8)
    index = cells.index
    if width < CRISP * columns or height < CRISP * rows:
        small = Image.fromarray(table[index])
        grown = small.resize(
            (columns * _growth(width, columns), rows * _growth(height, rows)), Image.Resampling.NEAREST
        )
        image.paste(grown.resize((width, height), Image.Resampling.BOX), (left, top))
        return
    x_edges = np.rint(np.arange(columns + 1) * width / columns).astype(int)
    y_edges = np.rint(np.arange(rows + 1) * height / rows).astype(int)
    part = table[index.repeat(np.diff(y_edges), 0).repeat(np.diff(x_edges), 1)]
    image.paste(Image.fromarray(part), (left, top))
    if cells.ruled:
        for x in x_edges[1:-1]:
            draw.line([left + int(x), top, left + int(x), bottom - 1], palette.PAPER)
        for y in y_edges[1:-1]:
            draw.line([left, top + int(y), right - 1, top + int(y)], palette.PAPER)


def _growth(pixels: int, cells: int) -> int:
    """How often to repeat a cell before blending, so that its borders fall on the right share of a pixel."""
    return max(1, -(-4 * pixels // cells)) if pixels > cells // 4 else 1


def _text(draw: ImageDraw.ImageDraw, text: Text) -> None:
    size = text.size * SCALE
    pieces = list(_pieces(text.text))
    widths = [_width(piece, size) for piece in pieces]
    x = text.x * SCALE - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor] * sum(widths)
    y = text.y * SCALE
    for piece, width in zip(pieces, widths):
        if DRAWN_GLYPHS.get(piece):
            _glyph(draw, piece, x, y, size, text.fill)
        else:
            draw.text((round(x), round(y)), piece, text.fill, _font(size), anchor="ls")
        x += width


def _pieces(text: str) -> list[str]:
    """Stretches that the font can print, and single signs that are drawn."""
    pieces = [""]
    for char in text:
        if DRAWN_GLYPHS.get(char):
            pieces += [char, ""]
        else:
            pieces[-1] += char
    return [piece for piece in pieces if piece]


def _width(piece: str, size: float) -> float:
    share = DRAWN_GLYPHS.get(piece)
    return share * size if share else _font(size).getlength(piece)


@lru_cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _glyph(draw: ImageDraw.ImageDraw, glyph: str, x: float, y: float, size: float, fill: Colour) -> None:
    """A sign of a few strokes, in units of the size, from the baseline up."""
    strokes: dict[str, list[tuple[float, float, float, float]]] = {
        "×": [(0.12, 0.12, 0.46, 0.46), (0.12, 0.46, 0.46, 0.12)],
        "→": [(0.1, 0.3, 0.78, 0.3), (0.56, 0.5, 0.78, 0.3), (0.56, 0.1, 0.78, 0.3)],
        "↓": [(0.28, 0.68, 0.28, 0.02), (0.08, 0.24, 0.28, 0.02), (0.48, 0.24, 0.28, 0.02)],
        "–": [(0.06, 0.27, 0.5, 0.27)],
    }
    thick = max(1, round(size * 0.08))
    for x1, y1, x2, y2 in strokes[glyph]:
        draw.line([x + x1 * size, y - y1 * size, x + x2 * size, y - y2 * size], fill, thick)
