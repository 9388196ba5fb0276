"""What the simulator says about a program when it is compiled: a summary, and the boxes of GPU kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from attndsl.analysis.layout import balanced, make_layout, tile_count
from attndsl.diagnostics import AttnError
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.planning.gpu_tiles import GpuTiles, gpu_tiles
from attndsl.planning.plan import sample_fields, sizes_near
from attndsl.planning.ranking import Ranking
from attndsl.planning.simulate import EXTENTS as LONG
from attndsl.planning.simulate import simulate
from attndsl.simulation.report import Report
from attndsl.simulation.setting import Setting, make_setting

DEVICE = "h100"
EXTENTS = {1: 4096, 2: 64, 3: 16}
"""Where the spec leaves extents open, by the number of axes."""
SHORT = {1: 1024, 2: 32, 3: 8}
"""Boxes are chosen at the extents that `attndsl simulate` takes; they must serve at these two as well."""
MOST_TILES = 1 << 16
"""A program whose attends visit more pairs of tiles is not simulated on the side, unless that is cheap."""
SLOTS = 64


@dataclass(frozen=True)
class Outlook:
    """Lines for the head of the generated file, and the boxes of GPU kernels by attend."""

    summary: tuple[str, ...] = ()
    tiles: Mapping[str, GpuTiles] = field(default_factory=dict)


def outlook(program: Program, attends: Collection[str]) -> Outlook:
    """The outlook of a program; empty where it cannot be simulated, or not quickly.

    Args:
        attends: those that get boxes; GPU kernels run no axes that are split into residue classes.
    """
    setting = make_setting(DEVICE)
    try:
        here = _ranking(program, EXTENTS, setting)
    except AttnError:
        return Outlook()
    tiles = program_boxes(program, attends)
    lines = [f"GPU tiles of {name}: {chosen.why}." for name, chosen in tiles.items()]
    return Outlook((*_summary(program, here), *lines), tiles)


def program_boxes(program: Program, attends: Collection[str]) -> dict[str, GpuTiles]:
    """The boxes of attends on several axes, and why."""
    setting = make_setting(DEVICE)
    try:
        rankings = [_ranking(program, near, setting) for near in (LONG, EXTENTS, SHORT)]
    except AttnError:
        return {}
    every = {value.name: gpu_tiles(value.op, rankings) for value in program.attends if value.name in attends}
    return {name: chosen for name, chosen in every.items() if chosen is not None}


def _ranking(program: Program, near: Mapping[int, int], setting: Setting) -> Ranking:
    extents = sizes_near(program, near, heads=setting.heads) if program.symbols else {}
    sizes = setting.sizes(program, extents)
    return Ranking(sizes, setting, sample_fields(program, sizes, heads=setting.heads))


def _summary(program: Program, ranking: Ranking) -> list[str]:
    if not program.attends or not all(_quick(ranking, value.op) for value in program.attends):
        return []
    extents = {symbol: ranking.sizes[symbol] for symbol in program.symbols}
    try:
        return _lines(simulate(program, extents, ranking.setting))
    except AttnError:
        return []


def _quick(ranking: Ranking, attend: Attend) -> bool:
    """Whether the tiles of an attend are counted in a moment."""
    if attend.untiled or all(mask.small for _, mask in ranking.masks(attend)):
        return True
    sides = (tokens.extents(ranking.sizes) for tokens in (attend.query_tokens, attend.key_tokens))
    query, key = (make_layout(extents, balanced(extents, SLOTS)) for extents in sides)
    return tile_count(query) * tile_count(key) <= MOST_TILES


def _lines(report: Report) -> list[str]:
    setting, fall = report.setting, report.waterfall
    shape = ", ".join(f"{name} = {'x'.join(map(str, axes.values()))}" for name, axes in report.shape.items())
    return [
        f"Simulated on {setting.device.name}, {setting.dtype}, {setting.heads} heads of width {setting.dim}, "
        f"{shape}:",
        f"flop_bound {fall.flop_bound:.3g}, tile_bound {fall.tile_bound:.3g}, "
        f"predicted {fall.predicted:.3g} times as fast as dense attention.",
    ]
