"""The plan of one attend: which key tiles each query tile visits, found from the bounds of the mask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import FieldRange, Pyramid
from attndsl_codegen.kernels.masks import mask_classes
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.sorting import SORTING_GAIN, Sorted, same_label_tiles, some_tiles, sorted_tiles
from attndsl_codegen.kernels.tiles import Bricks

SHARED = 4
"""So many query tiles with one mask are computed apart from others that visit equally many key tiles."""


@dataclass(frozen=True)
class Group:
    """Query tiles that are computed alike: they visit equally many key tiles.

    Attributes:
        batch, head: the batch element and head they belong to; None for all.
        queries: query tiles (members,).
        keys: the key tiles of each (members, visited), ascending.
        classes: the masks of the visited tiles (1 or members, visited); None where everything is visible.
        runs, query_runs: the same tiles as numbers of runs of consecutive tokens, (members, runs).
        whole: whether every query slot holds a token.
        window, query_window: first token and distance between members, where the keys (queries) of every
            member are consecutive tokens; None where they are not.
    """

    batch: int | None
    head: int | None
    queries: Tensor
    keys: Tensor
    classes: Tensor | None = None
    runs: Tensor | None = None
    query_runs: Tensor | None = None
    whole: bool = True
    window: tuple[int, int] | None = None
    query_window: tuple[int, int] | None = None

    @property
    def layer(self) -> tuple[slice, slice]:
        """The batch elements and heads as slices."""
        return one_or_all(self.batch), one_or_all(self.head)

    @property
    def shares(self) -> bool:
        """Whether all members have the same masks."""
        return self.classes is not None and len(self.classes) == 1

    def part(self, members: slice) -> Group:
        """Some of the members."""
        shared = self.classes is None or self.shares
        return replace(
            self,
            queries=self.queries[members],
            keys=self.keys[members],
            classes=self.classes if shared else self.classes[members],  # type: ignore[index]
            runs=self.runs[members],  # type: ignore[index]
            query_runs=self.query_runs[members],  # type: ignore[index]
            window=moved(self.window, members.start),
            query_window=moved(self.query_window, members.start),
        )


def moved(window: tuple[int, int] | None, members: int) -> tuple[int, int] | None:
    """The window of a group without its first members."""
    return None if window is None else (window[0] + members * window[1], window[1])


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


def one_or_all(index: int | None) -> slice:
    """The slice that keeps one index, or everything."""
    return slice(None) if index is None else slice(index, index + 1)


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
    query = Bricks(extents[0], mechanism.query_tile, mechanism.query_steps, at.get("offset", 0))
    key = Bricks(extents[1], mechanism.key_tile, mechanism.key_steps)
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
    for b, h in layers.tolist():
        here = (pairs[:, 0] == b) & (pairs[:, 1] == h)
        element = b if mechanism.varies_by_batch else None
        head = h if mechanism.varies_by_head else None
        every = Group(element, head, pairs[here, 2], pairs[here, 3], classes[here])
        groups += [part for group in grouped(every, query) for part in alike(group)]
    complete = sum(len(group.queries) for group in groups) == query.count * len(layers)
    return Plan(query, key, masks, [placed(group, query, key) for group in groups], complete, {})


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
    edge = key.ragged
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


def grouped(every: Group, query: Bricks) -> list[Group]:
    """Query tiles with equally many key tiles, those at a ragged border apart.

    Args:
        every: all tile pairs, one member each.
    """
    queries, keys = every.queries, every.keys
    if not len(queries):
        return []
    order = (queries * (keys.max() + 1) + keys).argsort()
    queries, keys, classes = queries[order], keys[order], every.classes[order]  # type: ignore[index]
    tiles, row, counts = torch.unique_consecutive(queries, return_inverse=True, return_counts=True)
    whole = query.whole(tiles)
    groups: list[Group] = []
    for count, is_whole in torch.stack([counts, whole.long()], -1).unique(dim=0).tolist():
        chosen = (counts == count) & (whole == bool(is_whole))
        here = chosen[row]
        parts = tiles[chosen], keys[here].view(-1, count), classes[here].view(-1, count)
        groups.append(Group(every.batch, every.head, *parts))
    return groups


def alike(group: Group) -> list[Group]:
    """Members with the same masks, where there are several; the rest together."""
    assert group.classes is not None
    rows, number, counts = group.classes.unique(dim=0, return_inverse=True, return_counts=True)
    parts: list[Group] = []
    for which in (counts >= SHARED).nonzero().flatten().tolist():
        members = number == which
        classes = None if bool((rows[which] == 0).all()) else rows[which : which + 1]
        parts.append(
            replace(group, queries=group.queries[members], keys=group.keys[members], classes=classes)
        )
    rest = (counts < SHARED)[number]
    if bool(rest.any()):
        kept = group.classes[rest]
        masked = kept if bool(kept.any()) else None
        parts.append(replace(group, queries=group.queries[rest], keys=group.keys[rest], classes=masked))
    return parts


def placed(group: Group, query: Bricks, key: Bricks) -> Group:
    """The group with its tiles as runs of tokens, and as windows where runs follow each other."""
    whole = bool(query.whole(group.queries).all())
    key_whole = bool(key.whole(group.keys.flatten()).all())
    query_runs = query.runs(group.queries, query.run())
    runs = key.runs(group.keys, key.run()).flatten(1)
    return replace(
        group,
        runs=runs,
        query_runs=query_runs,
        whole=whole,
        query_window=consecutive(query_runs, query.run()) if whole else None,
        window=consecutive(runs, key.run()) if key_whole else None,
    )


def consecutive(runs: Tensor, length: int) -> tuple[int, int] | None:
    """First token and distance of rows of runs that are consecutive tokens; None if they are not."""
    if not bool((runs.diff(dim=1) == 1).all()):
        return None
    distances = runs[:, 0].diff()
    if len(distances) and bool((distances != distances[0]).any()):
        return None
    return int(runs[0, 0]) * length, int(distances[0]) * length if len(distances) else 0
