"""Extents at which a mask shows what it is: beyond the windows and blocks that its spec names."""

from __future__ import annotations

from attndsl.ir.index import Const
from attndsl.ir.program import Program
from attndsl.ir.walk import postorder
from attndsl.picture.request import choose_attend

LEAST = {1: 64, 2: 16, 3: 8}
MOST = {1: 8192, 2: 64, 3: 32}
"""Extents of the axes, by the number of axes; larger ones only if a number of the condition demands it."""
BEYOND = {1: 4, 2: 2, 3: 2}
"""How often the largest number of a condition fits into an axis."""
CONSIDERED = {1: 1 << 18, 2: 512, 3: 64}
"""Larger numbers are not taken for the size of a window."""


def telling_extents(program: Program, attend: str | None = None) -> dict[int, int]:
    """Powers of two for the axes of token sets, by the number of axes.

    Raises:
        AttnError: there is no such attend.
    """
    where = choose_attend(program, attend).op.expressions.get("where")
    numbers = {1}
    for node in postorder([where] if where is not None else []):
        match node:
            case Const(int(value)) if not isinstance(value, bool):
                numbers.add(abs(value))
    found: dict[int, int] = {}
    for axes in LEAST:
        largest = max(number for number in numbers if number <= CONSIDERED[axes])
        extent = min(max(LEAST[axes], _power_from(BEYOND[axes] * largest)), MOST[axes])
        found[axes] = extent if extent > largest else _power_from(largest + 1)
    return found


def _power_from(number: int) -> int:
    return 1 << (number - 1).bit_length()
