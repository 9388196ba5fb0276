"""How many pairs are visible in each cell of a picture of the mask: exact, without looking at every pair.

Small masks have one pair per cell. Larger ones are counted as the compiler counts tiles: bounds decide
most cells, open ones are evaluated once per class of equal masks or, where classes are many and cells
are large, cut into smaller ones first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.layout import Brick, Ints, tile_count
from attndsl.analysis.partial import OpenTiles, look_inside
from attndsl.analysis.predicate import Boxes, Predicate
from attndsl.analysis.refine import Ranges, refine, tile_number
from attndsl.analysis.schedule import build_schedule
from attndsl.picture.stretches import Stretches, stretches

EXACT_PAIRS, EXACT_SIDE = 1 << 22, 4096
"""Up to so many pairs, and tokens on a side, a cell is a pair."""
CELLS = 512
"""Cells along a side of a larger mask."""
EVALUATED = 1 << 20
"""Pairs evaluated one by one before cells are cut into smaller ones."""
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


def count_elements(predicate: Predicate, cells: int = CELLS, exact_pairs: int = EXACT_PAIRS) -> Elements:
    """The picture of a mask.

    Args:
        cells: the most cells on a side, if a cell is more than a pair.
        exact_pairs: up to so many pairs, a cell is a pair.
    """
    extents = [tuple(extent for _, extent in side) for side in (predicate.query, predicate.key)]
    tokens = [prod(side) for side in extents]
    exact = tokens[0] * tokens[1] <= exact_pairs and max(tokens) <= EXACT_SIDE
    query, key = (stretches(side, EXACT_SIDE if exact else cells) for side in extents)
    if not exact:
        return Elements(query, key, _count(predicate, query, key))
    points = [np.stack(np.unravel_index(np.arange(n), side), -1) for n, side in zip(tokens, extents)]
    return Elements(query, key, predicate.points(*points).astype(np.int64))


def _count(predicate: Predicate, query: Stretches, key: Stretches) -> Ints:
    refined = refine(predicate, query.layout, key.layout)
    nothing = np.zeros(0, dtype=np.int64)
    closed = OpenTiles(nothing, nothing, nothing, nothing.astype(bool), nothing)
    runs, _ = build_schedule(query.layout, key.layout, refined.full, closed)
    edges = np.zeros((query.count, key.count + 1), dtype=np.int64)
    np.add.at(edges, (runs.row, runs.start), 1)
    np.add.at(edges, (runs.row, runs.start + runs.length), -1)
    visible = np.cumsum(edges, axis=1)[:, :-1] * np.outer(query.sizes, key.sizes)
    open_ = refined.open
    cells = tile_number(open_.query_lo, query.layout), tile_number(open_.key_lo, key.layout)
    visible[cells] += _count_open(predicate, query.layout, key.layout, open_)
    return visible


def _count_open(predicate: Predicate, query: Brick, key: Brick, open_: Ranges) -> Ints:
    """The visible pairs of open cells: of one cell per class, evaluated or cut into smaller ones."""
    if not len(open_):
        return np.zeros(0, dtype=np.int64)
    boxes = Boxes(*query.hull(open_.query_lo, open_.query_hi), *key.hull(open_.key_lo, open_.key_hi))
    _, first, member = np.unique(predicate.signatures(boxes), return_index=True, return_inverse=True)
    chosen = open_.take(first)
    finer = _finer(query), _finer(key)
    if boxes.pairs[first].sum() <= EVALUATED or finer == (query, key):
        tiles, _ = look_inside(predicate, query, key, chosen)
        return _collected(chosen, (query, key), tiles.query, tiles.key, tiles.pairs)[member]
    parts = [chosen.stretch(at, at + REFINED) for at in range(0, len(chosen), REFINED)]
    return np.concatenate([_count_finer(predicate, (query, key), finer, part) for part in parts])[member]


def _count_finer(
    predicate: Predicate, layouts: tuple[Brick, Brick], finer: tuple[Brick, Brick], cells: Ranges
) -> Ints:
    """The visible pairs of cells, cut into smaller ones."""
    (query, key), (finer_query, finer_key) = layouts, finer
    start = Ranges(*_children(query, finer_query, cells.query_lo), *_children(key, finer_key, cells.key_lo))
    refined = refine(predicate, finer_query, finer_key, start)
    full = refined.full
    in_full = finer_query.tokens_in(full.query_lo, full.query_hi)
    in_full = in_full * finer_key.tokens_in(full.key_lo, full.key_hi)
    pairs = np.concatenate([in_full, _count_open(predicate, finer_query, finer_key, refined.open)])
    owners_q = _parents(np.concatenate([full.query_lo, refined.open.query_lo]), finer_query, query)
    owners_k = _parents(np.concatenate([full.key_lo, refined.open.key_lo]), finer_key, key)
    return _collected(cells, layouts, owners_q, owners_k, pairs)


def _collected(cells: Ranges, layouts: tuple[Brick, Brick], query: Ints, key: Ints, pairs: Ints) -> Ints:
    """Sums of pairs, given for tile numbers, in the order of the cells."""
    columns = tile_count(layouts[1])
    codes = tile_number(cells.query_lo, layouts[0]) * columns + tile_number(cells.key_lo, layouts[1])
    order = np.argsort(codes)
    found = order[np.searchsorted(codes[order], query * columns + key)]
    return np.bincount(found, weights=pairs, minlength=len(cells)).astype(np.int64)


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
