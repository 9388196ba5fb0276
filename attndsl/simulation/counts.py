"""Exact counts per query tile: how many full and partial key tiles it visits, in every class of heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import HeadPredicate, head_classes
from attndsl.analysis.layout import Ints, Layout, slots, tile_count
from attndsl.analysis.separable import Separated
from attndsl.ir.ops import Attend
from attndsl.ir.walk import variables
from attndsl.simulation.slots import mask_slots

Fields = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ClassCounts:
    """Heads that see one mask.

    Attributes:
        heads: how many heads (times batch elements, where masks depend on these).
        pairs: the visible pairs of one head.
        full, partial: visited key tiles of every query tile, by kind.
        mask: issue slots per score of a partial tile.
    """

    heads: int
    pairs: int
    full: Ints
    partial: Ints
    mask: float

    @property
    def visited(self) -> int:
        """Visited tile pairs of one head."""
        return int(self.full.sum() + self.partial.sum())


@dataclass(frozen=True)
class TileCounts:
    """All classes of one attend in one batch element; `query` and `key` are the layouts."""

    query: Layout
    key: Layout
    classes: tuple[ClassCounts, ...]

    @property
    def heads(self) -> int:
        """Heads over all classes."""
        return sum(found.heads for found in self.classes)

    @property
    def pairs(self) -> int:
        """Visible pairs over all heads."""
        return sum(found.pairs * found.heads for found in self.classes)

    @property
    def total(self) -> int:
        """Tile pairs over all heads, visited or not."""
        return tile_count(self.query) * tile_count(self.key) * self.heads

    @property
    def full(self) -> int:
        """Full tile pairs over all heads."""
        return sum(int(found.full.sum()) * found.heads for found in self.classes)

    @property
    def partial(self) -> int:
        """Partial tile pairs over all heads."""
        return sum(int(found.partial.sum()) * found.heads for found in self.classes)

    @property
    def visited(self) -> int:
        """Visited tile pairs over all heads."""
        return self.full + self.partial

    @property
    def worst(self) -> int:
        """Tile pairs over all heads if every query tile visited as many as the worst one of its class."""
        most = (int((found.full + found.partial).max()) * found.heads for found in self.classes)
        return sum(most) * tile_count(self.query)

    @property
    def slots(self) -> int:
        """Scores in a pair of tiles."""
        return slots(self.query) * slots(self.key)

    @property
    def tokens(self) -> tuple[int, int]:
        """Queries and keys."""
        queries, keys = (int(np.prod(layout.extents)) for layout in (self.query, self.key))
        return queries, keys


def count_tiles(
    attend: Attend, sizes: Mapping[str, int], query: Layout, key: Layout, heads: int, fields: Fields
) -> TileCounts:
    """Exact counts of an attend at the given layouts; partial is exactly what is neither full nor empty."""
    varies = "head" in variables(attend.where)
    known = {**sizes, "heads": heads if varies else 1}
    found = head_classes(attend, known, fields)
    if len({members.batch for members in found}) > 1:
        raise ValueError("fields of one batch element are expected")
    repeat = 1 if varies else heads
    classes = tuple(_counts(members, query, key, len(members.heads) * repeat) for members in found)
    return TileCounts(query, key, classes)


def _counts(members: HeadPredicate, query: Layout, key: Layout, heads: int) -> ClassCounts:
    found = Separated(members.predicate).counts(query, key)
    mask = mask_slots(members.predicate.condition)
    return ClassCounts(heads, found.pairs, found.full, found.visited - found.full, mask)
