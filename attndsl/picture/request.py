"""What a picture shall show: options as text, checked against the program and its sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

from attndsl.analysis.layout import Layout, balanced, make_layout, tile_count
from attndsl.analysis.predicate import Predicate
from attndsl.diagnostics import fail
from attndsl.ir.index import TRUE
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import TokenSet
from attndsl.picture.problems import (
    BadHead,
    BadQuery,
    BadTile,
    NoSuchAttend,
    NothingToShow,
    TooLargeToShow,
)
from attndsl.picture.tilemap import estimated_runs
from attndsl.planning.tiles import KEY_SLOTS, QUERY_SLOTS

MAX_TOKENS = 1 << 24
"""Tokens of a set that a picture can show."""
QUIET_LISTED, MAX_LISTED = 1 << 20, 1 << 22
"""Runs of full tiles and partial tiles of a tile map, at tile shapes chosen here and at ones asked for."""
LEAST_TILES, LEAST_SLOTS = 16, 4
"""Small sets get smaller tiles, so that there are so many, but no smaller than so many slots."""


@dataclass(frozen=True)
class Request:
    """The options of `attndsl show` that say what to draw, as given."""

    attend: str | None = None
    head: int | None = None
    query: str | None = None
    tile_q: str | None = None
    tile_k: str | None = None


def choose_attend(program: Program, name: str | None) -> Value:
    """The attend of that name; by default the last one that hides something, else the last one.

    Raises:
        AttnError: there is none.
    """
    attends = {value.name: value for value in program.attends}
    if not attends:
        raise fail(NothingToShow(program.name))
    if name is not None:
        if name not in attends:
            close = get_close_matches(name, attends, n=1, cutoff=0.6)
            known = ", ".join(f"`{known}`" for known in attends)
            remedy = f"did you mean `{close[0]}`?" if close else f"choose from {known}"
            raise fail(NoSuchAttend(name, remedy))
        return attends[name]
    hiding = [value for value in attends.values() if _attend(value).where is not TRUE]
    return (hiding or list(attends.values()))[-1]


def _attend(value: Value) -> Attend:
    match value.op:
        case Attend() as attend:
            return attend
        case _:
            raise AssertionError(value.name)


def check_tokens(tokens: TokenSet, extents: tuple[int, ...]) -> None:
    """Refuses sets whose tokens cannot be looked at one by one.

    Raises:
        AttnError: there are too many.
    """
    if prod(extents) > MAX_TOKENS:
        raise fail(TooLargeToShow(tokens.name, f"{prod(extents):,}", f"{MAX_TOKENS:,}"))


def check_head(head: int | None, heads: int) -> None:
    """Refuses a head that does not exist.

    Raises:
        AttnError: it is not below `heads`.
    """
    if head is not None and not 0 <= head < heads:
        raise fail(BadHead(head, heads - 1))


def read_query(given: str | None, tokens: TokenSet, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Coordinates of the query whose keys are shown; the middle of the set by default.

    Raises:
        AttnError: the text names no token of the set.
    """
    if given is None:
        return tuple(extent // 2 for extent in extents)
    remedy = _query_remedy(tokens, extents)
    if not re.fullmatch(r"\s*[0-9]{1,15}(\s*,\s*[0-9]{1,15})*\s*", given):
        raise fail(BadQuery(given, "it is not a list of coordinates", remedy))
    numbers = tuple(int(part) for part in given.split(","))
    if len(numbers) == 1 and len(extents) > 1:
        count = prod(extents)
        if numbers[0] >= count:
            raise fail(BadQuery(given, f"{tokens.name} has {count:,} tokens", remedy))
        return _unravel(numbers[0], extents)
    if len(numbers) != len(extents):
        raise fail(BadQuery(given, f"{tokens.name} has {len(extents)} axes, not {len(numbers)}", remedy))
    for axis, number, extent in zip(tokens.axis_names, numbers, extents):
        if number >= extent:
            raise fail(BadQuery(given, f"axis {axis} has {extent:,} tokens", remedy))
    return numbers


def _query_remedy(tokens: TokenSet, extents: tuple[int, ...]) -> str:
    last = ",".join(str(extent - 1) for extent in extents)
    first = ",".join("0" for _ in extents)
    names = ", ".join(tokens.axis_names)
    flat = f", or by its number, up to {prod(extents) - 1}" if len(extents) > 1 else ""
    return f"name a query by its ({names}), from {first} to {last}{flat}"


def _unravel(number: int, extents: tuple[int, ...]) -> tuple[int, ...]:
    coordinates: list[int] = []
    for extent in reversed(extents):
        number, rest = divmod(number, extent)
        coordinates.append(rest)
    return tuple(reversed(coordinates))


def choose_layouts(
    request: Request, sets: tuple[TokenSet, TokenSet], sizes: Mapping[str, int], predicate: Predicate
) -> tuple[Layout, Layout]:
    """The tiles of queries and keys: as asked for, else what the compiler prefers.

    Tiles that are not asked for are smaller on small sets, and larger where a list of all visited tiles
    would be too long.

    Raises:
        AttnError: a tile does not fit its token set, or the tiles asked for are too many.
    """
    extents = [tokens.extents(sizes) for tokens in sets]
    slots = [_default_slots(side, most) for side, most in zip(extents, (QUERY_SLOTS, KEY_SLOTS))]
    options = (("--tile-q", request.tile_q), ("--tile-k", request.tile_k))
    given = [
        None if text is None else _read_tile(option, text, tokens, side)
        for (option, text), tokens, side in zip(options, sets, extents)
    ]
    while True:
        query, key = (make_layout(e, tile or balanced(e, n)) for e, tile, n in zip(extents, given, slots))
        listed = estimated_runs(predicate, query, key)
        growing = [at for at in (0, 1) if given[at] is None and slots[at] < prod(extents[at])]
        most = QUIET_LISTED if growing else MAX_LISTED
        if max(listed, tile_count(query), tile_count(key)) <= most:
            return query, key
        if not growing:
            option, text = next((option, text) for option, text in options if text is not None)
            reason = f"about {listed:,} stretches of tiles would have to be listed"
            raise fail(BadTile(option, str(text), reason, "choose larger tiles"))
        slots[growing[0]] *= 2


def _default_slots(extents: tuple[int, ...], most: int) -> int:
    fitting = 1 << max(0, (prod(extents) // LEAST_TILES).bit_length() - 1)
    return min(most, max(LEAST_SLOTS, fitting))


def _read_tile(option: str, given: str, tokens: TokenSet, extents: tuple[int, ...]) -> tuple[int, ...]:
    example = "x".join("8" for _ in extents)
    several = f", or one size for stretches of {tokens.name} in row-major order" if len(extents) > 1 else ""
    remedy = f"give one size per axis of {tokens}, e.g. {option} {example}{several}"
    if not re.fullmatch(r"\s*[0-9]{1,12}(\s*x\s*[0-9]{1,12})*\s*", given):
        raise fail(BadTile(option, given, "it is not a list of sizes", remedy))
    sizes = tuple(int(part) for part in given.split("x"))
    if len(sizes) not in (1, len(extents)):
        raise fail(BadTile(option, given, f"{tokens.name} has {len(extents)} axes, not {len(sizes)}", remedy))
    if min(sizes) < 1:
        raise fail(BadTile(option, given, "a tile holds at least one token", remedy))
    limits = extents if len(sizes) == len(extents) else (prod(extents),)
    return tuple(min(size, limit) for size, limit in zip(sizes, limits))
