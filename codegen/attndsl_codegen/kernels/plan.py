"""The plan of one attend: which key tiles each query tile visits, found from the bounds of the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import FieldRange, Pyramid
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiles import Bricks


@dataclass(frozen=True)
class Group:
    """Query tiles that visit equally many key tiles.

    Attributes:
        batch, head: the batch element and head they belong to; None for all.
        queries: query tiles (members).
        keys: the key tiles of each (members, visited), ascending.
        full: whether every pair is visible, so that no mask is needed.
    """

    batch: int | None
    head: int | None
    queries: Tensor
    keys: Tensor
    full: bool


@dataclass(frozen=True)
class Plan:
    """The groups of one attend, and the bricks they speak of."""

    query: Bricks
    key: Bricks
    groups: list[Group]


def make_plan(
    mechanism: type[Mechanism],
    extents: tuple[tuple[int, ...], tuple[int, ...]],
    batch: int,
    heads: int,
    at: dict[str, Any],
) -> Plan:
    """Plans an attend at given extents of queries and keys.

    Args:
        at: sizes, and the fields that the mask depends on.
    """
    query = Bricks(extents[0], mechanism.query_tile, at.get("offset", 0))
    key = Bricks(extents[1], mechanism.key_tile)
    layers = torch.cartesian_prod(
        torch.arange(batch if mechanism.varies_by_batch else 1),
        torch.arange(heads if mechanism.varies_by_head else 1),
    )
    pyramids = {name: Pyramid(at[name].data) for name in mechanism.mask_fields}
    pairs, full = visible_tiles(mechanism, query, key, layers, {**at, **pyramids})
    groups: list[Group] = []
    for b, h in layers.tolist():
        here = (pairs[:, 0] == b) & (pairs[:, 1] == h)
        owner = b if mechanism.varies_by_batch else None, h if mechanism.varies_by_head else None
        groups += [Group(*owner, *part) for part in grouped(pairs[here, 2], pairs[here, 3], full[here])]
    return Plan(query, key, groups)


def visible_tiles(
    mechanism: type[Mechanism], query: Bricks, key: Bricks, layers: Tensor, at: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """All visited tile pairs as rows (batch, head, query tile, key tile), and which of them are full.

    Starts from everything; a pair of tile ranges that may hold visible pairs, but need not be full, is
    halved along its longer side, one level of the tree at a time.
    """
    axes = len(query.grid)
    sizes = torch.tensor(query.tile + key.tile)
    last = torch.tensor(query.grid + key.grid) - 1
    edge = torch.tensor([extent % size != 0 for extent, size in zip(key.extents, key.tile)])
    layer, lo, hi = layers, last.new_zeros(len(layers), len(last)), last.expand(len(layers), -1)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    while len(lo) or not found:
        boxes = query.box(lo[:, :axes], hi[:, :axes]) + key.box(lo[:, axes:], hi[:, axes:])
        must, may = (
            torch.as_tensor(answer).expand(len(lo))
            for answer in mechanism.bounds(*boxes, at_rows(mechanism, at, layer))
        )
        must = must & ~((hi == last)[:, axes:] & edge).any(-1)  # empty slots need a mask
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


def grouped(queries: Tensor, keys: Tensor, full: Tensor) -> list[tuple[Tensor, Tensor, bool]]:
    """Query tiles with equally many key tiles: (query tiles, their key tiles, whether all are full)."""
    if not len(queries):
        return []
    order = (queries * (keys.max() + 1) + keys).argsort()
    queries, keys, full = queries[order], keys[order], full[order]
    tiles, row, counts = torch.unique_consecutive(queries, return_inverse=True, return_counts=True)
    unmasked = torch.ones_like(counts).scatter_reduce(0, row, full.long(), "amin")
    groups: list[tuple[Tensor, Tensor, bool]] = []
    for count, is_full in torch.stack([counts, unmasked], -1).unique(dim=0).tolist():
        chosen = (counts == count) & (unmasked == is_full)
        groups.append((tiles[chosen], keys[chosen[row]].view(-1, count), bool(is_full)))
    return groups
