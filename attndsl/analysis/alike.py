"""Exact counts of tiles that are boxes, each kind of work done once: parts of a mask that are alike share it.

Pairs of tile ranges are halved as in `refine.py`. Of all pairs of one depth that see the same mask, up to
translation, one is halved further, and its numbers stand for all: a band at a million tokens has a few kinds
of pairs at every depth, not one per tile. (Gosper's algorithm for cellular automata, Exploiting Regularities
in Large Cellular Spaces, 1984, does the same to squares that are alike.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.layout import Brick, Ints, ragged
from attndsl.analysis.partial import count_inside
from attndsl.analysis.predicate import Boxes, Predicate, classes
from attndsl.analysis.refine import Ranges, halve, hulls, whole_range

MANY = 200
"""Pairs of one depth up to which looking for those that are alike costs more than it saves."""


@dataclass(frozen=True)
class Halved:
    """Pairs that were split: their places, the axis (queries' come first), the places of both halves."""

    at: Ints
    axis: Ints
    first: Ints
    second: Ints


@dataclass(frozen=True)
class Depth:
    """The pairs of ranges of one depth of halving.

    Attributes:
        ranges: the pairs.
        full: which are visible throughout.
        partial: which are single pairs of tiles with visible and hidden pairs.
        pairs: visible pairs of either.
        halved: all others, except empty ones.
    """

    ranges: Ranges
    full: NDArray[np.bool_]
    partial: NDArray[np.bool_]
    pairs: Ints
    halved: Halved


@dataclass(frozen=True)
class Rows:
    """Numbers of the pairs of one depth.

    Attributes:
        pairs: visible pairs of each.
        tiles: per shape of a range of query tiles, for each pair of that shape its full and its visited key
            tiles: (pairs, 2, *shape).
        shape, place: of each pair its shape, and its place there.
    """

    pairs: Ints
    tiles: list[Ints]
    shape: Ints
    place: Ints


@dataclass(frozen=True)
class VisitCounts:
    """Exact numbers of one head: visible pairs, and per query tile its full and its visited key tiles."""

    pairs: int
    full: Ints
    visited: Ints

    @cached_property
    def totals(self) -> tuple[int, int]:
        """Full and visited key tiles of all query tiles."""
        return int(self.full.sum()), int(self.visited.sum())


def alike_counts(predicate: Predicate, query: Brick, key: Brick) -> VisitCounts:
    """Exact counts; worth it where the predicate tells which boxes are alike."""
    rows: Rows | None = None
    for depth in reversed(_depths(predicate, query, key)):
        rows = _rows(depth, rows)
    assert rows is not None
    full, visited = rows.tiles[0][0].reshape(2, -1)
    return VisitCounts(int(rows.pairs[0]), full, visited)


def _depths(predicate: Predicate, query: Brick, key: Brick) -> list[Depth]:
    work = whole_range(query, key)
    found: list[Depth] = []
    while len(work):
        depth, halves = _looked_at(predicate, query, key, work)
        found.append(depth)
        work = halves
    return found


def _looked_at(predicate: Predicate, query: Brick, key: Brick, work: Ranges) -> tuple[Depth, Ranges]:
    """One depth, and the pairs of the next one."""
    boxes = hulls(work, query, key)
    must, may = predicate.decide(boxes)
    full = must & (work.key_hi < np.array(key.grid) - np.where(ragged(key), 1, 0)).all(-1)
    single = (work.query_lo == work.query_hi).all(-1) & (work.key_lo == work.key_hi).all(-1)
    pairs = np.where(full, boxes.pairs, 0)
    partial = np.zeros(len(work), dtype=bool)
    open_ = np.flatnonzero(may & ~full & single)
    if len(open_):
        pairs[open_], full[open_] = count_inside(predicate, query, key, work.take(open_))
        partial[open_] = (pairs[open_] > 0) & ~full[open_]
    split = np.flatnonzero(may & ~full & ~single)
    halves, axis = halve(work.take(split), query, key)
    kind = _kinds(predicate, halves, hulls(halves, query, key))
    first = np.unique(kind, return_index=True)[1] if len(kind) else kind
    halved = Halved(split, axis, kind[: len(split)], kind[len(split) :])
    return Depth(work, full, partial, pairs, halved), halves.take(first)


def _kinds(predicate: Predicate, work: Ranges, boxes: Boxes) -> Ints:
    """A number per pair of ranges: those with the same number see the same mask and have as many tiles."""
    if len(work) <= MANY:
        return np.arange(len(work), dtype=np.int64)
    sizes = np.concatenate([work.query_hi - work.query_lo, work.key_hi - work.key_lo], axis=-1)
    return classes([predicate.signatures(boxes), *sizes.T], len(work))


def _rows(depth: Depth, below: Rows | None) -> Rows:
    """The numbers of one depth from those of the next."""
    sizes = depth.ranges.query_hi - depth.ranges.query_lo + 1
    pairs = depth.pairs.copy()
    halved = depth.halved
    if below is not None:
        pairs[halved.at] = below.pairs[halved.first] + below.pairs[halved.second]
    keys = np.prod(depth.ranges.key_hi - depth.ranges.key_lo + 1, axis=-1)
    tiles = np.stack([depth.full * keys, depth.full * keys + depth.partial], axis=-1)
    shape, place = classes(list(sizes.T), len(sizes)), np.empty(len(sizes), dtype=np.int64)
    groups: list[Ints] = []
    for number in range(int(shape.max()) + 1):
        members = np.flatnonzero(shape == number)
        place[members] = np.arange(len(members))
        own = tuple(sizes[members[0]].tolist())
        group = np.empty((len(members), 2, *own), dtype=np.int64)
        group[...] = tiles[members].reshape(-1, 2, *[1] * len(own))
        groups.append(group)
    if below is not None:
        _put_together(groups, shape, place, halved, below)
    return Rows(pairs, groups, shape, place)


def _put_together(groups: list[Ints], shape: Ints, place: Ints, halved: Halved, below: Rows) -> None:
    """Fills in the tiles of pairs that were halved: side by side along an axis of queries, else added up."""
    parts = (shape[halved.at], halved.axis, below.shape[halved.first], below.shape[halved.second])
    alike = classes(list(parts), len(halved.at))
    for number in range(int(alike.max()) + 1 if len(alike) else 0):
        members = np.flatnonzero(alike == number)
        one = members[0]
        a, b = (
            below.tiles[below.shape[half[one]]][below.place[half[members]]]
            for half in (halved.first, halved.second)
        )
        group, axis = groups[shape[halved.at[one]]], int(halved.axis[one])
        here = place[halved.at[members]]
        group[here] = a + b if axis >= group.ndim - 2 else np.concatenate([a, b], axis=2 + axis)
