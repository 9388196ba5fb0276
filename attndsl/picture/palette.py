"""Colours. Blue and orange keep apart for every common colour blindness and, by lightness, in grey."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from attndsl.picture.elements import Elements
from attndsl.picture.tilemap import TileMap

Colour: TypeAlias = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 32, 38)
SOFT: Colour = (98, 106, 117)
RULE: Colour = (201, 206, 213)
HIDDEN: Colour = (238, 241, 244)
FAINT: Colour = (191, 213, 234)
VISIBLE: Colour = (16, 78, 139)
EMPTY: Colour = HIDDEN
PARTIAL: Colour = (240, 163, 45)
FULL: Colour = VISIBLE
QUERY: Colour = (204, 51, 17)

SHADES = 32
"""Steps of the scale of shares: 0 is none, the last is all, and only they are."""
MIX = 8
"""Steps of the shares of full and of partial tiles in a cell of several tiles."""


def mixed(low: Colour, high: Colour, share: float) -> Colour:
    """A colour between two."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high))
    return red, green, blue


def text(colour: Colour) -> str:
    """The colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def share_colours() -> tuple[Colour, ...]:
    """The scale of shares; what is barely visible is told apart from what is not."""
    between = tuple(mixed(FAINT, VISIBLE, step / SHADES) for step in range(1, SHADES))
    return (HIDDEN, *between, VISIBLE)


def share_index(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares as positions on the scale of `share_colours`."""
    inner = np.clip(np.rint(share * SHADES), 1, SHADES - 1)
    return np.where(share <= 0, 0, np.where(share >= 1, SHADES, inner)).astype(np.uint8)


def element_cells(elements: Elements) -> tuple[NDArray[np.uint8], tuple[Colour, ...]]:
    """Cells of the picture of a mask, and the colours they point at."""
    if elements.exact:
        return elements.visible.astype(np.uint8), (HIDDEN, VISIBLE)
    return share_index(elements.share), share_colours()


def tile_colours() -> tuple[Colour, ...]:
    """Empty, partial, full; then every mixture of them in steps, by (partial, full)."""
    mixtures: list[Colour] = []
    for partial in range(MIX + 1):
        for full in range(MIX + 1):
            rest = max(0, MIX - partial - full)
            total = max(MIX, partial + full)
            parts = ((EMPTY, rest), (PARTIAL, partial), (FULL, full))
            red, green, blue = (round(sum(c[at] * n for c, n in parts) / total) for at in range(3))
            mixtures.append((red, green, blue))
    return (EMPTY, PARTIAL, FULL, *mixtures)


def tile_cells(tiles: TileMap) -> tuple[NDArray[np.uint8], tuple[Colour, ...]]:
    """Cells of a tile map, and the colours they point at."""
    if tiles.exact:
        return tiles.kinds.astype(np.uint8), (EMPTY, PARTIAL, FULL)
    pairs = np.outer(tiles.rows.sizes, tiles.columns.sizes)
    partial, full = (np.rint(MIX * np.minimum(count / pairs, 1)) for count in (tiles.partial, tiles.full))
    # A cell with anything in it never looks empty.
    partial = np.where((tiles.partial > 0) & (partial + full == 0), 1, partial)
    full = np.where((tiles.full > 0) & (partial + full == 0), 1, full)
    return (3 + partial * (MIX + 1) + full).astype(np.uint8), tile_colours()
