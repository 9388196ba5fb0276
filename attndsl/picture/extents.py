"""Extents at which a mask shows what it is: beyond the windows and blocks that its spec names."""

from __future__ import annotations

from attndsl.ir.index import Const
from attndsl.ir.program import Program
from attndsl.ir.walk import postorder
from attndsl.picture.request import choose_attend

LEAST = {1: 64, 2: 16, 3: 8}
MOST = {1: 8192, 2: 64, 3: 32}
"""Extents of the axes, by the number of axes."""
BEYOND = {1: 4, 2: 2, 3: 2}
"""How often the largest number of a condition fits into an axis."""


def telling_extents(program: Program) -> dict[int, int]:
    """Powers of two for the axes of token sets, by the number of axes."""
    where = choose_attend(program, None).op.expressions.get("where")
    numbers = [1]
    for node in postorder([where] if where is not None else []):
        match node:
            case Const(int(value)) if not isinstance(value, bool):
                numbers.append(abs(value))
    found: dict[int, int] = {}
    for axes in LEAST:
        wanted = BEYOND[axes] * max(number for number in numbers if number <= MOST[axes])
        found[axes] = min(max(LEAST[axes], 1 << (wanted - 1).bit_length()), MOST[axes])
    return found
