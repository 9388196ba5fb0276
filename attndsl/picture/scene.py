"""A picture as a list of shapes, in pixels; the PNG and the SVG writer draw the same one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attndsl.picture.palette import Colour

Anchor: TypeAlias = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Box:
    """A rectangle, filled or outlined or both."""

    x: float
    y: float
    width: float
    height: float
    fill: Colour | None = None
    stroke: Colour | None = None
    stroke_width: float = 1


@dataclass(frozen=True)
class Line:
    """A straight line, horizontal or vertical."""

    x: float
    y: float
    to_x: float
    to_y: float
    stroke: Colour
    width: float = 1


@dataclass(frozen=True)
class Shape:
    """A filled polygon."""

    points: tuple[tuple[float, float], ...]
    fill: Colour


@dataclass(frozen=True)
class Text:
    """One line of text; `y` is its baseline."""

    x: float
    y: float
    text: str
    size: float
    fill: Colour
    anchor: Anchor = "start"


@dataclass(frozen=True, eq=False)
class Cells:
    """A table of equal cells, each with a colour of the list; `ruled` draws thin lines between them."""

    x: float
    y: float
    width: float
    height: float
    index: NDArray[np.uint8]
    colours: tuple[Colour, ...]
    ruled: bool = False


Item: TypeAlias = Box | Line | Shape | Text | Cells


@dataclass(frozen=True)
class Scene:
    """A drawing.

    Attributes:
        items: in drawing order.
        title, description: in words, for those who do not see it.
    """

    width: float
    height: float
    items: tuple[Item, ...]
    title: str
    description: str
