"""The schedule: for each query tile, runs of key tiles, full or partial. One format for every kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.layout import Ints, Layout, tile_count
from attndsl.analysis.partial import OpenTiles
from attndsl.analysis.refine import Ranges, tile_number

FULL = -1
"""The mask class of a full run."""


@dataclass(frozen=True)
class Schedule:
    """Runs of key tiles per query tile, in compressed rows.

    Row `r` holds runs `row_start[r] : row_start[r + 1]`, ordered by their first key tile.

    Attributes:
        query, key: the layouts.
        row_start: (query tiles + 1), 64 bit.
        start, length: first key tile and number of key tiles of each run.
        mask_class: -1 for runs of full tiles, else the class of the (single) partial tile.
    """

    query: Layout
    key: Layout
    row_start: Ints
    start: Ints
    length: Ints
    mask_class: Ints

    @cached_property
    def row(self) -> Ints:
        """The query tile of each run."""
        return np.repeat(np.arange(tile_count(self.query), dtype=np.int64), np.diff(self.row_start))

    @property
    def visited(self) -> int:
        """Visited tile pairs."""
        return int(self.length.sum())

    @property
    def full(self) -> int:
        """Full tile pairs."""
        return int(self.length[self.mask_class == FULL].sum())

    @property
    def partial(self) -> int:
        """Partial tile pairs."""
        return self.visited - self.full

    def visits_per_query_tile(self) -> Ints:
        """How many key tiles each query tile visits."""
        return np.bincount(self.row, weights=self.length, minlength=tile_count(self.query)).astype(np.int64)

    def tile_map(self) -> NDArray[np.int8]:
        """A dense map (query tiles, key tiles): 0 empty, 1 partial, 2 full. For small schedules."""
        tiles = np.zeros((tile_count(self.query), tile_count(self.key)), dtype=np.int8)
        rows = np.repeat(self.row, self.length)
        kinds = np.repeat(np.where(self.mask_class == FULL, 2, 1), self.length)
        tiles[rows, _expanded(self.start, self.length)] = kinds
        return tiles

    @cached_property
    def transpose(self) -> Schedule:
        """The runs of query tiles per key tile."""
        rows = _expanded(self.start, self.length)
        starts = np.repeat(self.row, self.length)
        kinds = np.repeat(self.mask_class, self.length)
        ones = np.ones(len(rows), dtype=np.int64)
        return _from_runs(self.key, self.query, rows, starts, ones, kinds)


def _expanded(start: Ints, length: Ints) -> Ints:
    """All members of runs."""
    before = np.repeat(np.cumsum(length) - length, length)
    return np.repeat(start, length) + np.arange(int(length.sum()), dtype=np.int64) - before


def build_schedule(query: Layout, key: Layout, full: Ranges, open_: OpenTiles) -> tuple[Schedule, int]:
    """The schedule of full ranges and decided open tile pairs, and the visible pairs in the full ranges."""
    rows, starts, lengths = _runs_of_ranges(query, key, full)
    pairs = int(
        (query.tokens_in(full.query_lo, full.query_hi) * key.tokens_in(full.key_lo, full.key_hi)).sum()
    )
    kinds = np.full(len(rows), FULL, dtype=np.int64)
    kinds_open = np.where(open_.full, FULL, open_.mask_class)
    schedule = _from_runs(
        query,
        key,
        np.concatenate([rows, open_.query]),
        np.concatenate([starts, open_.key]),
        np.concatenate([lengths, np.ones(len(open_.key), dtype=np.int64)]),
        np.concatenate([kinds, kinds_open]),
    )
    return schedule, pairs


def _runs_of_ranges(query: Layout, key: Layout, full: Ranges) -> tuple[Ints, Ints, Ints]:
    """One run per query tile and line of key tiles; whole lines join the next axis."""
    grid = np.array(key.grid)
    whole = (full.key_lo == 0) & (full.key_hi == grid - 1)
    behind = np.cumprod(whole[:, ::-1], axis=-1)[:, ::-1]
    axes = len(grid)
    joined = np.minimum(behind.sum(-1), axes - 1)
    parts: list[tuple[Ints, Ints, Ints]] = []
    for count in range(axes):
        group = full.take(joined == count)
        if not len(group):
            continue
        axis = axes - 1 - count
        line = (group.key_hi - group.key_lo + 1)[:, axis] * prod(key.grid[axis + 1 :])
        ends = group.key_hi.copy()
        ends[:, axis:] = group.key_lo[:, axis:]
        owner, starts = _tiles_of_ranges(group.key_lo, ends, key)
        queries_owner, queries = _tiles_of_ranges(group.query_lo, group.query_hi, query)
        left, right = _cross(queries_owner, owner, len(group))
        parts.append((queries[left], starts[right], line[owner[right]]))
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    rows, starts, lengths = zip(*parts)
    return np.concatenate(rows), np.concatenate(starts), np.concatenate(lengths)


def _tiles_of_ranges(lo: Ints, hi: Ints, layout: Layout) -> tuple[Ints, Ints]:
    """All tiles of each range: the range's index and the tile's number."""
    sizes = hi - lo + 1
    counts = np.prod(sizes, axis=-1)
    owner = np.repeat(np.arange(len(lo)), counts)
    rest = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    coordinates = np.empty((len(owner), lo.shape[1]), dtype=np.int64)
    for axis in reversed(range(lo.shape[1])):
        size = sizes[owner, axis]
        coordinates[:, axis] = lo[owner, axis] + rest % size
        rest //= size
    return owner, tile_number(coordinates, layout)


def _cross(a: Ints, b: Ints, groups: int) -> tuple[Ints, Ints]:
    """Index pairs of all combinations of the members of `a` and `b` that belong to one group."""
    count_a, count_b = np.bincount(a, minlength=groups), np.bincount(b, minlength=groups)
    first_b = np.cumsum(count_b) - count_b
    left = np.repeat(np.arange(len(a)), count_b[a])
    total = count_a * count_b
    within = np.arange(int(total.sum())) - np.repeat(np.cumsum(total) - total, total)
    group = np.repeat(np.arange(groups), total)
    return left, first_b[group] + within % np.maximum(count_b[group], 1)


def _from_runs(query: Layout, key: Layout, rows: Ints, starts: Ints, lengths: Ints, kinds: Ints) -> Schedule:
    """Sorts runs and joins neighbours that are both full."""
    order = np.lexsort((starts, rows))
    rows, starts, lengths, kinds = rows[order], starts[order], lengths[order], kinds[order]
    if len(rows):
        joins = np.zeros(len(rows), dtype=bool)
        adjacent = (rows[1:] == rows[:-1]) & (starts[1:] == starts[:-1] + lengths[:-1])
        joins[1:] = adjacent & (kinds[1:] == FULL) & (kinds[:-1] == FULL)
        first = np.flatnonzero(~joins)
        lengths = np.add.reduceat(lengths, first)
        rows, starts, kinds = rows[first], starts[first], kinds[first]
    counts = np.bincount(rows, minlength=tile_count(query))
    row_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Schedule(query, key, row_start, starts, lengths, kinds)
