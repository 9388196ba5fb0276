"""How many pairs are visible in each cell of a picture of the mask: exact, without looking at every pair.

Small masks have one pair per cell. Larger ones are counted as the compiler counts tiles: bounds decide
most cells, open ones are evaluated once per class of equal masks or, where classes are many and cells
are large, cut into smaller ones first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.layout import Brick, Ints, tile_coordinates
from attndsl.analysis.partial import OpenTiles, look_inside
from attndsl.analysis.predicate import Boxes, Predicate
from attndsl.analysis.refine import Ranges, refine, tile_number
from attndsl.analysis.schedule import build_schedule
from attndsl.picture.stretches import Stretches, stretches

EXACT_PAIRS, EXACT_SIDE = 1 << 22, 4096
"""Up to so many pairs, and tokens on a side, a cell is a pair."""
CELLS = 512
"""Cells along a side of a larger mask."""
EVALUATED = 1 << 23
"""Pairs evaluated one by one without trying smaller cells."""
REFINED = 1 << 15
"""Cells refined at a time."""


@dataclass(frozen=True)
class Elements:
    """Visible pairs per cell.

    Attributes:
        query, key: the cells along the sides.
        visible: pairs, (query cells, key cells).
    """

    query: Stretches
    key: Stretches
    visible: Ints

    @property
    def exact(self) -> bool:
        """Whether a cell is a pair."""
        return self.query.single and self.key.single

    @property
    def share(self) -> NDArray[np.float64]:
        """The share of each cell's pairs that is visible; exactly 0 or 1 if none or all are."""
        return self.visible / np.outer(self.query.sizes, self.key.sizes)


def count_elements(predicate: Predicate, cells: int | None = None) -> Elements:
    """The picture of a mask.

    Args:
        cells: the most cells on a side; chosen by the size of the mask if None.
    """
    extents = [tuple(extent for _, extent in side) for side in (predicate.query, predicate.key)]
    tokens = [int(np.prod(side)) for side in extents]
    if cells is None:
        exact = tokens[0] * tokens[1] <= EXACT_PAIRS and max(tokens) <= EXACT_SIDE
        cells = EXACT_SIDE if exact else CELLS
    query, key = (stretches(side, cells) for side in extents)
    if query.single and key.single:
        points = [np.stack(np.unravel_index(np.arange(n), side), -1) for n, side in zip(tokens, extents)]
        return Elements(query, key, predicate.points(*points).astype(np.int64))
    return Elements(query, key, _count(predicate, query, key))


def _count(predicate: Predicate, query: Stretches, key: Stretches) -> Ints:
    refined = refine(predicate, query.layout, key.layout)
    nothing = np.zeros(0, dtype=np.int64)
    closed = OpenTiles(nothing, nothing, nothing, nothing.astype(bool), nothing)
    runs, _ = build_schedule(query.layout, key.layout, refined.full, closed)
    edges = np.zeros((query.count, key.count + 1), dtype=np.int64)
    np.add.at(edges, (runs.row, runs.start), 1)
    np.add.at(edges, (runs.row, runs.start + runs.length), -1)
    visible = np.cumsum(edges, axis=1)[:, :-1] * np.outer(query.sizes, key.sizes)
    for cells_q, cells_k, pairs in _inside(predicate, query.layout, key.layout, refined.open):
        np.add.at(visible, (cells_q, cells_k), pairs)
    return visible


def _inside(
    predicate: Predicate, query: Brick, key: Brick, open_: Ranges
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Query cells, key cells and visible pairs of open cells; a cell may come several times."""
    if not len(open_):
        return
    finer_query, finer_key = _finer(query), _finer(key)
    if _cheap(predicate, query, key, open_) or (finer_query == query and finer_key == key):
        tiles, _ = look_inside(predicate, query, key, open_)
        yield tiles.query, tiles.key, tiles.pairs
        return
    for at in range(0, len(open_), REFINED):
        part = open_.take(slice(at, at + REFINED))
        start = Ranges(*_children(query, finer_query, part.query_lo), *_children(key, finer_key, part.key_lo))
        refined = refine(predicate, finer_query, finer_key, start)
        full = refined.full
        pairs = finer_query.tokens_in(full.query_lo, full.query_hi)
        pairs = pairs * finer_key.tokens_in(full.key_lo, full.key_hi)
        yield _parents(full.query_lo, finer_query, query), _parents(full.key_lo, finer_key, key), pairs
        for tiles_q, tiles_k, found in _inside(predicate, finer_query, finer_key, refined.open):
            lo_q, lo_k = tile_coordinates(finer_query, tiles_q), tile_coordinates(finer_key, tiles_k)
            yield _parents(lo_q, finer_query, query), _parents(lo_k, finer_key, key), found


def _cheap(predicate: Predicate, query: Brick, key: Brick, open_: Ranges) -> bool:
    """Whether evaluating one cell of each class takes few pairs."""
    boxes = Boxes(*query.hull(open_.query_lo, open_.query_hi), *key.hull(open_.key_lo, open_.key_hi))
    pairs = boxes.pairs
    if pairs.sum() <= EVALUATED:
        return True
    _, first = np.unique(predicate.signatures(boxes), return_index=True)
    return bool(pairs[first].sum() <= EVALUATED)


def _finer(layout: Brick) -> Brick:
    """About a quarter of each side; a cut never crosses the border of a larger tile."""
    tile = (_quarter(size, extent) for size, extent in zip(layout.tile, layout.extents))
    return Brick(layout.extents, tuple(tile))


def _quarter(size: int, extent: int) -> int:
    most = max(1, size // 4)
    return most if size >= extent else next(part for part in range(most, 0, -1) if size % part == 0)


def _children(layout: Brick, finer: Brick, lo: Ints) -> tuple[Ints, Ints]:
    """The range of finer tiles in each tile."""
    first, last = layout.hull(lo, lo)
    return first // np.array(finer.tile), last // np.array(finer.tile)


def _parents(lo: Ints, finer: Brick, layout: Brick) -> Ints:
    """The tile that holds each finer one."""
    return tile_number(lo * np.array(finer.tile) // np.array(layout.tile), layout)
