"""Chooses the tile shapes of an attend for the torch path: the ones that visit the fewest slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import HeadPredicate, head_classes
from attndsl.analysis.layout import Brick, slots, tile_count
from attndsl.analysis.refine import sampled_visits
from attndsl.ir.ops import Attend
from attndsl.planning.residues import Steps, candidate_steps, split_attend

ROUGH_SAMPLES, SAMPLES = 8, 48
"""Query tiles looked at for every shape, and for those that may be best."""
CONTENDER = 2.0
"""Shapes that visit more than so many times the fewest slots are out."""
QUERY_SLOTS, KEY_SLOTS = 64, 16
FINE_KEY_SLOTS = 4
"""Keys are gathered run by run, so fine key tiles cost little and fit the mask better."""
GATHERED = 0.5
"""What one more run costs, in visits: a run of r keys costs r + this."""


@dataclass(frozen=True)
class TileChoice:
    """Tile shapes of one attend, and how many key slots they visit per query.

    Attributes:
        query_steps, key_steps: into how many residue classes each axis is split (see `residues.py`); a tile
            has two sides, phases and rounds, on a split axis.
    """

    query: tuple[int, ...]
    key: tuple[int, ...]
    visits: float
    query_steps: Steps = ()
    key_steps: Steps = ()
    runs: int = 1


def choose_tiles(
    attend: Attend, sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]] | None = None
) -> TileChoice:
    """The tile shapes that visit the fewest slots at the given sizes; the most compact among equals.

    Compared on a sample of query tiles by the bounds of the mask, which is what the generated file
    plans with.
    """
    found = [_best(attend, *steps, sizes, fields) for steps in candidate_steps(attend)]
    return min(found, key=lambda choice: round(choice.visits * _gathering(choice.runs)))


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
    bricks = [
        (Brick(query, q), Brick(key, k))
        for q in candidates(query, QUERY_SLOTS)
        for count in ((KEY_SLOTS, FINE_KEY_SLOTS) if len(key) > 1 else (KEY_SLOTS,))
        for k in candidates(key, count)
    ]
    runs = [k.tile[-1] if not key_steps or key_steps[-1] == 1 else 1 for _, k in bricks]
    rough = [_visits(predicates, q, k, ROUGH_SAMPLES) * _gathering(run) for (q, k), run in zip(bricks, runs)]
    steps = ((), ()) if plain else (query_steps, key_steps)
    choices = [
        TileChoice(q.tile, k.tile, _visits(predicates, q, k, SAMPLES), *steps, run)
        for (q, k), run, cost in zip(bricks, runs, rough)
        if cost <= CONTENDER * min(rough)
    ]
    costs = {choice: choice.visits * _gathering(choice.runs) for choice in choices}
    return min(choices, key=lambda choice: (round(costs[choice]), max(choice.query), max(choice.key)))


def _gathering(run: int) -> float:
    """What a visit costs, gathering included: keys come in runs of consecutive tokens."""
    return 1 + GATHERED / run


def _visits(predicates: Sequence[HeadPredicate], query: Brick, key: Brick, samples: int) -> float:
    """Visited key slots per query slot that holds a token, over all heads."""
    visits = sum(sampled_visits(p.predicate, query, key, samples) * len(p.heads) for p in predicates)
    tokens = prod(query.extents) / tile_count(query)
    return visits * slots(query) * slots(key) / tokens


def candidates(extents: tuple[int, ...], count: int) -> Iterator[tuple[int, ...]]:
    """Shapes of about `count` slots: the most even one, and one stretched along each axis."""
    found = {balanced(extents, count): None}
    for axis in range(len(extents)):
        line = tuple(min(count, _power_above(e)) if at == axis else 1 for at, e in enumerate(extents))
        found[balanced(extents, count, start=line)] = None
    yield from found


def balanced(extents: tuple[int, ...], count: int, start: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Doubles the shortest side, the last axis first, until the tile holds `count` slots."""
    tile = list(start or (1,) * len(extents))
    while prod(tile) < count:
        growing = [axis for axis, extent in enumerate(extents) if tile[axis] < extent]
        if not growing:
            break
        shortest = min(growing, key=lambda axis: (tile[axis], -axis))
        tile[shortest] *= 2
    return tuple(tile)


def _power_above(extent: int) -> int:
    return 1 << int(np.ceil(np.log2(max(extent, 1))))
