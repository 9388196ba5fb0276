"""Tokens in the order of their labels, on the device: as `sorting.py`, but the host never sees a label.

Where a query sees only keys of its own label, tiles of tokens of one label have the fewest others to visit,
however labels lie. Kernels read from memory which token a slot holds; nothing is permuted. The sort is
stable: labels that never decrease leave every token where it is, and kernels then compute its place instead.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiles import Bricks, Range
from attndsl_codegen.kernels.triton.label_ranges import LabelRange, Levels


class LabelOrder(NamedTuple):
    """Which tokens follow each other.

    Attributes:
        query, key: token numbers, (batch | 1, heads | 1, tokens), int32; as many batch elements and heads.
        as_is: 1 if every token is where kernels without an order look for it, else 0; int32, no axes.
        axes: of the tokens, the larger number. Bricks of several axes hold other tokens in any case.
    """

    query: Tensor
    key: Tensor
    as_is: Tensor
    axes: int

    @property
    def steps(self) -> tuple[int, int]:
        """Layers between batch elements and between heads; zero where all share them."""
        batches, heads, _ = self.query.shape
        return (heads if batches > 1 else 0), int(heads > 1)


def label_order(mechanism: type[Mechanism], at: dict[str, Any]) -> LabelOrder:
    """Queries and keys in the order of the labels that must be equal."""
    assert mechanism.same_labels is not None
    labels = [at[name].data.flatten(2) for name in mechanism.same_labels]
    batches, heads = (max(t.shape[side] for t in labels) for side in (0, 1))
    query, key = (t.expand(batches, heads, -1).sort(dim=2, stable=True).indices.int() for t in labels)
    axes = max(len(at[name].extents) for name in mechanism.same_labels)
    if axes > 1:
        return LabelOrder(query, key, query.new_zeros(()), axes)
    in_place = [(t == torch.arange(t.shape[2], device=t.device)).all() for t in (query, key)]
    return LabelOrder(query, key, (in_place[0] & in_place[1]).int(), axes)


def per_tile(tokens: Tensor, tiles: Bricks) -> Tensor:
    """Something of every token in their order, (batch, heads, tokens), as (batch, heads, tiles, slots)."""
    slot = torch.arange(tiles.count * tiles.slots, device=tokens.device).clamp(max=tokens.shape[2] - 1)
    return tokens[:, :, slot].unflatten(2, (tiles.count, tiles.slots))


class OrderedSide:
    """The tiles of queries, or of keys, in the order of labels.

    Args:
        order: (batch | 1, heads | 1, tokens).
        tiles: along that order.
        extents: of the tokens.
    """

    def __init__(self, order: Tensor, tiles: Bricks, extents: tuple[int, ...]) -> None:
        self.order, self.tiles, self.extents = order.long(), tiles, extents
        tokens, inner = per_tile(self.order, tiles), math.prod(extents)
        self.ends: list[tuple[Tensor, Tensor]] = []
        for extent in extents:
            inner //= extent
            place = tokens // inner % extent
            self.ends.append((place.amin(3), place.amax(3)))
        self.known: dict[int, tuple[Tensor, Tensor]] = {}

    def boxes(self, tile: Tensor, head: Tensor) -> list[Range]:
        """What tokens of tiles lie between along every axis, (batch | 1, pairs); one head and tile a pair."""
        return [Range(of_pairs(lo, tile, head), of_pairs(hi, tile, head)) for lo, hi in self.ends]

    def extremes(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest value of a field over the tokens of tiles, (batch, heads, tiles)."""
        if id(data) not in self.known:
            values = data.flatten(2).long()
            layers = [max(values.shape[side], self.order.shape[side]) for side in (0, 1)]
            values = values.expand(*layers, -1).gather(2, self.order.expand(*layers, -1))
            tiles = per_tile(values, self.tiles)
            self.known[id(data)] = tiles.amin(3), tiles.amax(3)
        return self.known[id(data)]


def of_pairs(values: Tensor, tile: Tensor, head: Tensor) -> Tensor:
    """Values of tiles (batch, heads | 1, tiles), for pairs of a head and a tile."""
    return values[:, head if values.shape[1] > 1 else torch.zeros_like(head), tile]


class OrderedRange:
    """Extremes of a field over boxes, as `LabelRange`; over the boxes of tiles, those of their tokens alone.

    Args:
        data: of the field.
        begins: of `levels_of`.
        sides: queries and keys; of each the tile of every pair and the boxes of these.
        head: of each pair, (pairs,).
    """

    def __init__(
        self,
        data: Tensor,
        begins: Tensor,
        sides: tuple[tuple[OrderedSide, Tensor, list[Range]], ...],
        head: Tensor,
    ) -> None:
        self.data, self.begins, self.sides, self.head = data, begins, sides, head
        self.anywhere: LabelRange | None = None

    def own(self, box: tuple[Any, ...], end: int) -> Tensor | None:
        """The extremes over the tokens of tiles; None if the box is no tile's."""
        for side, tile, boxes in self.sides:
            bounds = [*(place.lo for place in boxes), *(place.hi for place in boxes)]
            if len(bounds) == len(box) and all(one is other for one, other in zip(box, bounds)):
                return of_pairs(side.extremes(self.data)[end], tile, self.head).to(self.data.dtype)
        return None

    def over(self) -> LabelRange:
        """The field over any boxes."""
        if self.anywhere is None:
            self.anywhere = LabelRange(Levels(self.data, self.begins), self.head)
        return self.anywhere

    def least(self, *box: Any) -> Tensor:
        """The smallest value over boxes `(lo..., hi...)`, bounds inclusive, clamped to the field."""
        found = self.own(box, 0)
        return self.over().least(*box) if found is None else found

    def greatest(self, *box: Any) -> Tensor:
        """The largest value over boxes."""
        found = self.own(box, 1)
        return self.over().greatest(*box) if found is None else found
