"""FlexAttention as a peer: the same mask as a `mask_mod`, its block mask built from our own schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from attndsl.analysis.attention import analyse
from attndsl.analysis.layout import Brick, Layout, make_layout
from attndsl.analysis.schedule import Schedule
from attndsl.api import import_source
from attndsl.ir.index import TRUE, Expr, Var
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.ir.text import ATOM
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import evaluate, fields, substitute, variables
from attndsl_codegen.printers.python import TorchPrinter, identifier

RASTER_BLOCKS = (128, 64)
HAND_TILES = {2: (8, 8), 3: (4, 4, 4)}
"""Tiles of 64 tokens, by the number of axes."""


@dataclass(frozen=True)
class FlexPeer:
    """A way to run the mask in FlexAttention.

    Attributes:
        order: the tokens in the order in which it takes them, or None for row-major order.
        block_mask: which blocks it visits.
        score_mod: what it does to scores, if anything.
    """

    name: str
    order: Tensor | None
    block_mask: BlockMask
    score_mod: Callable[..., Tensor] | None
    scale: float

    def call(self, q: Tensor, k: Tensor, v: Tensor) -> Callable[[], Tensor]:
        """A compiled call on these tensors (batch, heads, tokens, width); reordering is not part of it."""
        if self.order is not None:
            q, k, v = (t[:, :, self.order].contiguous() for t in (q, k, v))
        compiled = torch.compile(flex_attention)

        def run() -> Tensor:
            with torch.no_grad():
                return compiled(q, k, v, self.score_mod, self.block_mask, self.scale)

        return run

    def in_order(self, out: Tensor) -> Tensor:
        """An output in row-major order."""
        if self.order is None:
            return out
        return out[:, :, torch.argsort(self.order)]


class ModifierPrinter(TorchPrinter):
    """Prints expressions for a modifier, in which fields are tensors."""

    def real(self, arg: Expr) -> tuple[str, int]:
        """Integers as reals of the type that scores have."""
        return f"{self._at(arg, ATOM)}.to(torch.float32)", ATOM

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        """A lookup by index."""
        return f"{identifier(field)}[{self.comma(coords)}]"


def flex_peers(
    program: Program, sizes: Mapping[str, int], width: int, inputs: Mapping[str, Tensor]
) -> list[FlexPeer] | str:
    """The forms in which FlexAttention can run a program, or why it cannot.

    Args:
        inputs: the program's inputs; labels are captured by the modifiers, of the first batch element.
    """
    attends = program.attends
    if len(program.computed) != 1 or len(attends) != 1 or attends[0].op.kernel not in ("tiled", "all_keys"):
        return "the program is more than one softmax attention"
    op = attends[0].op
    expressions = [expr for expr in (op.where, op.bias, op.score) if expr is not None]
    labels = {name: inputs[name] for name in sorted(fields(*expressions)) if name in inputs}
    kinds = {value.name: value.type for value in program.values}
    if any(kinds[name].kind == "real" or kinds[name].heads is not None for name in fields(*expressions)):
        return "its expressions look real tensors up"
    if labels and next(iter(labels.values())).shape[0] > 1:
        return "its labels differ from one batch element to the next"
    if "head" in variables(op.where):
        return "its mask differs from head to head"
    found = [_peer(op, sizes, width, labels, f"raster {size}", (size,)) for size in RASTER_BLOCKS]
    tile = HAND_TILES.get(len(op.query_tokens.axes))
    extents = op.query_tokens.extents(sizes), op.key_tokens.extents(sizes)
    if tile and all(e % t == 0 for side in extents for e, t in zip(side, tile)):
        found.append(_peer(op, sizes, width, labels, "hand-tiled", tile))
    return found


def _peer(
    op: Attend,
    sizes: Mapping[str, int],
    width: int,
    labels: Mapping[str, Tensor],
    name: str,
    tile: tuple[int, ...],
) -> FlexPeer:
    extents = op.query_tokens.extents(sizes), op.key_tokens.extents(sizes)
    layouts = tuple(make_layout(e, tile if len(tile) == len(e) else (tile[0],)) for e in extents)
    order = tile_order(layouts[0]) if name == "hand-tiled" else None
    known = {**sizes, f"{op.q}.width": width}
    scored = op.score
    if op.bias is not None:
        scored = (Var("s", "real") if scored is None else scored) + op.bias
    modifiers = [
        None if expr is None else _modifier(op, known, expr, labels, layouts, order is not None)
        for expr in (None if op.where is TRUE else op.where, scored)
    ]
    values = {field: label.numpy() for field, label in labels.items()}
    classes = analyse(op, {**sizes, "heads": 1}, layouts[0], layouts[1], values).classes
    mask = block_mask(classes[0].schedule, modifiers[0])
    scale = float(evaluate(op.scale, known, EXACT))
    return FlexPeer(f"FlexAttention, {name}", order, mask, modifiers[1], scale)


def tile_order(layout: Layout) -> Tensor:
    """The tokens tile by tile, each tile in row-major order."""
    assert isinstance(layout, Brick)
    numbers = torch.arange(prod(layout.extents)).view(layout.extents)
    split = [size for extent, tile in zip(layout.extents, layout.tile) for size in (extent // tile, tile)]
    axes = len(layout.extents)
    return numbers.view(split).permute([*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)]).flatten()


def _modifier(
    op: Attend,
    known: Mapping[str, int],
    expr: Expr,
    labels: Mapping[str, Tensor],
    layouts: tuple[Layout, ...],
    tables: bool,
) -> Callable[..., Any]:
    """A condition (or a score) as a function of (the score,) batch, head, query number and key number.

    Coordinates come from divisions, or with `tables` from tables, which is faster for reordered tokens.
    """
    expr = substitute(expr, {name: value for name, value in known.items() if name != "head"})
    lines: list[str] = []
    names: set[str] = set()
    scope: dict[str, Any] = {"torch": torch, **{identifier(n): label[0] for n, label in labels.items()}}
    for role, tokens, layout, index in (
        (QUERY, op.query_tokens, layouts[0], "q_idx"),
        (KEY, op.key_tokens, layouts[1], "kv_idx"),
    ):
        inner = prod(layout.extents)
        flat = tile_order(layout) if tables else None
        for axis, extent in zip(tokens.axis_names, layout.extents):
            inner //= extent
            name = tokens.coordinate(role, axis).name
            names.add(name)
            local = identifier(name)
            if flat is not None:
                scope[f"table_{local}"] = flat // inner % extent
                lines.append(f"{local} = table_{local}[{index}]")
            elif len(layout.extents) == 1:
                lines.append(f"{local} = {index}")
            else:
                lines.append(f"{local} = {index} // {inner} % {extent}")
    printer = ModifierPrinter({*names, "head", "s"}, variables={"head": "h"})
    body = [f"    {line}" for line in [*lines, f"return {printer.show(expr)}"]]
    parameters = ", ".join([*([] if expr.kind == "bool" else ["s"]), "b", "h", "q_idx", "kv_idx"])
    text = "\n".join([f"def modifier({parameters}):", *body])
    module = import_source(text + "\n", "flex_modifier")
    vars(module).update(scope)  # the tables that the function looks up
    return module.modifier


def block_mask(schedule: Schedule, mask_mod: Callable[..., Tensor] | None) -> BlockMask:
    """FlexAttention's block mask from a schedule; `create_block_mask` would look at every pair."""
    tiles = schedule.tile_map()
    partial, full = _indices(tiles == 1), _indices(tiles == 2)
    size = (prod(schedule.query.tile), prod(schedule.key.tile))
    lengths = (prod(schedule.query.extents), prod(schedule.key.extents))
    return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=size, mask_mod=mask_mod, seq_lengths=lengths)


def _indices(chosen: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """Counts and column numbers of the chosen tiles of each row, chosen ones first."""
    counts = torch.as_tensor(chosen.sum(1), dtype=torch.int32)
    order = torch.as_tensor(np.argsort(~chosen, axis=1, kind="stable"), dtype=torch.int32)
    return counts[None, None], order[None, None]
