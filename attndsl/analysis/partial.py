"""Looks inside the tile pairs that bounds leave open, exactly, once per class of equal masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.contents import box_points
from attndsl.analysis.layout import Brick, Ints, Layout, slots, tile_count
from attndsl.analysis.predicate import Bools, Boxes, Predicate, classes, distinct_of
from attndsl.analysis.refine import Ranges, tile_number

CHUNK = 1 << 22
"""Pairs evaluated at a time."""
EMPTY, FULL = 0, 1


@dataclass(frozen=True)
class BoxPairs:
    """The box pairs of open tile pairs, after bounds and elementwise evaluation.

    Attributes:
        boxes: the box pairs that hold visible pairs.
        tile_pair: for each, the index of its tile pair.
        mask: for each, the index into `masks`; -1 if all its pairs are visible.
        masks: per class the visible pairs, (queries, keys) of the box in row-major order.
    """

    boxes: Boxes
    tile_pair: Ints
    mask: Ints
    masks: list[NDArray[np.bool_]]


@dataclass(frozen=True)
class OpenTiles:
    """Open tile pairs, decided.

    Attributes:
        query, key: tile numbers.
        pairs: visible pairs in each; pairs with none are dropped.
        full: whether every slot of the key tile is visible to every query of the query tile.
        mask_class: tile pairs of one class have the same mask.
    """

    query: Ints
    key: Ints
    pairs: Ints
    full: NDArray[np.bool_]
    mask_class: Ints


def look_inside(
    predicate: Predicate, query: Layout, key: Layout, open_: Ranges
) -> tuple[OpenTiles, BoxPairs]:
    """Decides open tile pairs and the box pairs they consist of."""
    query_tiles, key_tiles = tile_number(open_.query_lo, query), tile_number(open_.key_lo, key)
    boxes, tile_pair, part = _box_pairs(query, key, open_)
    must, may = predicate.decide(boxes)
    kind = np.where(must, FULL, EMPTY).astype(np.int64)
    undecided = np.flatnonzero(may & ~must)
    class_of, masks, sums, whole = _evaluate(predicate, boxes.take(undecided))
    visible = np.where(must, boxes.pairs, 0)
    if len(undecided):
        visible[undecided] = sums[class_of]
        kind[undecided] = np.where(whole, FULL, np.where(sums > 0, np.arange(len(masks)) + 2, EMPTY))[
            class_of
        ]
    tiles = _tile_pairs(query_tiles, key_tiles, query, key, tile_pair, part, visible, kind)
    kept = np.flatnonzero(visible)
    return tiles, BoxPairs(boxes.take(kept), tile_pair[kept], np.where(kind >= 2, kind - 2, -1)[kept], masks)


def count_inside(predicate: Predicate, query: Layout, key: Layout, open_: Ranges) -> tuple[Ints, Bools]:
    """How many pairs of each open tile pair are visible, and whether every slot of the key tile is."""
    boxes, tile_pair, _ = _box_pairs(query, key, open_)
    must, may = predicate.decide(boxes)
    visible = np.where(must, boxes.pairs, 0)
    undecided = np.flatnonzero(may & ~must)
    class_of, _, sums, _ = _evaluate(predicate, boxes.take(undecided))
    visible[undecided] = sums[class_of]
    pairs = np.bincount(tile_pair, weights=visible, minlength=len(open_)).astype(np.int64)
    return pairs, pairs == query.tokens_in(open_.query_lo, open_.query_hi) * slots(key)


def _box_pairs(query: Layout, key: Layout, open_: Ranges) -> tuple[Boxes, Ints, Ints]:
    """All pairs of a query piece and a key piece of tile pairs, whose they are, and their number in it."""
    if isinstance(query, Brick) and isinstance(key, Brick):  # pieces are whole tiles
        boxes = Boxes(*query.hull(open_.query_lo, open_.query_lo), *key.hull(open_.key_lo, open_.key_lo))
        return boxes, np.arange(len(boxes)), np.zeros(len(boxes), np.int64)
    query_tiles, key_tiles = tile_number(open_.query_lo, query), tile_number(open_.key_lo, key)
    unique_q, at_q = distinct_of(query_tiles, tile_count(query))
    unique_k, at_k = distinct_of(key_tiles, tile_count(key))
    q_lo, q_hi, q_ok = query.pieces(unique_q)
    k_lo, k_hi, k_ok = key.pieces(unique_k)
    exists = q_ok[at_q][:, :, None] & k_ok[at_k][:, None, :]
    tile_pair, a, b = np.nonzero(exists)
    rows_q, rows_k = at_q[tile_pair], at_k[tile_pair]
    boxes = Boxes(q_lo[rows_q, a], q_hi[rows_q, a], k_lo[rows_k, b], k_hi[rows_k, b])
    return boxes, tile_pair.astype(np.int64), (a * k_ok.shape[1] + b).astype(np.int64)


def _evaluate(
    predicate: Predicate, boxes: Boxes
) -> tuple[Ints, list[NDArray[np.bool_]], Ints, NDArray[np.bool_]]:
    """The class of each box pair; of each class its mask, its visible pairs, and whether these are all."""
    if not len(boxes):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, [], nothing, np.zeros(0, dtype=bool)
    class_of = predicate.signatures(boxes)
    representative = np.empty(int(class_of.max()) + 1, dtype=np.int64)
    representative[class_of] = np.arange(len(boxes))
    chosen = boxes.take(representative)
    sizes = np.concatenate([chosen.query_hi - chosen.query_lo, chosen.key_hi - chosen.key_lo], -1)
    shape_of = classes(list(sizes.T), len(chosen))
    masks: list[NDArray[np.bool_]] = [np.zeros((0, 0), dtype=bool)] * len(chosen)
    sums = np.zeros(len(chosen), dtype=np.int64)
    for shape in range(int(shape_of.max()) + 1):
        members = np.flatnonzero(shape_of == shape)
        step = max(1, CHUNK // int(chosen.pairs[members[0]]))
        for start in range(0, len(members), step):
            part = members[start : start + step]
            group = chosen.take(part)
            found = predicate.points(
                box_points(group.query_lo, group.query_hi), box_points(group.key_lo, group.key_hi)
            )
            sums[part] = np.count_nonzero(found, axis=(1, 2))
            for member, mask in zip(part, found):
                masks[member] = mask
    return class_of, masks, sums, sums == chosen.pairs


def _tile_pairs(
    query_tiles: Ints,
    key_tiles: Ints,
    query: Layout,
    key: Layout,
    tile_pair: Ints,
    part: Ints,
    visible: Ints,
    kind: Ints,
) -> OpenTiles:
    """Adds up the pieces of each tile pair."""
    count = len(query_tiles)
    pairs = np.bincount(tile_pair, weights=visible, minlength=count).astype(np.int64)
    kinds = np.zeros((count, int(part.max()) + 1 if len(part) else 1), dtype=np.int64)
    kinds[tile_pair, part] = kind
    kept = np.flatnonzero(pairs)
    queries = _tokens(query, query_tiles[kept])
    full = pairs[kept] == queries * slots(key)
    shapes = [_shape_class(query, query_tiles[kept]), _shape_class(key, key_tiles[kept])]
    mask_class = classes([*kinds[kept].T, *shapes], len(kept))
    return OpenTiles(query_tiles[kept], key_tiles[kept], pairs[kept], full, mask_class)


def _shape_class(layout: Layout, tiles: Ints) -> Ints:
    """Tiles of one class consist of equally large pieces, so that equal kinds fill equal slots."""
    unique, at = distinct_of(tiles, tile_count(layout))
    lo, hi, exists = layout.pieces(unique)
    sizes = np.where(exists[..., None], hi - lo + 1, 0)
    columns = [sizes[:, piece, axis] for piece in range(sizes.shape[1]) for axis in range(sizes.shape[2])]
    return classes(columns, len(unique))[at]


def _tokens(layout: Layout, tiles: Ints) -> Ints:
    coordinates = np.stack(np.unravel_index(tiles, layout.grid), -1).astype(np.int64)
    return layout.tokens_in(coordinates, coordinates)
