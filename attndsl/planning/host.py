"""The tiles of a program on a CPU: those that the generated file has, wherever it is simulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import gcd, prod

import numpy as np

from attndsl.analysis.attention import head_classes
from attndsl.analysis.layout import Brick, Ints, tile_count
from attndsl.analysis.predicate import Predicate
from attndsl.analysis.refine import hulls, in_stretches, sampled_refinement, tile_number, visited_keys
from attndsl.diagnostics import fail
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.planning.blocks import placed_at
from attndsl.planning.layouts import Forced, plan_attend
from attndsl.planning.plan import program_tiles
from attndsl.planning.residues import split_attend
from attndsl.planning.tiles import ROUGH_SAMPLES, WHOLE, TileChoice
from attndsl.simulation.counts import Fields
from attndsl.simulation.host import SHARED, Access
from attndsl.simulation.problems import BadOption
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiling import WHOLE_LAYOUT, Planned, Tiling, counted

KERNEL = "attndsl"
MASK_SAMPLES = 24
"""Query tiles whose masks are compared."""


def plan_on_host(
    program: Program, sizes: Mapping[str, int], setting: Setting, fields: Fields, forced: Forced | None
) -> dict[str, Planned]:
    """The tiles of every attend.

    Raises:
        AttnError: tiles or a kernel are asked for that the torch path does not have.
    """
    if forced:
        option, value = ("--tile-q", forced.query) if forced.query else ("--tile-k", forced.key)
        remedy = "leave it out: tiles on a CPU are those of the generated file"
        raise fail(BadOption(option, str(value), f"{setting.device.name} is a CPU", remedy))
    if setting.kernel.name != KERNEL:
        reason = f"{setting.device.name} is a CPU, and knows the torch path alone"
        raise fail(BadOption("--kernel", setting.kernel.name, reason, f"choose {KERNEL}"))
    tiles = program_tiles(program)
    planned: dict[str, Planned] = {}
    for value in program.attends:
        if value.name in tiles:
            found = _tiled(value.op, tiles[value.name], sizes, fields)
        elif value.op.untiled:
            planned[value.name] = plan_attend(value.op, sizes, setting, fields)
            continue
        else:
            found = _untiled(value.op, sizes)
        planned[value.name] = counted(found, sizes, setting, fields)
    return planned


def _tiled(attend: Attend, choice: TileChoice, sizes: Mapping[str, int], fields: Fields) -> Tiling:
    if set(choice.query) == {WHOLE}:
        return _untiled(attend, sizes)
    split = attend
    if choice.query_steps:
        split = split_attend(attend, choice.query_steps, choice.key_steps, exact=True)
    if choice.origin:
        split = placed_at(attend, choice.origin)
    query, key = split.query_tokens.extents(sizes), split.key_tokens.extents(sizes)
    query_tile, key_tile = (
        tuple(min(side, extent) for side, extent in zip(tile, extents))
        for tile, extents in ((choice.query, query), (choice.key, key))
    )
    predicates = [p.predicate for p in head_classes(split, sizes, fields)]
    bricks = Brick(query, query_tile), Brick(key, key_tile)
    in_place = len(query) == len(key) == 1 and all(
        in_stretches(predicate, *bricks, ROUGH_SAMPLES) for predicate in predicates
    )
    anew = 1.0 if in_place else max(_share_anew(predicate, *bricks) for predicate in predicates)
    why = f"the generated file's: {choice.visits:.0f} key slots per query where shapes were compared"
    run = 1 if choice.key_steps and choice.key_steps[-1] > 1 else gcd(key_tile[-1], *choice.origin[-1:])
    access = Access(in_place, run, anew, query_run=_query_run(choice, *bricks[:1]))
    access = replace(access, remade=max(_share_remade(predicate, *bricks) for predicate in predicates))
    return Tiling(split, query_tile, key_tile, choice.layout, why, access)


def _query_run(choice: TileChoice, query: Brick) -> int:
    """Consecutive queries of a tile that are copied together; 0 where all are consecutive."""
    if choice.query_steps and choice.query_steps[-1] > 1:
        return 1
    first = next((axis for axis, side in enumerate(query.tile) if side > 1), 0)
    whole = query.tile[first + 1 :] == query.extents[first + 1 :]
    return 0 if whole and not choice.query_steps else query.tile[-1]


def _share_remade(predicate: Predicate, query: Brick, key: Brick) -> float:
    """The share of masked query tiles, in a sample, whose masks too few have in common to be kept."""
    tiles, found = sampled_refinement(predicate, query, key, MASK_SAMPLES)
    if not len(found.open):
        return 0.0
    row = np.searchsorted(tiles, tile_number(found.open.query_lo, query))
    kind = predicate.signatures(hulls(found.open, query, key))
    order = np.lexsort((tile_number(found.open.key_lo, key), row))
    row, kind = row[order], kind[order]
    rows = Counter(kind[row == at].tobytes() for at in np.unique(row))
    few = max(2, SHARED * len(tiles) / tile_count(query))
    return sum(count for count in rows.values() if count < few) / rows.total()


def _share_anew(predicate: Predicate, query: Brick, key: Brick) -> float:
    """The share of its keys that a query tile does not have in common with the one before it in a column.

    As in the generated file, whose tiles in a column gather their keys together where these slide: some fewer
    at the front, as many new ones at the end. A tile whose keys do not slide gathers all of them.
    """
    column, rest = query.grid[0], prod(query.grid[1:])
    if column == 1:
        return 1.0
    places = np.unique(np.linspace(0, (column - 1) * rest - 1, ROUGH_SAMPLES).astype(np.int64))
    tiles = np.union1d(places, places + rest)
    keys = visited_keys(predicate, query, key, tiles)
    shares = [_new_share(keys[at], keys[at + rest]) for at in places.tolist()]
    return 1 / column + (1 - 1 / column) * sum(shares) / len(shares)


def _new_share(before: Ints, after: Ints) -> float:
    """The share of new ones among the key tiles of a query tile if they slide, else all."""
    slide = int((before < after[:1]).sum()) if len(after) else 0
    slides = len(before) == len(after) and 0 < 2 * slide <= len(after)
    return slide / len(after) if slides and bool((before[slide:] == after[:-slide]).all()) else 1.0


def _untiled(attend: Attend, sizes: Mapping[str, int]) -> Tiling:
    """All queries against all keys in one call."""
    query, key = attend.query_tokens.extents(sizes), attend.key_tokens.extents(sizes)
    return Tiling(attend, query, key, WHOLE_LAYOUT, "every query sees every key", Access(whole=True))
