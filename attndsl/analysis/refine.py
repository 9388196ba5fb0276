"""Finds the tile pairs that hold visible pairs, without looking at every tile pair.

Pairs of tile ranges are empty, full or unknown by the bounds of the predicate on their hulls; unknown
ones are halved along their longest side until single tiles are left. Work lists are numpy arrays: one
step handles a whole level of the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attndsl.analysis.layout import Brick, Ints, Layout, ragged, tile_coordinates, tile_count
from attndsl.analysis.predicate import Boxes, Predicate

Ranges = Boxes
"""Pairs of a query-tile range and a key-tile range, in tile-grid coordinates, bounds inclusive."""


@dataclass(frozen=True)
class Refined:
    """Tile ranges whose pairs are all visible, and single tile pairs that the bounds leave open."""

    full: Ranges
    open: Ranges


def refine(predicate: Predicate, query: Layout, key: Layout, start: Ranges | None = None) -> Refined:
    """Every visible pair lies in a full range or an open tile pair; no tile pair is in two of them.

    A key tile with empty slots is never full, even where all its tokens are visible: a kernel must mask
    the slots.

    Args:
        start: the pairs of tile ranges to look at; everything if None.
    """
    edge = np.array(key.grid) - np.where(ragged(key), 1, 0)
    work = start or whole_range(query, key)
    full: list[Ranges] = []
    still_open: list[Ranges] = []
    while len(work):
        must, may = predicate.decide(hulls(work, query, key))
        must = must & (work.key_hi < edge).all(-1)
        full.append(work.take(must))
        work = work.take(may & ~must)
        single = (work.query_lo == work.query_hi).all(-1) & (work.key_lo == work.key_hi).all(-1)
        still_open.append(work.take(single))
        work, _ = halve(work.take(~single), query, key)
    return Refined(_concatenate(full), _concatenate(still_open))


def _whole(layout: Layout) -> list[list[int]]:
    return [[0] * len(layout.grid), [size - 1 for size in layout.grid]]


def whole_range(query: Layout, key: Layout) -> Ranges:
    """The pair of all query tiles and all key tiles."""
    return Ranges(*(np.array([bound], dtype=np.int64) for bound in _whole(query) + _whole(key)))


def hulls(work: Ranges, query: Layout, key: Layout) -> Boxes:
    """The tokens of each pair of tile ranges."""
    return Boxes(*query.hull(work.query_lo, work.query_hi), *key.hull(work.key_lo, work.key_hi))


def halve(work: Ranges, query: Layout, key: Layout) -> tuple[Ranges, Ints]:
    """Splits each pair along its longest side, counted in tokens.

    Returns:
        All first halves, then all second halves; and the axis of each, those of queries first.
    """
    lo = np.concatenate([work.query_lo, work.key_lo], axis=-1)
    hi = np.concatenate([work.query_hi, work.key_hi], axis=-1)
    length = (hi - lo + 1) * np.array(query.tile + key.tile)
    length[hi == lo] = -1
    longest = length.argmax(-1)
    place = np.arange(0, lo.size, lo.shape[1]) + longest
    middle = (lo.ravel()[place] + hi.ravel()[place]) // 2
    lo, hi = np.concatenate([lo, lo]), np.concatenate([hi, hi])
    hi.reshape(-1)[place] = middle
    lo.reshape(-1)[place + lo.size // 2] = middle + 1
    axes = len(query.grid)
    return Ranges(lo[:, :axes], hi[:, :axes], lo[:, axes:], hi[:, axes:]), longest


def _concatenate(parts: list[Ranges]) -> Ranges:
    return Ranges(*(np.concatenate(arrays) for arrays in zip(*(part.parts for part in parts))))


def tile_number(coordinates: Ints, layout: Layout) -> Ints:
    """Tile-grid coordinates as tile numbers."""
    return np.asarray(np.ravel_multi_index(tuple(coordinates.T), layout.grid), dtype=np.int64)


def sampled_visits(predicate: Predicate, query: Layout, key: Layout, samples: int) -> tuple[float, float]:
    """Key tiles that a query tile visits, by the bounds alone, on average over a sample of query tiles.

    Returns:
        Those that are full, and those that the bounds leave open.
    """
    tiles, found = sampled_refinement(predicate, query, key, samples)
    full = np.prod(found.full.key_hi - found.full.key_lo + 1, axis=-1).sum()
    return float(full) / len(tiles), len(found.open) / len(tiles)


def in_stretches(predicate: Predicate, query: Layout, key: Layout, samples: int) -> bool:
    """Whether the key tiles that a query tile visits follow each other, in a sample of query tiles.

    Args:
        query, key: layouts of one axis.
    """
    tiles, found = sampled_refinement(predicate, query, key, samples)
    row, lo, hi = (
        np.concatenate([getattr(found.full, side)[:, 0], getattr(found.open, side)[:, 0]])
        for side in ("query_lo", "key_lo", "key_hi")
    )
    row = np.searchsorted(tiles, row)
    visited = np.bincount(row, weights=hi - lo + 1, minlength=len(tiles))
    first, last = np.full(len(tiles), key.grid[0]), np.full(len(tiles), -1)
    np.minimum.at(first, row, lo)
    np.maximum.at(last, row, hi)
    return bool(((visited == 0) | (visited == last - first + 1)).all())


def sampled_tiles(query: Layout, samples: int) -> Ints:
    """At most so many query tiles, evenly spread."""
    last = tile_count(query) - 1
    return np.array(sorted({int(place) for place in np.linspace(0, last, samples)}), dtype=np.int64)


def sampled_refinement(
    predicate: Predicate, query: Layout, key: Layout, samples: int
) -> tuple[Ints, Refined]:
    """Some query tiles, and what they visit."""
    tiles = sampled_tiles(query, samples)
    return tiles, _refined_at(predicate, query, key, tiles)


def _refined_at(predicate: Predicate, query: Layout, key: Layout, tiles: Ints) -> Refined:
    """What some query tiles visit."""
    lo = tile_coordinates(query, tiles)
    ends = [
        np.broadcast_to(np.array(bound, dtype=np.int64), (len(tiles), len(key.grid))) for bound in _whole(key)
    ]
    return refine(predicate, query, key, Ranges(lo, lo, *ends))


def visited_keys(predicate: Predicate, query: Brick, key: Brick, tiles: Ints) -> dict[int, Ints]:
    """The numbers of the key tiles that query tiles visit, by the bounds alone, ascending."""
    found = _refined_at(predicate, query, key, tiles)
    known: dict[int, list[Ints]] = {at: [] for at in tiles.tolist()}
    for ranges in (found.full, found.open):
        for row, lo, hi in zip(tile_number(ranges.query_lo, query).tolist(), ranges.key_lo, ranges.key_hi):
            sides = [np.arange(first, last + 1) for first, last in zip(lo, hi)]
            known[row].append(np.ravel_multi_index(np.ix_(*sides), key.grid).ravel())
    return {at: np.sort(np.concatenate(parts or [tiles[:0]])) for at, parts in known.items()}
