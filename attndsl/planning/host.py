"""The tiles of a program on a CPU: those that the generated file has, wherever it is simulated."""

from __future__ import annotations

from collections.abc import Mapping

from attndsl.analysis.attention import head_classes
from attndsl.analysis.layout import Brick
from attndsl.analysis.predicate import Predicate
from attndsl.analysis.refine import in_stretches, sampled_visits
from attndsl.diagnostics import fail
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.planning.layouts import Forced, plan_attend
from attndsl.planning.plan import program_tiles
from attndsl.planning.residues import split_attend
from attndsl.planning.tiles import ROUGH_SAMPLES, WHOLE, TileChoice
from attndsl.simulation.counts import Fields
from attndsl.simulation.host import Access
from attndsl.simulation.problems import BadOption
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiling import WHOLE_LAYOUT, Planned, Tiling, counted

KERNEL = "attndsl"
HALF = 0.5
"""Tiles that have less in common than this gather their keys each for itself."""


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
    layout = "brick" if len(choice.query) > 1 else "raster"
    if choice.query_steps:
        split = split_attend(attend, choice.query_steps, choice.key_steps, exact=True)
        layout = f"residue classes {'x'.join(map(str, choice.query_steps))}"
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
    run = 1 if choice.key_steps and choice.key_steps[-1] > 1 else key_tile[-1]
    return Tiling(split, query_tile, key_tile, layout, why, Access(in_place, run, anew))


def _share_anew(predicate: Predicate, query: Brick, key: Brick) -> float:
    """The share of its keys that a query tile does not have in common with the one before it in a column.

    What a tile of twice the height sees beyond a single one; columns where that is most are dealt with tile
    by tile. As in the generated file, whose tiles in a column gather their keys together.
    """
    if query.extents[0] < 2 * query.tile[0]:
        return 1.0
    twice = Brick(query.extents, (2 * query.tile[0], *query.tile[1:]))
    one, two = (sum(sampled_visits(predicate, tall, key, ROUGH_SAMPLES)) for tall in (query, twice))
    share = two / one - 1 if one else 1.0
    return min(1.0, share + query.tile[0] / query.extents[0]) if 0 < share <= HALF else 1.0


def _untiled(attend: Attend, sizes: Mapping[str, int]) -> Tiling:
    """All queries against all keys in one call."""
    query, key = attend.query_tokens.extents(sizes), attend.key_tokens.extents(sizes)
    return Tiling(attend, query, key, WHOLE_LAYOUT, "every query sees every key", Access(whole=True))
