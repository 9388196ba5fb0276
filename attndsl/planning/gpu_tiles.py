"""Chooses the boxes that GPU kernels cut several axes into, by simulated cycles.

A kernel's configuration says how many slots a tile has; here is chosen what box they form, for every number
of slots. One module serves every length, so a box must not be worse on short axes either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from attndsl.ir.index import TRUE
from attndsl.ir.ops import Attend
from attndsl.planning.ranking import MOST_AXES, Ranking, bricks
from attndsl.planning.tiles import candidates
from attndsl.simulation.tiling import Tile, tiling

FIRST = (128, 64)
"""Slots of queries and of keys that are decided together, those of most forward kernels; others follow."""
QUERY_SLOTS, KEY_SLOTS = (128, 64, 32), (64, 32, 128)
LEAST_GAIN = 1.02
"""Another box must be faster than the most even one by so much,"""
MOST_LOSS = 1.1
"""and nowhere slower by more than this."""


@dataclass(frozen=True)
class GpuTiles:
    """The sides of boxes by their slots, and why; no sides where the most even ones serve."""

    query: Mapping[int, Tile]
    key: Mapping[int, Tile]
    why: str


def even(slots: int, axes: int) -> Tile:
    """A box of so many slots, a power of two: as even as can be, the last axis longest."""
    bits = slots.bit_length() - 1
    return tuple(1 << ((bits + axis) // axes) for axis in range(axes))


def gpu_tiles(attend: Attend, rankings: list[Ranking]) -> GpuTiles | None:
    """The boxes of an attend; None where there is nothing to choose.

    Args:
        rankings: at the sizes that matter most, then at others that boxes must be safe for.
    """
    axes = len(attend.query_tokens.axes), len(attend.key_tokens.axes)
    if attend.where is TRUE or not 1 < max(axes) <= MOST_AXES or attend.kernel != "tiled":
        return None
    choice = _Choice(attend, rankings[0], axes)
    first = choice.pair()
    plain = choice.even(*FIRST)
    gain = choice.cycles(*plain) / choice.cycles(*first)
    unsafe = [other for other in rankings[1:] if _slower(attend, other, first, plain)]
    if gain < LEAST_GAIN:
        return GpuTiles({}, {}, "the most even boxes; of the others tried none is faster")
    if unsafe:
        at = _words(unsafe[0].sizes, attend)
        return GpuTiles({}, {}, f"the most even boxes; faster ones for long axes are slower at {at}")
    shown = " queries, ".join("x".join(map(str, tile)) for tile in first)
    why = f"{shown} keys; {gain:.2f}x fewer cycles than the most even boxes"
    return choice.others(first, why)


def _slower(attend: Attend, ranking: Ranking, tiles: tuple[Tile, Tile], plain: tuple[Tile, Tile]) -> bool:
    own, even_ones = (ranking.cycles(tiling(attend, *pair)) for pair in (tiles, plain))
    return own > MOST_LOSS * even_ones


def _words(sizes: Mapping[str, int], attend: Attend) -> str:
    return "x".join(map(str, attend.query_tokens.extents(sizes)))


@dataclass(frozen=True)
class _Choice:
    """Boxes of one attend, compared at some sizes."""

    attend: Attend
    ranking: Ranking
    axes: tuple[int, int]

    def cycles(self, query: Tile, key: Tile) -> float:
        return self.ranking.cycles(tiling(self.attend, query, key))

    def even(self, queries: int, keys: int) -> tuple[Tile, Tile]:
        return even(queries, self.axes[0]), even(keys, self.axes[1])

    def pair(self) -> tuple[Tile, Tile]:
        """The best boxes of the first slots; of equals the most even."""
        shapes = [self.even(*FIRST)]
        shapes += [(q, k) for q in self._boxes(0, FIRST[0]) for k in self._boxes(1, FIRST[1])]
        return min(shapes, key=lambda pair: self.cycles(*pair))

    def others(self, first: tuple[Tile, Tile], why: str) -> GpuTiles:
        """The best boxes of the other slots, each against the boxes of the other side known already."""
        query, key = {FIRST[0]: first[0]}, {FIRST[1]: first[1]}
        for slots in QUERY_SLOTS[1:]:
            query[slots] = self._least(0, slots, lambda tile: self.cycles(tile, first[1]))
        for slots in KEY_SLOTS[1:]:
            key[slots] = self._least(1, slots, lambda tile: self.cycles(first[0], tile))
        return GpuTiles(query, key, why)

    def _least(self, side: int, slots: int, cycles: Callable[[Tile], float]) -> Tile:
        return min([even(slots, self.axes[side]), *self._boxes(side, slots)], key=cycles)

    def _boxes(self, side: int, slots: int) -> Iterable[Tile]:
        tokens = (self.attend.query_tokens, self.attend.key_tokens)[side]
        extents = tokens.extents(self.ranking.sizes)
        shapes = bricks if self.ranking.exact(self.attend) else candidates
        return dict.fromkeys(_filled(tile, slots) for tile in shapes(extents, slots))


def _filled(tile: Tile, slots: int) -> Tile:
    """The box with all its slots, on short axes too: kernels take no fewer."""
    return (*tile[:-1], tile[-1] * (slots // prod(tile)))
