"""The analysis of one attend at concrete sizes: schedules and exact counts per class of heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.contents import box_points
from attndsl.analysis.layout import Ints, Layout, tile_count
from attndsl.analysis.partial import BoxPairs, look_inside
from attndsl.analysis.predicate import Predicate, make_predicate
from attndsl.analysis.refine import Refined, refine
from attndsl.analysis.schedule import Schedule, build_schedule
from attndsl.ir.ops import Attend
from attndsl.ir.walk import fields as field_names
from attndsl.ir.walk import variables


@dataclass(frozen=True)
class Counts:
    """Exact numbers for one head."""

    pairs: int
    total: int
    visited: int
    full: int
    partial: int

    def to_dict(self) -> dict[str, object]:
        """The counts as JSON data."""
        tiles = {"total": self.total, "visited": self.visited, "full": self.full, "partial": self.partial}
        return {"pairs": self.pairs, "tiles": tiles}


@dataclass(frozen=True)
class HeadClass:
    """Heads that see the same mask, in one batch element.

    Attributes:
        heads: their indices.
        batch: the batch element, or None if the mask does not depend on it.
    """

    heads: tuple[int, ...]
    batch: int | None
    predicate: Predicate
    schedule: Schedule
    counts: Counts
    refined: Refined
    inside: BoxPairs

    def keys_per_query(self) -> Ints:
        """The exact number of visible keys of every query token, shape = the query set's extents."""
        return _keys_per_query(self)


@dataclass(frozen=True)
class Analysis:
    """All head classes of one attend (and batch elements, where run-time fields differ)."""

    query: Layout
    key: Layout
    classes: tuple[HeadClass, ...]


def analyse(
    attend: Attend,
    sizes: Mapping[str, int],
    query: Layout,
    key: Layout,
    fields: Mapping[str, NDArray[Any]] | None = None,
) -> Analysis:
    """Schedules and exact counts of an attend.

    Args:
        sizes: values of the symbols, and `heads`.
        fields: per run-time field in `where` its values, (batch, [heads,] *extents).
    """
    found = [analyse_class(members, query, key) for members in head_classes(attend, sizes, fields)]
    return Analysis(query, key, tuple(found))


@dataclass(frozen=True)
class HeadPredicate:
    """Heads (of one batch element, or of all if None) whose masks are the same condition."""

    heads: tuple[int, ...]
    batch: int | None
    predicate: Predicate


def head_classes(
    attend: Attend, sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]] | None = None
) -> list[HeadPredicate]:
    """Heads are of one class when their predicates are the same expression after putting `head` in."""
    values = {name: (fields or {})[name] for name in field_names(attend.where)}
    every = tuple(range(sizes.get("heads", 1)))
    differ = every if "head" in variables(attend.where) else every[:1]
    found: list[HeadPredicate] = []
    for batch in range(next(iter(values.values())).shape[0]) if values else [None]:
        members: dict[object, tuple[Predicate, list[int]]] = {}
        for head in differ:
            predicate = _at_head(attend, sizes, values, batch, head)
            heads = [head] if differ == every else every
            members.setdefault(predicate.condition, (predicate, []))[1].extend(heads)
        found += [HeadPredicate(tuple(heads), batch, predicate) for predicate, heads in members.values()]
    return found


def _at_head(
    attend: Attend,
    sizes: Mapping[str, int],
    values: Mapping[str, NDArray[Any]],
    batch: int | None,
    head: int,
) -> Predicate:
    here = {name: value[0 if batch is None else batch] for name, value in values.items()}
    return make_predicate(attend.where, attend.query_tokens, attend.key_tokens, {**sizes, "head": head}, here)


def analyse_class(members: HeadPredicate, query: Layout, key: Layout) -> HeadClass:
    """The schedule and exact counts of heads that see one mask."""
    predicate = members.predicate
    refined = refine(predicate, query, key)
    tiles, inside = look_inside(predicate, query, key, refined.open)
    schedule, pairs = build_schedule(query, key, refined.full, tiles)
    total = tile_count(query) * tile_count(key)
    counts = Counts(pairs + int(tiles.pairs.sum()), total, schedule.visited, schedule.full, schedule.partial)
    return HeadClass(members.heads, members.batch, predicate, schedule, counts, refined, inside)


def _keys_per_query(found: HeadClass) -> Ints:
    query, key = found.schedule.query, found.schedule.key
    result = np.zeros(query.extents, dtype=np.int64)
    full = found.refined.full
    lo, hi = query.hull(full.query_lo, full.query_hi)
    keys = key.tokens_in(full.key_lo, full.key_hi)
    if len(query.tile) != len(query.extents):
        lo, hi, keys = _exact_boxes(query, full.query_lo, full.query_hi, keys)
    add_boxes(result, lo, hi, keys)
    boxes, mask = found.inside.boxes, found.inside.mask
    whole = boxes.take(mask < 0)
    add_boxes(result, whole.query_lo, whole.query_hi, np.prod(whole.key_hi - whole.key_lo + 1, axis=-1))
    flat = result.reshape(-1)
    for number in np.unique(mask[mask >= 0]):
        members = boxes.take(mask == number)
        points = box_points(members.query_lo, members.query_hi)
        tokens = np.ravel_multi_index(tuple(np.moveaxis(points, -1, 0)), query.extents)
        np.add.at(flat, tokens, found.inside.masks[number].sum(-1)[None, :])
    return result


def _exact_boxes(layout: Layout, lo: Ints, hi: Ints, weight: Ints) -> tuple[Ints, Ints, Ints]:
    """Ranges of raster tiles as boxes."""
    counts = hi[:, 0] - lo[:, 0] + 1
    owner = np.repeat(np.arange(len(lo)), counts)
    tiles = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts) + lo[owner, 0]
    first, last, exists = layout.pieces(tiles)
    at = np.broadcast_to(owner[:, None], exists.shape)[exists]
    return first[exists], last[exists], weight[at]


def add_boxes(target: Ints, lo: Ints, hi: Ints, weight: Ints) -> None:
    """Adds a weight to every point of each box: differences at the corners, then running sums."""
    if not len(lo):
        return
    axes = target.ndim
    change = np.zeros([extent + 1 for extent in target.shape], dtype=np.int64)
    for corner in range(1 << axes):
        bits = [corner >> axis & 1 for axis in range(axes)]
        at = tuple(hi[:, axis] + 1 if bit else lo[:, axis] for axis, bit in enumerate(bits))
        np.add.at(change, at, weight * (-1) ** sum(bits))
    for axis in range(axes):
        change = np.cumsum(change, axis=axis)
    target += change[tuple(slice(0, extent) for extent in target.shape)]


def dense_mask(
    attend: Attend, sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]] | None = None
) -> NDArray[np.bool_]:
    """The mask by brute force: (batch | 1, heads | 1, queries, keys). For small sizes."""
    values = {name: (fields or {})[name] for name in field_names(attend.where)}
    batches = next(iter(values.values())).shape[0] if values else 1
    heads = range(sizes.get("heads", 1)) if "head" in variables(attend.where) else [0]
    rows = []
    for batch in range(batches):
        here = {name: value[batch] for name, value in values.items()}
        predicates = [
            make_predicate(attend.where, attend.query_tokens, attend.key_tokens, {**sizes, "head": h}, here)
            for h in heads
        ]
        rows.append(np.stack([_everything(predicate) for predicate in predicates]))
    return np.stack(rows)


def _everything(predicate: Predicate) -> NDArray[np.bool_]:
    sides = []
    for side in (predicate.query, predicate.key):
        extents = np.array([extent for _, extent in side])
        sides.append(box_points(np.zeros((1, len(side)), dtype=np.int64), extents[None, :] - 1)[0])
    found = predicate.points(*sides)
    return found.reshape(prod(e for _, e in predicate.query), prod(e for _, e in predicate.key))
