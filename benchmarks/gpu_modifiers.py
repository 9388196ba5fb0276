"""Prints the mask and the score of an attend as FlexAttention's modifiers: functions of numbers of tokens.

The file needs torch only. Fields are names of the module, which whoever imports it sets. The same functions
serve as the definition that results on a GPU are compared with: they are printed for PyTorch, and share
nothing with the Triton kernels but the spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from attndsl.bench.peers import ModifierPrinter
from attndsl.ir.index import TRUE, Const, Expr, Var
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.ir.text import ATOM
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import substitute
from attndsl_codegen.printers.python import identifier

HEADER = '''"""{title} as FlexAttention takes it; printed from the spec."""

import torch


def is_power_of_two(x):
    return (x > 0) & ((x & (x - 1)) == 0)
'''


class FieldPrinter(ModifierPrinter):
    """Looks fields up as tensors, by head where they have heads, at coordinates inside them."""

    extents: Mapping[str, tuple[int, ...]]
    by_head: frozenset[str]

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        """A lookup; pairs that are not visible may ask for places outside."""
        inside = [self._inside(coord, extent) for coord, extent in zip(coords, self.extents[field])]
        return f"{identifier(field)}[{', '.join([*(['h'] if field in self.by_head else []), *inside])}]"

    def _inside(self, coord: Expr, extent: int) -> str:
        match coord:
            case Const(value):
                return str(max(0, min(int(value), extent - 1)))
        return f"{self._at(coord, ATOM)}.clamp(0, {extent - 1})"


def modifiers(
    program: Program, op: Attend, sizes: Mapping[str, int], hand: tuple[int, ...] | None, title: str
) -> str:
    """The text of a module with `mask_mod`, `score_mod` and, for tokens that were reordered into tiles,
    `tiled_mask_mod` and `tiled_score_mod`; a function that is not needed is None.

    Args:
        sizes: values of all symbols, heads and widths.
        hand: the sides of the tiles.
    """
    scored = op.score
    if op.bias is not None:
        scored = (Var("s", "real") if scored is None else scored) + op.bias
    wanted = {"mask_mod": None if op.where is TRUE else op.where, "score_mod": scored}
    blocks = [HEADER.format(title=title).rstrip()]
    for prefix, tile in (("", None), ("tiled_", hand)):
        for name, expr in wanted.items():
            if expr is None or (prefix and tile is None):
                blocks.append(f"{prefix}{name} = None")
            else:
                blocks.append(_function(program, op, sizes, f"{prefix}{name}", expr, tile))
    return "\n\n\n".join(blocks) + "\n"


def _function(
    program: Program,
    op: Attend,
    sizes: Mapping[str, int],
    name: str,
    expr: Expr,
    tile: tuple[int, ...] | None,
) -> str:
    expr = substitute(expr, {name: value for name, value in sizes.items() if name != "head"})
    lines: list[str] = []
    names: set[str] = set()
    for role, tokens, index in ((QUERY, op.query_tokens, "q_idx"), (KEY, op.key_tokens, "kv_idx")):
        extents = tokens.extents(sizes)
        for at, text in enumerate(coordinates(index, extents, tile)):
            coordinate = tokens.coordinate(role, tokens.axis_names[at]).name
            names.add(coordinate)
            lines.append(f"{identifier(coordinate)} = {text}")
    printer = FieldPrinter({*names, "head", "s"}, variables={"head": "h"})
    printer.extents = {value.name: value.type.tokens.extents(sizes) for value in program.values}
    printer.by_head = frozenset(value.name for value in program.values if value.type.heads is not None)
    parameters = ["b", "h", "q_idx", "kv_idx"] if expr.kind == "bool" else ["s", "b", "h", "q_idx", "kv_idx"]
    body = [*lines, f"return {printer.show(expr)}"]
    return "\n".join([f"def {name}({', '.join(parameters)}):", *(f"    {line}" for line in body)])


def coordinates(index: str, extents: tuple[int, ...], tile: tuple[int, ...] | None) -> Iterator[str]:
    """The coordinates of a token by its number: in row-major order, or tile by tile."""
    if tile is None:
        for at, extent in enumerate(extents):
            yield _digit(index, prod(extents[at + 1 :]), extent if at else None)
        return
    slots, grid = prod(tile), tuple(extent // side for extent, side in zip(extents, tile))
    for at, (side, count) in enumerate(zip(tile, grid)):
        place = _digit(index, slots * prod(grid[at + 1 :]), count if at else None)
        inner = _digit(f"({index} % {slots})", prod(tile[at + 1 :]), side)
        yield f"({place}) * {side} + {inner}"


def _digit(index: str, below: int, count: int | None) -> str:
    """A digit of a number; the first one needs no remainder."""
    shifted = index if below == 1 else f"{index} // {below}"
    return shifted if count is None else f"{shifted} % {count}"
