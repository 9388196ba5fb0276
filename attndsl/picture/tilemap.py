"""Which tiles a kernel visits: empty, partial and full tile pairs in each of at most so many cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import Counts
from attndsl.analysis.layout import Ints, Layout, tile_coordinates, tile_count
from attndsl.analysis.partial import look_inside
from attndsl.analysis.predicate import Predicate
from attndsl.analysis.refine import Ranges, refine
from attndsl.analysis.schedule import FULL, Schedule, build_schedule
from attndsl.picture.stretches import Stretches, stretches

CELLS = 512
"""Cells along a side; each is one tile where that is enough."""


@dataclass(frozen=True)
class TileMap:
    """The tile pairs of one mask.

    Attributes:
        query, key: the layouts.
        counts: exact numbers, for one head.
        rows, columns: the cells along the sides, each a stretch of tiles.
        partial, full: tile pairs of the kind per cell, (rows, columns).
    """

    query: Layout
    key: Layout
    counts: Counts
    rows: Stretches
    columns: Stretches
    partial: Ints
    full: Ints

    @property
    def exact(self) -> bool:
        """Whether a cell is a tile pair."""
        return self.rows.single and self.columns.single

    @property
    def kinds(self) -> NDArray[np.int8]:
        """Where a cell is a tile pair: 0 empty, 1 partial, 2 full."""
        return (self.partial + 2 * self.full).astype(np.int8)


def map_tiles(predicate: Predicate, query: Layout, key: Layout, cells: int = CELLS) -> TileMap:
    """Analyses a mask at tile shapes."""
    refined = refine(predicate, query, key)
    open_, _ = look_inside(predicate, query, key, refined.open)
    schedule, pairs = build_schedule(query, key, refined.full, open_)
    total = tile_count(query) * tile_count(key)
    counts = Counts(pairs + int(open_.pairs.sum()), total, schedule.visited, schedule.full, schedule.partial)
    rows, columns = stretches(query.grid, cells), stretches(key.grid, cells)
    full = schedule.mask_class == FULL
    partial = _per_cell(schedule, ~full, rows, columns)
    return TileMap(query, key, counts, rows, columns, partial, _per_cell(schedule, full, rows, columns))


def estimated_runs(predicate: Predicate, query: Layout, key: Layout, samples: int = 32) -> int:
    """About how many runs of full key tiles and single open tiles a schedule lists, from some query tiles."""
    tiles = np.unique(np.linspace(0, tile_count(query) - 1, samples).astype(np.int64))
    lo = tile_coordinates(query, tiles)
    last = np.array(key.grid, dtype=np.int64) - 1
    keys = np.broadcast_to(last, (len(tiles), len(last)))
    found = refine(predicate, query, key, Ranges(lo, lo, np.zeros_like(keys), keys))
    lines = np.prod((found.full.key_hi - found.full.key_lo + 1)[:, :-1], axis=-1)
    return int((lines.sum() + len(found.open)) * tile_count(query) // len(tiles))


def _per_cell(schedule: Schedule, chosen: NDArray[np.bool_], rows: Stretches, columns: Stretches) -> Ints:
    """Tile pairs of the chosen runs in each cell, from the ends of the runs."""
    row = rows.cell_of(schedule.row[chosen])
    start = schedule.start[chosen]
    end = start + schedule.length[chosen]
    first, last = columns.cell_of(start), columns.cell_of(end - 1)
    # A run covers the cells first..last wholly, but for what lies before its start and behind its end.
    edges = np.zeros((rows.count, columns.count + 1), dtype=np.int64)
    np.add.at(edges, (row, first), 1)
    np.add.at(edges, (row, last + 1), -1)
    found = np.cumsum(edges, axis=1)[:, :-1] * columns.sizes
    np.add.at(found, (row, first), columns.starts[first] - start)
    np.add.at(found, (row, last), end - columns.starts[last + 1])
    return found
