"""A program as a picture: its token sets side by side, below them, value by value, what moves between them.

Every value is a row. An attend is an arrow from the keys' set to the queries' set; operators that stay on a
set are a mark on its line. Beside a row stand the value and what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from attndsl.ir.ops import Attend, Elementwise, Lowered
from attndsl.ir.program import Program, Value
from attndsl.ir.text import show
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType
from attndsl.picture import palette
from attndsl.picture.scene import Box, Item, Line, Scene, Shape, Text
from attndsl.planning.costs import Cost
from attndsl.planning.sizes import Sizes

TITLE, BODY, SMALL = 20.0, 12.0, 11.0
LEFT, TOP = 36.0, 48.0
LANE, ROW = 150.0, 34.0
"""The distance between token sets, and between values."""
BOX_WIDTH, BOX_HEIGHT = 124.0, 40.0
LOOP = 26.0
"""How far the arrow of an attention within one set reaches out."""
TEXT_GAP = 34.0
CHARACTER = 6.3
"""The width of a letter, on average, in the size of body text."""


@dataclass(frozen=True)
class Row:
    """A value: where it comes from, where it lives, and what is said about it."""

    value: Value
    sources: tuple[TokenSet, ...]
    target: TokenSet
    call: str
    cost: Cost


def program_rows(program: Program, costs: Sequence[Cost]) -> list[Row]:
    """The rows of all computed values."""
    types = {value.name: value.type for value in program.values}
    by_name = {cost.value: cost for cost in costs}
    return [
        Row(value, _sources(value, types), value.type.tokens, call_text(value), by_name[value.name])
        for value in program.computed
    ]


def _sources(value: Value, types: Mapping[str, FeatureType]) -> tuple[TokenSet, ...]:
    """The sets that a value is made from; for an attend that of its keys."""
    match value.op:
        case Attend(key_tokens=keys):
            return (keys,)
        case op:
            every = [types[name] for name in op.operands]
            batched = [type_ for type_ in every if type_.batch] or every
            return tuple(dict.fromkeys(type_.tokens for type_ in batched))


def call_text(value: Value) -> str:
    """How the value is made, in a few words: `z = attend(a, k, v)`."""
    match value.op:
        case Elementwise(expr=expr):
            text = show(expr).replace("[]", "")
        case op:
            text = f"{op.word or _function(value)}({', '.join(op.operands)})"
    return f"{value.name} = {text if len(text) <= 60 else text[:57] + '...'}"


def _function(value: Value) -> str:
    match value.op.lowered():
        case Lowered() as call:
            return call.function
        case _:
            return "arithmetic"


def program_figure(program: Program, sizes: Sizes, rows: Sequence[Row]) -> Scene:
    """The picture."""
    sets = _sets(program, rows)
    lanes = {tokens: LEFT + BOX_WIDTH / 2 + at * LANE for at, tokens in enumerate(sets)}
    text_x = max(lanes.values()) + LOOP + TEXT_GAP
    first = TOP + 96
    height = first + ROW * len(rows) + 42
    longest = max((len(row.call) for row in rows), default=20)
    cost_x = text_x + max(longest * CHARACTER, 120.0)
    costs = max((len(cost_text(row.cost)) for row in rows), default=10) * CHARACTER
    items: list[Item] = [Text(LEFT, TOP, program.name, TITLE, palette.INK)]
    shown = ", ".join(f"{name} = {value}" for name, value in sizes.items() if "." not in name)
    items.append(Text(LEFT, TOP + 20, shown, BODY, palette.SOFT))
    for tokens, x in lanes.items():
        items += _head(tokens, x, sizes, first, height - 30)
    for at, row in enumerate(rows):
        y = first + ROW * (at + 0.5)
        items += _row(row, lanes, y)
        items.append(Text(text_x, y + 4, row.call, BODY, palette.INK))
        items.append(Text(cost_x, y + 4, cost_text(row.cost), SMALL, palette.SOFT))
    total = sum(row.cost.flops for row in rows)
    items.append(
        Text(text_x, height - 16, f"in all {amount(total)} floating-point operations", BODY, palette.INK)
    )
    words = "; ".join(row.call for row in rows)
    return Scene(cost_x + costs + 30, height, tuple(items), f"The program {program.name}", words)


def _sets(program: Program, rows: Sequence[Row]) -> list[TokenSet]:
    inputs = [value.type.tokens for value in program.inputs]
    every = [tokens for row in rows for tokens in (*row.sources, row.target)]
    return list(dict.fromkeys([*inputs, *every]))


def _head(tokens: TokenSet, x: float, sizes: Sizes, first: float, end: float) -> Iterator[Item]:
    """The box of a set, and the line on which its values lie."""
    top = first - BOX_HEIGHT - 12
    yield Line(x, first - 12, x, end, palette.RULE)
    yield Box(x - BOX_WIDTH / 2, top, BOX_WIDTH, BOX_HEIGHT, palette.HIDDEN, palette.SOFT)
    yield Text(x, top + 17, _short(tokens.name), BODY, palette.INK, "middle")
    extents = tokens.extents(sizes)
    words = "×".join(map(str, extents)) + (f" = {prod(extents):,}" if len(extents) > 1 else " tokens")
    yield Text(x, top + 32, words, SMALL, palette.SOFT, "middle")


def _row(row: Row, lanes: dict[TokenSet, float], y: float) -> Iterator[Item]:
    """Arrows from the sources, or a mark where a value stays on its set."""
    end = lanes[row.target]
    strong = isinstance(row.value.op, Attend)
    colour = palette.VISIBLE if strong else palette.SOFT
    width = 2.5 if strong else 1.0
    moving = [source for source in row.sources if source != row.target]
    for source in moving:
        start = lanes[source]
        tip = end - 7 if start < end else end + 7
        yield Line(min(start, tip), y, max(start, tip), y, colour, width)
        yield _tip(end, y, 1.0 if start < end else -1.0, colour)
    if strong and not moving:
        yield Line(end, y - 7, end + LOOP, y - 7, colour, width)
        yield Line(end + LOOP, y - 7, end + LOOP, y + 8, colour, width)
        yield Line(end + 7, y + 6, end + LOOP, y + 6, colour, width)
        yield _tip(end, y + 7, -1.0, colour)
    elif not moving:
        yield Box(end - 4, y - 4, 8, 8, palette.PAPER, colour, 1.5)


def _tip(x: float, y: float, direction: float, colour: palette.Colour) -> Shape:
    back = x - 9 * direction
    return Shape(((x, y), (back, y - 4.5), (back, y + 4.5)), colour)


def _short(name: str) -> str:
    return name if len(name) <= 19 else name[:18] + "…"


def cost_text(cost: Cost) -> str:
    """The formula and its value; nothing where only data moves."""
    if not cost.flops:
        return ""
    pairs = "" if cost.pairs is None else f", {amount(cost.pairs)} pairs a head"
    return f"{show(cost.formula)} = {amount(cost.flops)}{pairs}"


def amount(number: float) -> str:
    """A number in thousands, millions, ..."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def program_lines(name: str, sizes: Mapping[str, int], rows: Sequence[Row]) -> Iterator[str]:
    """A program as text: a line per value, with its token set and cost."""
    yield f"{name} at {', '.join(f'{key} = {value}' for key, value in sizes.items())}"
    width = max((len(row.call) for row in rows), default=0)
    place = max((len(row.target.name) for row in rows), default=0)
    for row in rows:
        yield f"  {row.call:{width}}  on {row.target.name:{place}}  {cost_text(row.cost)}".rstrip()
    yield f"  in all {amount(sum(row.cost.flops for row in rows))} floating-point operations"
