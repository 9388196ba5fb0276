"""Chooses layout and tile shapes of every attend for a device, by simulated time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import log2, prod

from attndsl.analysis.attention import HeadPredicate, head_classes
from attndsl.analysis.layout import make_layout, tile_count
from attndsl.analysis.refine import sampled_visits
from attndsl.diagnostics import AttnError, fail
from attndsl.ir.index import TRUE
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import TokenSet
from attndsl.ir.walk import variables
from attndsl.planning.residues import candidate_steps, split_attend
from attndsl.planning.tiles import candidates
from attndsl.simulation.attention import attend_time
from attndsl.simulation.counts import Fields
from attndsl.simulation.cycles import tile_cycles
from attndsl.simulation.operators import count_of, widths_of
from attndsl.simulation.problems import BadOption
from attndsl.simulation.setting import Setting
from attndsl.simulation.slots import mask_slots
from attndsl.simulation.tiles import occupancy
from attndsl.simulation.tiling import Planned, Tile, Tiling, counted, tile_kind, tiling

SLOTS = ((128, 128), (128, 64), (64, 64))
"""Queries and keys of tiles that compile cleanly on GPUs."""
SMALL_SLOTS = ((64, 32), (32, 32), (16, 16))
"""Where none of these fits: wide heads, little shared memory."""
MOST_WIDTH = 1024
"""Wider vectors are not attended to tile by tile."""
SAMPLES = 6
"""Query tiles looked at to rank shapes."""
FINALISTS = 2
"""Shapes whose tiles are counted in full and simulated."""


@dataclass(frozen=True)
class Forced:
    """Tile shapes asked for, as text: `--tile-q 4x8x8 --tile-k 2x8x8`."""

    query: str | None = None
    key: str | None = None

    def __bool__(self) -> bool:
        return self.query is not None or self.key is not None


def plan_attend(
    attend: Attend, sizes: Mapping[str, int], setting: Setting, fields: Fields, forced: Forced | None = None
) -> Planned:
    """The tiles of an attend with the least simulated time among those tried, or those asked for.

    Raises:
        AttnError: the tiles asked for do not fit, or none does.
    """
    if attend.contracts:
        why = "sums over keys come first, so there are no tiles"
        return Planned(Tiling(attend, (), (), "contracted", why), None)
    if not forced and max(widths_of(attend, sizes)) > MOST_WIDTH:
        why = "too wide for tiles: plain products and a softmax"
        return Planned(Tiling(attend, (), (), "unfused", why), None)
    shapes = _finalists(attend, sizes, setting, fields, forced or Forced())
    every = [counted(found, sizes, setting, fields) for found in shapes]
    times = [attend_time(found.work, setting.device, setting.kernel).total for found in every if found.work]
    best = every[times.index(min(times))]
    return replace(best, tiling=replace(best.tiling, why="as asked for" if forced else _why(times)))


def _residues(steps: tuple[int, ...]) -> str:
    return f"residue classes {'x'.join(map(str, steps))}"


def _finalists(
    attend: Attend, sizes: Mapping[str, int], setting: Setting, fields: Fields, forced: Forced
) -> list[Tiling]:
    """The best by sampled visits: first among forms of one size, then among sizes of that form."""
    largest, *others = _slots(attend, sizes, setting)
    shapes = list(_shapes(attend, sizes, setting, forced, largest))
    if forced.query is not None and forced.key is not None:
        return shapes
    ranked = _ranked(shapes, sizes, setting, fields)
    shapes = [*ranked[:FINALISTS], *(_resized(ranked[0], sizes, slots, forced) for slots in others)]
    return _ranked(list(dict.fromkeys(shapes)), sizes, setting, fields)[:FINALISTS]


def _ranked(shapes: list[Tiling], sizes: Mapping[str, int], setting: Setting, fields: Fields) -> list[Tiling]:
    """Cheapest first; those that do not fit only if none does."""
    costs = [(_rough(found, sizes, setting, fields), at) for at, found in enumerate(shapes)]
    fitting = [(cost, at) for cost, at in costs if cost < float("inf")]
    return [shapes[at] for _, at in sorted(fitting or costs[:1])]


def _shapes(
    attend: Attend, sizes: Mapping[str, int], setting: Setting, forced: Forced, slots: tuple[int, int]
) -> Iterator[Tiling]:
    """The forms of a size: stretches, and boxes and residue classes where the kernel knows them."""
    every = list(candidate_steps(attend)) if setting.kernel.bricks and not forced else []
    for steps in dict.fromkeys([None, *every[1:][-1:]]):  # as written, and split along every axis that can be
        split, layout = attend, ""
        if steps is not None:
            split, layout = split_attend(attend, *steps, exact=True), _residues(steps[0])
        query, key = split.query_tokens.extents(sizes), split.key_tokens.extents(sizes)
        asked_q = _read(forced.query, "--tile-q", split.query_tokens, query)
        asked_k = _read(forced.key, "--tile-k", split.key_tokens, key)
        for q in _sides(query, slots[0], setting) if asked_q is None else [asked_q]:
            for k in _sides(key, slots[1], setting) if asked_k is None else [asked_k]:
                if forced or (len(q) == len(query)) == (len(k) == len(key)) or len(query) != len(key):
                    found = tiling(split, q, k)
                    yield replace(found, layout=layout) if layout else found


def _resized(found: Tiling, sizes: Mapping[str, int], slots: tuple[int, int], forced: Forced) -> Tiling:
    """The same form with another number of slots; sides that were asked for stay."""
    sides = (
        (found.attend.query_tokens, found.query, forced.query),
        (
            found.attend.key_tokens,
            found.key,
            forced.key,
        ),
    )
    query, key = (
        tile if asked is not None else _like(tile, tokens.extents(sizes), count)
        for (tokens, tile, asked), count in zip(sides, slots)
    )
    return replace(found, query=query, key=key)


def _like(tile: Tile, extents: tuple[int, ...], slots: int) -> Tile:
    """The candidate with so many slots whose sides are closest in proportion."""
    if len(tile) != len(extents) or len(extents) == 1:
        return (slots,)

    def distance(other: Tile) -> float:
        return sum(abs(log2(a / b)) for a, b in zip(tile, other))

    return min(candidates(extents, slots), key=distance)


def _slots(attend: Attend, sizes: Mapping[str, int], setting: Setting) -> list[tuple[int, int]]:
    """Slots of tiles that fit."""
    if setting.queries is not None:
        return [(16, 128), (16, 64)]
    fitting = [slots for slots in (*SLOTS, *SMALL_SLOTS) if _fits(attend, sizes, setting, slots)]
    return fitting[: len(SLOTS)] or [SMALL_SLOTS[-1]]


def _fits(attend: Attend, sizes: Mapping[str, int], setting: Setting, slots: tuple[int, int]) -> bool:
    kind = tile_kind(attend, sizes, setting, *slots)
    try:
        occupancy(setting.device, setting.kernel, *slots, kind.widths, setting.dtype)
    except AttnError:
        return False
    return True


def _sides(extents: tuple[int, ...], slots: int, setting: Setting) -> list[Tile]:
    """A stretch in row-major order, or boxes of about so many slots."""
    if len(extents) == 1:
        return [(slots,)]
    stretch: list[Tile] = [(slots,)]
    return [*candidates(extents, slots), *stretch] if setting.kernel.bricks else stretch


def _rough(found: Tiling, sizes: Mapping[str, int], setting: Setting, fields: Fields) -> float:
    """Cycles by the bounds of the mask on a sample of query tiles; infinite where the tile does not fit."""
    attend = found.attend
    query = make_layout(attend.query_tokens.extents(sizes), found.query)
    key = make_layout(attend.key_tokens.extents(sizes), found.key)
    kind = tile_kind(attend, sizes, setting, prod(found.query), prod(found.key))
    try:
        fits = occupancy(setting.device, setting.kernel, kind.queries, kind.keys, kind.widths, setting.dtype)
    except AttnError:
        return float("inf")
    mask = 0.0 if attend.where is TRUE else mask_slots(attend.where)
    cycles = tile_cycles(kind, setting.device, setting.kernel, mask).time(
        setting.kernel.unoverlapped(fits.blocks)
    )
    predicates = _predicates(attend, sizes, fields)
    visits = sum(sampled_visits(p.predicate, query, key, SAMPLES) * len(p.heads) for p in predicates)
    heads = sum(len(p.heads) for p in predicates)
    prologue = setting.device.measured.prologue_cycles / fits.blocks
    return tile_count(query) * (visits / heads * cycles + prologue)


def _predicates(attend: Attend, sizes: Mapping[str, int], fields: Fields) -> list[HeadPredicate]:
    heads = count_of(attend.type.heads, sizes) if "head" in variables(attend.where) else 1
    return head_classes(attend, {**sizes, "heads": heads}, fields)


def _why(times: list[float]) -> str:
    if len(times) == 1:
        return "the only shape that fits"
    least, *others = sorted(times)
    return f"{others[0] / least:.2f}x faster than the next best of the shapes tried, by simulated time"


def _read(given: str | None, option: str, tokens: TokenSet, extents: tuple[int, ...]) -> Tile | None:
    if given is None:
        return None
    example = "x".join("8" for _ in extents)
    remedy = f"give one size per axis of {tokens}, e.g. {option} {example}, or one size for stretches"
    if not re.fullmatch(r"\s*[1-9][0-9]{0,8}(\s*x\s*[1-9][0-9]{0,8})*\s*", given):
        raise fail(BadOption(option, given, "it is not a list of sizes", remedy))
    sizes = tuple(int(part) for part in given.split("x"))
    if len(sizes) not in (1, len(extents)):
        raise fail(
            BadOption(option, given, f"{tokens.name} has {len(extents)} axes, not {len(sizes)}", remedy)
        )
    return sizes
