"""Blocks as a layout: tiles that begin where the blocks of a mask do, whatever their sides.

(i + 4) // 7 == (j + 4) // 7       tiles of 7, the first of which starts 4 places before the first token

A tile is then a block, and nothing in it is hidden; tiles of 8 would each touch two or three blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attndsl.ir.index import TRUE, Apply, Const, Expr, Var
from attndsl.ir.ops import Attend
from attndsl.ir.rewrite import Ranges, simplify
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import postorder, substitute

PLACE = "_place"
LARGEST_SIDE, SMALLEST_SIDE = 64, 4
"""Larger blocks are cut into equal parts; tiles of smaller ones hold too little."""
FEWEST_SLOTS = 8
"""Smaller tiles than these lose to ones that match no blocks: those of 6 tokens do, those of 12 win."""


@dataclass(frozen=True)
class Blocks:
    """The blocks that a mask is cut into.

    Attributes:
        sides: along each axis; None where there are none.
        origin: along each axis, the places of the first block before the first token.
    """

    sides: tuple[int | None, ...]
    origin: tuple[int, ...]


def blocks_of(attend: Attend) -> Blocks | None:
    """The blocks that a mask is cut into; None where tiles of 2, 4, 8, ... tokens match them anyway."""
    tokens = attend.query_tokens
    if tokens != attend.key_tokens:
        return None
    found = [_block(attend.where, axis) for axis in tokens.axis_names]
    sides, origin = tuple(side for side, _ in found), tuple(empty for _, empty in found)
    matched = all(side is None or side & (side - 1) == 0 for side in sides) and not any(origin)
    return None if matched else Blocks(sides, origin)


def _block(where: Expr, axis: str) -> tuple[int | None, int]:
    """The side of a tile along one axis, and its origin, if queries and keys have blocks in common."""
    by_query, by_key = (set(_divided(where, f"{role}.{axis}")) for role in (QUERY, KEY))
    for block, before in sorted(by_query & by_key, reverse=True):
        side = max(part for part in range(1, LARGEST_SIDE + 1) if block % part == 0)
        if side >= SMALLEST_SIDE:
            return side, before % side
    return None, 0


def _divided(where: Expr, coordinate: str) -> Iterator[tuple[int, int]]:
    """The blocks that a coordinate is divided into, and how far the first of them reaches out."""
    for node in postorder([where]):
        match node:
            case Apply("//", (Var(name), Const(int() as block))) if name == coordinate and block > 0:
                yield block, 0
            case Apply("//", (Apply("+", terms), Const(int() as block))) if block > 0:
                constants = [term.value for term in terms if isinstance(term, Const)]
                rest = [term for term in terms if not isinstance(term, Const)]
                if rest == [Var(coordinate)] and all(isinstance(value, int) for value in constants):
                    yield block, sum(map(int, constants)) % block


def placed_at(attend: Attend, origin: tuple[int, ...]) -> Attend:
    """The attend with places before the first token, which are hidden, so that tiles start at zero."""
    values: dict[str, Expr] = {}
    exists: Expr = TRUE
    boxes: dict[str, tuple[int, int]] = {}
    for role in (QUERY, KEY):
        for axis, empty in zip(attend.query_tokens.axis_names, origin):
            if empty:
                place = Var(f"{role}.{axis}{PLACE}")
                values[f"{role}.{axis}"] = place - empty
                exists = exists & (place >= empty)
                boxes[place.name] = (0, 2**40)
    axes = (
        replace(axis, name=axis.name + PLACE, extent=axis.extent + empty) if empty else axis
        for axis, empty in zip(attend.query_tokens.axes, origin)
    )
    tokens = replace(attend.query_tokens, axes=tuple(axes))
    where = simplify(substitute(attend.where, values) & exists, Ranges(boxes))
    return replace(attend, query_tokens=tokens, key_tokens=tokens, where=where)
