"""Masks that are a product: conjunctions whose parts speak of different axes, counted axis by axis.

h: window(7) and w: window(7)      tiles of boxes: a pair of tiles is visited (full) where it is along
                                   h and along w; numbers of tiles and of pairs are products
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.alike import VisitCounts, alike_counts
from attndsl.analysis.attention import add_boxes
from attndsl.analysis.layout import Brick, Ints, Layout, balanced, ragged, slots, tile_coordinates, tile_count
from attndsl.analysis.partial import count_inside
from attndsl.analysis.predicate import Predicate
from attndsl.analysis.refine import Ranges, hulls, refine, sampled_tiles, sampled_visits, tile_number
from attndsl.ir.index import TRUE, Apply, Expr
from attndsl.ir.walk import fields, variables

SMALL = 1 << 20
"""Pairs up to which a factor is looked at pair by pair; larger ones are refined by bounds."""
FEW_PAIRS = 1 << 14
"""Pairs of tiles up to which the bounds of a factor are looked at pair by pair."""
ONE_TILE, SMALL_SLOTS = 1 << 24, 128
"""A single pair of tiles with more pairs than that is counted by tiles of so many slots."""

Tile = tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """A part of a mask and the axes of queries and of keys that it speaks of."""

    predicate: Predicate
    query: tuple[int, ...]
    key: tuple[int, ...]

    @cached_property
    def small(self) -> bool:
        """Whether there are so few pairs that each is looked at."""
        return prod(extent for side in _sides(self.predicate) for _, extent in side) <= SMALL

    def counts(self, query: Brick, key: Brick) -> VisitCounts:
        """Counts at tiles of boxes over its own axes."""
        found = self._by_tiles.get((query.tile, key.tile))
        if found is None:
            everything = self.predicate.condition is TRUE
            count = self._added_up if self.small else partial(exact_counts, self.predicate)
            found = _all_visible(query, key) if everything else count(query, key)
            self._by_tiles[query.tile, key.tile] = found
        return found

    def may_visit(self, query: Brick, key: Brick) -> Ints:
        """By the bounds alone, how many key tiles every query tile visits; for few pairs of tiles."""
        known = self._bounded.get((query.tile, key.tile))
        if known is None:
            tiles = [tile_coordinates(side, np.arange(tile_count(side))) for side in (query, key)]
            rows, keys = np.indices((len(tiles[0]), len(tiles[1]))).reshape(2, -1)
            pairs = Ranges(tiles[0][rows], tiles[0][rows], tiles[1][keys], tiles[1][keys])
            _, may = self.predicate.decide(hulls(pairs, query, key))
            known = may.reshape(len(tiles[0]), -1).sum(1)
            self._bounded[query.tile, key.tile] = known
        return known

    @cached_property
    def _bounded(self) -> dict[tuple[Tile, Tile], Ints]:
        """What `may_visit` has found."""
        return {}

    @cached_property
    def _by_tiles(self) -> dict[tuple[Tile, Tile], VisitCounts]:
        """What is known already: many shapes are tried that differ along other axes."""
        return {}

    @cached_property
    def _sums(self) -> NDArray[np.int32]:
        """How many pairs before each place, along every axis, are visible."""
        sides = [tuple(extent for _, extent in side) for side in _sides(self.predicate)]
        points = [np.stack(np.unravel_index(np.arange(prod(side)), side), -1) for side in sides]
        sums = self.predicate.points(*points).reshape(sides[0] + sides[1]).astype(np.int32)  # at most SMALL
        for axis in range(sums.ndim):
            sums = sums.cumsum(axis, dtype=np.int32)
        return np.pad(sums, [(1, 0)] * sums.ndim)

    def _added_up(self, query: Brick, key: Brick) -> VisitCounts:
        """From the visible pairs of every pair of tiles; a key tile with empty slots is never full."""
        ends = [
            np.append(np.arange(0, extent, size), extent)
            for extent, size in zip(query.extents + key.extents, query.tile + key.tile)
        ]
        pairs = self._sums[np.ix_(*ends)]
        for axis in range(pairs.ndim):
            pairs = np.diff(pairs, axis=axis)
        pairs = pairs.reshape(prod(query.grid), prod(key.grid)).astype(np.int64)
        tokens = np.ones(1, dtype=np.int64)
        for side in ends[: len(query.tile)]:
            tokens = np.multiply.outer(tokens, np.diff(side)).ravel()
        full = pairs == tokens[:, None] * slots(key)
        return VisitCounts(int(pairs.sum()), full.sum(1), (pairs > 0).sum(1))


class Separated:
    """A mask as a product of factors.

    Args:
        predicate: the mask.
    """

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate
        self.factors = factors(predicate)

    @property
    def small(self) -> bool:
        """Whether all factors are, so that many tile shapes can be tried."""
        return all(part.small for part in self.factors)

    def totals(self, query: Brick, key: Brick) -> tuple[int, int]:
        """Full and visited key tiles of all query tiles."""
        full, visited = 1, 1
        for part in self.factors:
            own = part.counts(along(query, part.query), along(key, part.key)).totals
            full, visited = full * own[0], visited * own[1]
        return full, visited

    def sampled_visits(self, query: Brick, key: Brick, samples: int) -> float:
        """Key tiles that a query tile visits, by the bounds alone, on average over a sample of query tiles.

        Factor by factor where there are several: shapes of tiles that differ along other axes share these.
        """
        sides = [(along(query, part.query), along(key, part.key)) for part in self.factors]
        many = any(tile_count(q) * tile_count(k) > FEW_PAIRS for q, k in sides)
        if len(sides) == 1 or many:
            return sum(sampled_visits(self.predicate, query, key, samples))
        places = tile_coordinates(query, sampled_tiles(query, samples))
        visits = np.ones(len(places), dtype=np.int64)
        for part, (q, k) in zip(self.factors, sides):
            visits *= part.may_visit(q, k)[tile_number(places[:, part.query], q)]
        return float(visits.mean())

    def counts(self, query: Layout, key: Layout) -> VisitCounts:
        """Exact counts; factor by factor where tiles are boxes."""
        if not (isinstance(query, Brick) and isinstance(key, Brick)):
            return exact_counts(self.predicate, query, key)
        pairs, full, visited = 1, np.ones(query.grid, dtype=np.int64), np.ones(query.grid, dtype=np.int64)
        for part in self.factors:
            found = part.counts(along(query, part.query), along(key, part.key))
            sides = [query.grid[axis] if axis in part.query else 1 for axis in range(len(query.grid))]
            pairs *= found.pairs
            full = full * found.full.reshape(sides)
            visited = visited * found.visited.reshape(sides)
        return VisitCounts(pairs, full.ravel(), visited.ravel())


def _all_visible(query: Brick, key: Brick) -> VisitCounts:
    """The counts of a mask that hides nothing; a key tile with empty slots is never full."""
    grid, empty = key.grid, ragged(key)
    full = prod(tiles - int(last) for tiles, last in zip(grid, empty))
    rows = np.ones(tile_count(query), dtype=np.int64)
    return VisitCounts(prod(query.extents) * prod(key.extents), rows * full, rows * prod(grid))


def along(layout: Brick, axes: tuple[int, ...]) -> Brick:
    """The layout on some of its axes."""
    return Brick(tuple(layout.extents[axis] for axis in axes), tuple(layout.tile[axis] for axis in axes))


def exact_counts(predicate: Predicate, query: Layout, key: Layout) -> VisitCounts:
    """Exact counts of any mask, for any layout."""
    if tile_count(query) == tile_count(key) == 1 and slots(query) * slots(key) > ONE_TILE:
        return _in_one_tile(predicate, query, key)
    if isinstance(query, Brick) and isinstance(key, Brick) and predicate.comparable:
        return alike_counts(predicate, query, key)
    return refined_counts(predicate, query, key)


def refined_counts(predicate: Predicate, query: Layout, key: Layout) -> VisitCounts:
    """Exact counts by refinement down to every tile."""
    found = refine(predicate, query, key)
    ranges, open_ = found.full, found.open
    full = np.zeros(query.grid, dtype=np.int64)
    add_boxes(full, ranges.query_lo, ranges.query_hi, np.prod(ranges.key_hi - ranges.key_lo + 1, axis=-1))
    pairs, whole = count_inside(predicate, query, key, open_)
    row, count = tile_number(open_.query_lo, query), tile_count(query)
    rows = full.ravel() + np.bincount(row[whole], minlength=count)
    visited = rows + np.bincount(row[(pairs > 0) & ~whole], minlength=count)
    queries = query.tokens_in(ranges.query_lo, ranges.query_hi)
    total = int((queries * key.tokens_in(ranges.key_lo, ranges.key_hi)).sum() + pairs.sum())
    return VisitCounts(total, rows, visited)


def _in_one_tile(predicate: Predicate, query: Layout, key: Layout) -> VisitCounts:
    """One pair of tiles that holds everything: too many pairs to look at, so smaller tiles are counted."""
    small = [Brick(side.extents, balanced(side.extents, SMALL_SLOTS)) for side in (query, key)]
    pairs = exact_counts(predicate, *small).pairs
    every = np.prod(query.extents) * slots(key)
    return VisitCounts(pairs, np.array([int(pairs == every)]), np.array([int(pairs > 0)]))


def factors(predicate: Predicate) -> list[Factor]:
    """The mask as a conjunction of parts, each with axes of queries and of keys of its own."""
    if min(len(predicate.query), len(predicate.key)) < 2:
        return [Factor(predicate, *(tuple(range(len(side))) for side in _sides(predicate)))]
    names = [name for name, _ in (*predicate.query, *predicate.key)]
    groups = {name: {name} for name in names}
    for part in _conjuncts(predicate.condition):
        used = sorted(variables(part) & groups.keys())
        for other in used[1:]:
            _join(groups, used[0], other)
    for first, second in _one_sided(groups, predicate):
        _join(groups, first, second)
    distinct = {id(group): group for group in groups.values()}
    return [_factor(predicate, group) for group in distinct.values()]


def _join(groups: dict[str, set[str]], first: str, second: str) -> None:
    joined = groups[first] | groups[second]
    groups.update(dict.fromkeys(joined, joined))


def _one_sided(groups: dict[str, set[str]], predicate: Predicate) -> Iterator[tuple[str, str]]:
    """Pairs of names whose groups must be one: a factor has queries and keys.

    A group of query axes alone goes with one of key axes alone; what is left over, with any other.
    """
    queries, keys = {name for name, _ in predicate.query}, {name for name, _ in predicate.key}
    distinct = {id(group): group for group in groups.values()}.values()
    alone = [[min(group) for group in distinct if not group & other] for other in (keys, queries)]
    yield from zip(*alone)
    fewer = min(map(len, alone))
    whole = next((min(group) for group in distinct if group & queries and group & keys), None)
    anchor = whole or alone[0][0]
    yield from ((anchor, name) for side in alone for name in side[fewer:])


def _factor(predicate: Predicate, group: set[str]) -> Factor:
    parts = [part for part in _conjuncts(predicate.condition) if variables(part) & group or _constant(part)]
    condition: Expr = TRUE
    for part in parts:
        condition = condition & part
    looked_up = {name: predicate.fields[name] for name in fields(condition)}
    sides = [[at for at, (name, _) in enumerate(side) if name in group] for side in _sides(predicate)]
    query, key = (tuple(side[at] for at in axes) for side, axes in zip(_sides(predicate), sides))
    return Factor(Predicate(condition, query, key, looked_up), tuple(sides[0]), tuple(sides[1]))


def _sides(predicate: Predicate) -> Sequence[tuple[tuple[str, int], ...]]:
    return predicate.query, predicate.key


def _constant(part: Expr) -> bool:
    """A part without coordinates, such as FALSE, holds for every factor or for none."""
    return not variables(part)


def _conjuncts(condition: Expr) -> tuple[Expr, ...]:
    match condition:
        case Apply("and", parts):
            return tuple(inner for part in parts for inner in _conjuncts(part))
    return (condition,)
