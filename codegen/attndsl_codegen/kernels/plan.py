"""The plan of one attend: which key tiles each query tile visits, found from the bounds of the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import FieldRange, Pyramid
from attndsl_codegen.kernels.groups import Group, alike, full_keys_apart, grouped, placed
from attndsl_codegen.kernels.masks import mask_classes
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.sorting import SORTING_GAIN, Sorted, same_label_tiles, some_tiles, sorted_tiles
from attndsl_codegen.kernels.tiles import Bricks


@dataclass(frozen=True)
class Plan:
    """The groups of one attend, the bricks they speak of, and the masks of their classes.

    Attributes:
        complete: whether the groups hold every query.
        made: the steps of the last kind of call, by what they depend on.
    """

    query: Bricks
    key: Bricks
    masks: Tensor
    groups: list[Group]
    complete: bool
    made: dict[Any, Any]

    @property
    def adds(self) -> bool:
        """Whether some results are those of several groups."""
        return any(group.adds for group in self.groups)


def make_plan(
    mechanism: type[Mechanism],
    extents: tuple[tuple[int, ...], tuple[int, ...]],
    batch: int,
    heads: int,
    at: dict[str, Any],
    query_tile: tuple[int, ...],
) -> Plan:
    """Plans an attend at given extents of queries and keys.

    Args:
        at: sizes, and the fields that the mask depends on.
        query_tile: the mechanism's of the forward or of the backward pass.
    """
    offset, origin = at.get("offset", 0), mechanism.tile_origin
    query = Bricks(extents[0], query_tile, mechanism.query_steps, offset, origin=origin)
    key = Bricks(extents[1], mechanism.key_tile, mechanism.key_steps, origin=origin)
    layers = torch.cartesian_prod(
        torch.arange(batch if mechanism.varies_by_batch else 1),
        torch.arange(heads if mechanism.varies_by_head else 1),
    )
    pyramids = {name: Pyramid(at[name].data) for name in mechanism.mask_fields}
    by_label = None
    if mechanism.same_labels is not None:
        by_label = label_tiles(mechanism, (query, key), layers, at, {**at, **pyramids})
    if by_label is None:
        pairs, full = visible_tiles(mechanism, query, key, layers, {**at, **pyramids})
    else:
        query, key, pairs, full = by_label
    classes, masks = mask_classes(mechanism, (query, key), pairs, full, at)
    kept = classes >= 0
    pairs, classes = pairs[kept], classes[kept]
    groups: list[Group] = []
    # Else something is read for all pairs anyway.
    fuses = mechanism.score is None and (mechanism.bias is None or mechanism.separable_bias)
    for b, h in layers.tolist():
        here = (pairs[:, 0] == b) & (pairs[:, 1] == h)
        element = b if mechanism.varies_by_batch else None
        head = h if mechanism.varies_by_head else None
        every = Group(element, head, pairs[here, 2], pairs[here, 3], classes[here])
        parts = [part for group in grouped(every, query) for part in alike(group)]
        groups += full_keys_apart(parts, query, key) if fuses else parts
    found = sum(len(group.queries) for group in groups if not group.adds)
    complete = found == query.count * len(layers)
    groups = [part for group in groups for part in placed(group, query, key)]
    return Plan(query, key, masks, groups, complete, {})


def label_tiles(
    mechanism: type[Mechanism],
    tiles: tuple[Bricks, Bricks],
    layers: Tensor,
    at: dict[str, Any],
    ranges: dict[str, Any],
) -> tuple[Sorted, Sorted, Tensor, Tensor] | None:
    """Queries, keys, tile pairs and which are full, in the order of labels; None where that is no gain.

    Args:
        ranges: `at` with pyramids in place of fields.
    """
    sides = None if mechanism.same_labels is None else sorted_tiles(mechanism.same_labels, layers, at)
    if sides is None:
        return None
    pairs = same_label_tiles(*sides, layers)
    query, key = tiles
    looked_at = some_tiles(query, key)
    others = len(visible_tiles(mechanism, query, key, layers, ranges, looked_at)[0])
    others = others * query.count // len(looked_at[0])
    if SORTING_GAIN * len(pairs) * sides[0].slots * sides[1].slots > others * query.slots * key.slots:
        return None
    return *sides, pairs, torch.zeros(len(pairs), dtype=torch.bool)


def visible_tiles(
    mechanism: type[Mechanism],
    query: Bricks,
    key: Bricks,
    layers: Tensor,
    at: dict[str, Any],
    within: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """All visited tile pairs as rows (batch, head, query tile, key tile), and which of them are full.

    Starts from everything; a pair of tile ranges that may hold visible pairs, but need not be full, is
    halved along its longer side, one level of the tree at a time.

    Args:
        within: ranges of tiles (lo, hi) to look at instead of everything, (ranges, sides).
    """
    axes = len(query.grid)
    sizes = torch.tensor(query.tile + key.tile)
    last = torch.tensor(query.grid + key.grid) - 1
    lo, hi = torch.zeros_like(last)[None], last[None]
    if within is not None:
        lo, hi = within
    layer = layers.repeat_interleave(len(lo), 0)
    lo, hi = (end.repeat(len(layers), 1) for end in (lo, hi))
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    while len(lo) or not found:
        boxes = query.box(lo[:, :axes], hi[:, :axes]) + key.box(lo[:, axes:], hi[:, axes:])
        must, may = (
            torch.as_tensor(answer).expand(len(lo))
            for answer in mechanism.bounds(*boxes, at_rows(mechanism, at, layer))
        )
        must = must & ~key.empty_slots(lo[:, axes:], hi[:, axes:])  # empty slots need a mask
        done = must | (may & (lo == hi).all(-1))
        found.append((layer[done], lo[done], hi[done], must[done]))
        split = may & ~done
        layer, lo, hi = layer[split], lo[split], hi[split]
        axis = torch.where(hi > lo, (hi - lo + 1) * sizes, -1).argmax(-1, keepdim=True)
        middle = (lo.gather(1, axis) + hi.gather(1, axis)) // 2
        layer = torch.cat([layer, layer])
        lo, hi = (
            torch.cat([lo, lo.scatter(1, axis, middle + 1)]),
            torch.cat([hi.scatter(1, axis, middle), hi]),
        )
    layer, lo, hi, full = (torch.cat(parts) for parts in zip(*found))
    row, tile = members(lo, hi)
    number = [torch.zeros_like(row), torch.zeros_like(row)]
    for at_axis, cells in enumerate(query.grid + key.grid):
        side = int(at_axis >= axes)
        number[side] = number[side] * cells + tile[:, at_axis]
    return torch.stack([*layer[row].unbind(-1), *number], -1), full[row]


def at_rows(mechanism: type[Mechanism], at: dict[str, Any], layer: Tensor) -> dict[str, Any]:
    """`at` for rows of boxes, each of its own batch element and head; fields are pyramids."""
    batch, head = layer.unbind(-1)
    return {**at, "head": head, **{name: FieldRange(at[name], batch, head) for name in mechanism.mask_fields}}


def members(lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """All points of boxes: the box each belongs to, and its coordinates."""
    sizes = hi - lo + 1
    counts = sizes.prod(-1)
    row = torch.repeat_interleave(counts)
    rest = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    point = torch.empty(len(row), lo.shape[1], dtype=torch.long)
    for axis in reversed(range(lo.shape[1])):
        size = sizes[row, axis]
        point[:, axis] = lo[row, axis] + rest % size
        rest = rest // size
    return row, point
