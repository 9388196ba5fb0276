"""Chooses layout and tile shapes of every attend for a device, by simulated time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import log2

from attndsl.diagnostics import AttnError, fail
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import TokenSet
from attndsl.planning.ranking import Ranking, bricks
from attndsl.planning.residues import candidate_steps, split_attend
from attndsl.planning.tiles import candidates
from attndsl.simulation.attention import attend_time
from attndsl.simulation.compiled import CompiledAttend
from attndsl.simulation.counts import Fields
from attndsl.simulation.operators import widths_of
from attndsl.simulation.problems import BadOption
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiles import occupancy
from attndsl.simulation.tiling import Planned, Tile, Tiling, counted, tile_kind, tiling

Boxes = Callable[[tuple[int, ...], int], Iterable[Tile]]
"""Shapes of boxes of so many slots, for tokens of these extents."""
SLOTS = ((128, 128), (128, 64), (64, 64))
"""Queries and keys of tiles that compile cleanly on GPUs."""
SMALL_SLOTS = ((64, 32), (32, 32), (16, 16))
"""Where none of these fits: wide heads, little shared memory."""
MOST_WIDTH = 1024
"""Wider vectors are not attended to tile by tile."""
FINALISTS = 2
"""Shapes whose tiles are counted in full and simulated."""
CLOSE = 1.25
"""The second of them only if it is estimated to take no longer than so many times the first."""


@dataclass(frozen=True)
class Forced:
    """Tile shapes asked for, as text: `--tile-q 4x8x8 --tile-k 2x8x8`.

    Attributes:
        compiled: compiled kernels by attend: these have tile shapes of their own.
    """

    query: str | None = None
    key: str | None = None
    compiled: Mapping[str, CompiledAttend] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.query is not None or self.key is not None


def plan_attend(
    attend: Attend, sizes: Mapping[str, int], setting: Setting, fields: Fields, forced: Forced | None = None
) -> Planned:
    """The tiles of an attend with the least simulated time among those tried, or those asked for.

    Raises:
        AttnError: the tiles asked for do not fit, or none does.
    """
    if attend.untiled:
        why = "sums over keys come first, so there are no tiles"
        return Planned(Tiling(attend, (), (), "contracted" if attend.contracts else "lines", why), None)
    if not forced and max(widths_of(attend, sizes)) > MOST_WIDTH:
        why = "too wide for tiles: plain products and a softmax"
        return Planned(Tiling(attend, (), (), "unfused", why), None)
    ranked = _ranked(attend, sizes, setting, fields, forced or Forced())
    close = [found for cost, found in ranked[:FINALISTS] if cost <= CLOSE * ranked[0][0]]
    every = [counted(found, sizes, setting, fields) for found in close or [ranked[0][1]]]
    times = [attend_time(found.work, setting.device, setting.kernel).total for found in every if found.work]
    best = every[times.index(min(times))]
    why = "as asked for" if forced else _why(times, [cost for cost, _ in ranked])
    return replace(best, tiling=replace(best.tiling, why=why))


def compiled_tiling(attend: Attend, found: CompiledAttend) -> Tiling:
    """The tiles that the compiled kernels of an attend have."""
    why = "those of the compiled kernels"
    if max(*found.query_steps, *found.key_steps) == 1:
        return replace(tiling(attend, found.query, found.key, why), compiled=found)
    split = split_attend(attend, found.query_steps, found.key_steps, exact=True)
    query, key = (
        tuple(n for side, step in zip(tile, steps) for n in ([side] if step == 1 else [1, side]))
        for tile, steps in ((found.query, found.query_steps), (found.key, found.key_steps))
    )
    return Tiling(split, query, key, _residues(found.query_steps), why, compiled=found)


def _residues(steps: tuple[int, ...]) -> str:
    return f"residue classes {'x'.join(map(str, steps))}"


def _ranked(
    attend: Attend, sizes: Mapping[str, int], setting: Setting, fields: Fields, forced: Forced
) -> list[tuple[float, Tiling]]:
    """The best shape of every size with its estimated cycles, cheapest first.

    All boxes are tried where each costs little to look at; else forms are compared at the largest size, and
    the best of them at the others. Shapes that do not fit the device are there only if none does.
    """
    rank = Ranking(sizes, setting, fields)
    largest, *others = _slots(attend, sizes, setting)
    shapes = _best(rank, _shapes(attend, rank, forced, largest))[:1]
    for slots in others if forced.query is None or forced.key is None else []:
        every = list(_shapes(attend, rank, forced, slots)) if rank.exact(attend) else []
        shapes += _best(rank, [_resized(shapes[0][1], sizes, slots, forced), *every])[:1]
    shapes.sort(key=lambda found: found[0])
    return [found for found in shapes if found[0] < float("inf")] or shapes[:1]


def _best(rank: Ranking, shapes: Iterable[Tiling]) -> list[tuple[float, Tiling]]:
    """Cheapest first; of equals, the first."""
    return sorted(((rank.cycles(found), found) for found in shapes), key=lambda found: found[0])


def _shapes(attend: Attend, rank: Ranking, forced: Forced, slots: tuple[int, int]) -> Iterator[Tiling]:
    """The forms of a size: stretches, and boxes and residue classes where the kernel knows them."""
    sizes, setting = rank.sizes, rank.setting
    every = list(candidate_steps(attend)) if setting.kernel.bricks and not forced else []
    for steps in dict.fromkeys([None, *every[1:][-1:]]):  # as written, and split along every axis that can be
        split, layout = attend, ""
        if steps is not None:
            split, layout = split_attend(attend, *steps, exact=True), _residues(steps[0])
        query, key = split.query_tokens.extents(sizes), split.key_tokens.extents(sizes)
        asked_q = read_tile(forced.query, "--tile-q", split.query_tokens, query)
        asked_k = read_tile(forced.key, "--tile-k", split.key_tokens, key)
        boxes = bricks if rank.exact(split) else candidates
        for q in _sides(query, slots[0], setting, boxes) if asked_q is None else [asked_q]:
            for k in _sides(key, slots[1], setting, boxes) if asked_k is None else [asked_k]:
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


def _sides(extents: tuple[int, ...], slots: int, setting: Setting, boxes: Boxes) -> list[Tile]:
    """A stretch in row-major order, or boxes of about so many slots."""
    if len(extents) == 1:
        return [(slots,)]
    stretch: list[Tile] = [(slots,)]
    return [*boxes(extents, slots), *stretch] if setting.kernel.bricks else stretch


def _why(times: list[float], estimates: list[float]) -> str:
    tried = "than the next best of the shapes tried"
    if len(times) > 1:
        least, *others = sorted(times)
        return f"{others[0] / least:.2f}x faster {tried}, by simulated time"
    if len(estimates) > 1:
        return f"an estimated {estimates[1] / estimates[0]:.1f}x faster {tried}"
    return "the only shape that fits"


def read_tile(given: str | None, option: str, tokens: TokenSet, extents: tuple[int, ...]) -> Tile | None:
    """A tile shape that was asked for; None where none was.

    Raises:
        AttnError: the text is no list of sizes, or not one per axis.
    """
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
