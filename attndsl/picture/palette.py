"""Colours. Blue and orange keep apart for every common colour blindness and, by lightness, in grey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.layout import Ints

Colour: TypeAlias = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 32, 38)
SOFT: Colour = (98, 106, 117)
RULE: Colour = (201, 206, 213)
HIDDEN: Colour = (238, 241, 244)
EMPTY: Colour = HIDDEN
VISIBLE: Colour = (16, 78, 139)
FULL: Colour = VISIBLE
PARTIAL: Colour = (240, 163, 45)
QUERY: Colour = (204, 51, 17)


@dataclass(frozen=True)
class Theme:
    """The colours of cells: what is hidden, visible, partial, and what is hardly visible but not hidden."""

    hidden: Colour
    faint: Colour
    visible: Colour
    partial: Colour
    query: Colour


PRINT = Theme(HIDDEN, (172, 201, 228), VISIBLE, PARTIAL, QUERY)
SCREEN = Theme((60, 64, 71), (66, 91, 122), (98, 178, 245), PARTIAL, (255, 92, 64))
"""For terminals, whose background may be dark or light."""

SHADES = 32
"""Steps of the scale of shares: 0 is none, the last is all, and only they are."""
MIX = 8
"""Steps of the share of visited tiles, and of the share of full ones among them."""
WEAKEST = 0.35
"""How strongly a cell is coloured in which hardly a tile is visited."""


def mixed(low: Colour, high: Colour, share: float) -> Colour:
    """A colour between two."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high))
    return red, green, blue


def text(colour: Colour) -> str:
    """The colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def share_colours(theme: Theme) -> tuple[Colour, ...]:
    """The scale of shares."""
    between = tuple(mixed(theme.faint, theme.visible, step / SHADES) for step in range(1, SHADES))
    return (theme.hidden, *between, theme.visible)


def share_index(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Shares as positions on the scale of `share_colours`."""
    inner = np.clip(np.rint(share * SHADES), 1, SHADES - 1)
    return np.where(share <= 0, 0, np.where(share >= 1, SHADES, inner)).astype(np.uint8)


def tile_colours(theme: Theme) -> tuple[Colour, ...]:
    """Colours by the share of visited tiles, and the share of full ones among them."""
    found: list[Colour] = []
    for visited in range(MIX + 1):
        strength = WEAKEST + (1 - WEAKEST) * visited / MIX if visited else 0.0
        for full in range(MIX + 1):
            colour = mixed(theme.partial, theme.visible, full / MIX)
            found.append(mixed(theme.hidden, colour, strength))
    return tuple(found)


def tile_index(partial: Ints, full: Ints, pairs: Ints) -> NDArray[np.uint8]:
    """Tile pairs per cell as positions in `tile_colours`; 0 only where no tile is visited."""
    visited = partial + full
    strength = np.ceil(MIX * visited / pairs).astype(np.int64)
    mix = np.rint(MIX * full / np.maximum(visited, 1)).astype(np.int64)
    return (strength * (MIX + 1) + mix).astype(np.uint8)
