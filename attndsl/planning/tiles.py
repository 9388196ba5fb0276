"""Chooses the tile shapes of an attend for the torch path: the ones that visit the fewest slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import HeadPredicate, head_classes
from attndsl.analysis.layout import Brick, balanced, slots, tile_count
from attndsl.analysis.refine import in_stretches
from attndsl.analysis.separable import Separated
from attndsl.ir.index import TRUE
from attndsl.ir.ops import Attend
from attndsl.ir.walk import fields as fields_of
from attndsl.planning.blocks import FEWEST_SLOTS, blocks_of, placed_at
from attndsl.planning.residues import Steps, candidate_steps, split_attend

ROUGH_SAMPLES, SAMPLES, ENLARGING_SAMPLES = 8, 48, 16
"""Query tiles looked at for every shape, for those that may be best, and for larger ones."""
CONTENDER = 2.0
"""Shapes that visit more than so many times the fewest slots are out."""
QUERY_SLOTS, KEY_SLOTS = 64, 16
FEW_QUERY_SLOTS = 32
"""Also tried where keys are read in place: smaller tiles fit narrow windows better. Fewer queries than that
leave PyTorch's fused attention, which takes 32 at a time, too little to do for every key. A backward pass, in
which every key that a tile sees has a gradient to add, stays with `QUERY_SLOTS`."""
FINE_KEY_SLOTS = 4
FINE_UP_TO = 2048
"""Keys are gathered run by run, so fine key tiles cost little and fit masks better that show few keys."""
MOST_QUERY_SLOTS = 1024
MOST_WITH_BIAS = 128
"""Queries whose bias is taken from one of them: scores are rounded by how much theirs differ."""
WHOLE = 1 << 20
"""The side of a tile that holds everything."""
READ, GATHERED, PER_RUN = 3.0, 6.0, 32.0
"""What a key costs, in visits, shared by the queries of a tile: 3 for reading it in place, or else for
gathering it 6 a key and 32 a run of keys."""
HOPELESS = 1.15
"""Doubling a tile ends where it has come to cost so many times the least."""
LARGE_TILES = ((768, 0.7), (192, 0.85))
"""From these sizes on PyTorch's fused attention takes more queries at a time, and less time for a visit."""


@dataclass(frozen=True)
class TileChoice:
    """Tile shapes of one attend, and how many key slots they visit per query.

    Attributes:
        backward_query: the query tile of the backward pass, or None if it is the same.
        query_steps, key_steps: into how many residue classes each axis is split (see `residues.py`); a tile
            has two sides, phases and rounds, on a split axis.
        origin: per axis, how many slots of the first tile come before the first token (see `blocks.py`);
            empty where none does.
    """

    query: tuple[int, ...]
    key: tuple[int, ...]
    visits: float
    query_steps: Steps = ()
    key_steps: Steps = ()
    run: int = 1
    backward_query: tuple[int, ...] | None = None
    origin: tuple[int, ...] = ()

    @property
    def layout(self) -> str:
        """The layout in words."""
        if self.query_steps:
            return f"residue classes {'x'.join(map(str, self.query_steps))}"
        if self.origin:
            return f"blocks from {', '.join(str(-empty) for empty in self.origin)}"
        return "brick" if len(self.query) > 1 else "raster"

    @property
    def cost(self) -> float:
        """Visits per query, weighted by what gathering and small tiles add to each."""
        return self.visits * visit_cost(prod(self.query), self.run)


def choose_tiles(
    attend: Attend, sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]] | None = None
) -> TileChoice:
    """The tile shapes that visit the fewest slots at the given sizes; the most compact among equals.

    Compared on a sample of query tiles by the bounds of the mask, which is what the generated file
    plans with.
    """
    if attend.where is TRUE and attend.bias is None and attend.score is None:
        return _whole(attend, sizes)
    found = [_best(attend, *steps, sizes, fields) for steps in candidate_steps(attend)]
    return min([*found, *_of_blocks(attend, sizes, fields)], key=lambda choice: round(choice.cost))


def _of_blocks(
    attend: Attend, sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]] | None
) -> Iterator[TileChoice]:
    """Tiles that are the blocks of the mask, if it has any that others do not match."""
    blocks = blocks_of(attend)
    if blocks is None:
        return
    origin = blocks.origin if any(blocks.origin) else ()
    attend = placed_at(attend, blocks.origin) if origin else attend
    extents = attend.query_tokens.extents(sizes)
    masks = [
        (Separated(members.predicate), len(members.heads)) for members in head_classes(attend, sizes, fields)
    ]
    query, key = (_filled(blocks.sides, extents, count) for count in (QUERY_SLOTS, KEY_SLOTS))
    if prod(query) < FEWEST_SLOTS:
        return
    visits = _visits(masks, Brick(extents, query), Brick(extents, key), SAMPLES)
    yield TileChoice(query, key, visits, run=gcd(key[-1], *blocks.origin[-1:]), origin=origin)


def _filled(sides: tuple[int | None, ...], extents: tuple[int, ...], count: int) -> tuple[int, ...]:
    """A tile with these sides; axes without one share what they leave of `count` slots."""
    free = [axis for axis, side in enumerate(sides) if side is None]
    rest = max(1, count // prod(side for side in sides if side is not None))
    filled = dict(zip(free, balanced(tuple(extents[axis] for axis in free), rest)))
    return tuple(filled[axis] if side is None else side for axis, side in enumerate(sides))


def _whole(attend: Attend, sizes: Mapping[str, int]) -> TileChoice:
    """One tile that holds everything: PyTorch's fused attention does the rest."""
    query, key = ((WHOLE,) * len(tokens.axes) for tokens in (attend.query_tokens, attend.key_tokens))
    return TileChoice(query, key, attend.key_tokens.count(sizes), run=WHOLE)


def _best(
    attend: Attend,
    query_steps: Steps,
    key_steps: Steps,
    sizes: Mapping[str, int],
    fields: Mapping[str, NDArray[Any]] | None,
) -> TileChoice:
    """The best tile shapes where the axes are split like this."""
    plain = all(step == 1 for step in (*query_steps, *key_steps))
    attend = split_attend(attend, query_steps, key_steps)
    query, key = attend.query_tokens.extents(sizes), attend.key_tokens.extents(sizes)
    predicates = head_classes(attend, sizes, fields)
    masks = [(Separated(members.predicate), len(members.heads)) for members in predicates]
    steps = ((), ()) if plain else (query_steps, key_steps)
    in_place = (
        plain
        and len(query) == len(key) == 1
        and _in_place(predicates, Brick(query, (QUERY_SLOTS,)), Brick(key, (KEY_SLOTS,)))
    )

    def choice(q: tuple[int, ...], k: tuple[int, ...], samples: int) -> TileChoice:
        run = WHOLE if in_place else k[-1] if plain or key_steps[-1] == 1 else 1
        return TileChoice(q, k, _visits(masks, Brick(query, q), Brick(key, k), samples), *steps, run)

    def best_of(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> TileChoice:
        rough = [choice(*shape, ROUGH_SAMPLES) for shape in shapes]
        least = min(found.cost for found in rough)
        exact = [choice(f.query, f.key, SAMPLES) for f in rough if f.cost <= CONTENDER * least]
        return min(exact, key=lambda found: (round(found.cost), max(found.query), max(found.key)))

    queries, keys = list(candidates(query, QUERY_SLOTS)), list(candidates(key, KEY_SLOTS))
    best = best_of([(q, k) for q in queries for k in keys])
    if in_place and attend.score is None and not fields_of(attend.where):
        few = best_of([(q, k) for q in candidates(query, FEW_QUERY_SLOTS) for k in keys])
        if round(few.cost) <= round(best.cost):
            best = replace(few, backward_query=best.query)
    if len(key) > 1 and best.visits <= FINE_UP_TO:
        fine = best_of([(best.query, k) for k in candidates(key, FINE_KEY_SLOTS)])
        best = min(best, fine, key=lambda found: found.cost)
    if attend.score is not None or not (attend.bias is None or attend.separable_bias):
        return best  # values for all pairs of a step are in memory
    most = MOST_QUERY_SLOTS if attend.bias is None else MOST_WITH_BIAS
    return _enlarged(best, query, most, lambda tile: choice(tile, best.key, ENLARGING_SAMPLES))


def _enlarged(
    best: TileChoice, extents: tuple[int, ...], most: int, choice: Callable[[tuple[int, ...]], TileChoice]
) -> TileChoice:
    """The choice with its tile of queries, up to `most`, doubled, side by side, as often as is best.

    A doubling that costs a little is no end: the next may reach a size at which visits are cheaper.
    """
    current = least = choice(best.query)
    while larger := [choice(tile) for tile in doubled(extents, current.query, most)]:
        current = min(larger, key=lambda found: found.cost)
        if current.cost < least.cost:
            least = current
        elif current.cost > HOPELESS * least.cost:
            break
    return best if least.query == best.query else least


def doubled(extents: tuple[int, ...], tile: tuple[int, ...], most: int) -> Iterator[tuple[int, ...]]:
    """Tiles of up to `most` queries, twice as long along one axis."""
    if 2 * prod(tile) > most:
        return
    for axis, (size, extent) in enumerate(zip(tile, extents)):
        if size < extent:
            yield (*tile[:axis], 2 * size, *tile[axis + 1 :])


def visit_cost(queries: int, run: int) -> float:
    """What visiting a key costs each of so many queries; keys are gathered in runs of `run` tokens.

    Keys in runs of unlimited length are read in place.
    """
    arithmetic = next((share for least, share in LARGE_TILES if queries >= least), 1.0)
    return arithmetic + (READ if run == WHOLE else GATHERED + PER_RUN / run) / queries


def _visits(masks: Sequence[tuple[Separated, int]], query: Brick, key: Brick, samples: int) -> float:
    """Visited key slots per query slot that holds a token, over all heads."""
    visits = sum(mask.sampled_visits(query, key, samples) * heads for mask, heads in masks)
    tokens = prod(query.extents) / tile_count(query)
    return visits * slots(query) * slots(key) / tokens


def _in_place(predicates: Sequence[HeadPredicate], query: Brick, key: Brick) -> bool:
    """Whether the keys of a query tile are consecutive tokens, along one axis."""
    return all(in_stretches(p.predicate, query, key, ROUGH_SAMPLES) for p in predicates)


def candidates(extents: tuple[int, ...], count: int) -> Iterator[tuple[int, ...]]:
    """Shapes of about `count` slots: the most even one, and one stretched along each axis."""
    found = {balanced(extents, count): None}
    for axis in range(len(extents)):
        line = tuple(min(count, _power_above(e)) if at == axis else 1 for at, e in enumerate(extents))
        found[balanced(extents, count, start=line)] = None
    yield from found


def _power_above(extent: int) -> int:
    return 1 << int(np.ceil(np.log2(max(extent, 1))))
