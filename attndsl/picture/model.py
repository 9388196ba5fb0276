"""What a picture shows, apart from how it is drawn: masks per class of heads, tiles, one query's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import HeadPredicate, head_classes
from attndsl.analysis.layout import Layout
from attndsl.analysis.predicate import Predicate
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.ir.tokens import TokenSet
from attndsl.ir.walk import fields as field_names
from attndsl.picture.elements import CELLS, EXACT_PAIRS, Elements, count_elements
from attndsl.picture.request import (
    Request,
    check_head,
    check_tokens,
    choose_attend,
    choose_layouts,
    read_query,
)
from attndsl.picture.tilemap import TileMap, map_tiles
from attndsl.planning.plan import sample_fields
from attndsl.planning.sizes import completed

CHUNK = 1 << 20
"""Keys looked at together."""
COMPARED_PAIRS = 4 * EXACT_PAIRS
"""Pairs, over all classes of heads, up to which masks are compared element by element."""


@dataclass(frozen=True)
class Grid:
    """A token set at concrete sizes."""

    name: str
    axes: tuple[str, ...]
    extents: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of tokens."""
        return prod(self.extents)


@dataclass(frozen=True)
class QueryKeys:
    """The keys that one query sees.

    Attributes:
        query: its coordinates.
        visible: booleans, shape = the key set's extents.
    """

    query: tuple[int, ...]
    visible: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """How many keys there are."""
        return int(self.visible.sum())


@dataclass(frozen=True)
class HeadPicture:
    """Heads that see the same mask; its parts are computed when they are first looked at."""

    heads: tuple[int, ...]
    predicate: Predicate
    layouts: tuple[Layout, Layout]
    query: tuple[int, ...]

    @cached_property
    def elements(self) -> Elements:
        """The mask, pair by pair or as shares per cell."""
        return self.elements_in(CELLS)

    def elements_in(self, cells: int) -> Elements:
        """The mask, as shares in so many cells on a side if it is too large for a cell per pair."""
        return count_elements(self.predicate, cells)

    @cached_property
    def tiles(self) -> TileMap:
        """The tiles, with exact counts."""
        return map_tiles(self.predicate, *self.layouts)

    @cached_property
    def keys(self) -> QueryKeys:
        """The keys of the query, looked at one by one."""
        extents = tuple(extent for _, extent in self.predicate.key)
        visible = np.empty(prod(extents), dtype=bool)
        here = np.array([self.query], dtype=np.int64)
        for start in range(0, len(visible), CHUNK):
            tokens = np.arange(start, min(start + CHUNK, len(visible)))
            points = np.stack(np.unravel_index(tokens, extents), -1).astype(np.int64)
            visible[tokens] = self.predicate.points(here, points)[0]
        return QueryKeys(self.query, visible.reshape(extents))


@dataclass(frozen=True)
class MaskPicture:
    """A picture of one attend at concrete sizes.

    Attributes:
        attention, parameters: the spec's name and the parameters in force.
        attend: the attend shown; `others` are the program's other ones.
        query_set, key_set: the token sets; equal if the queries are among the keys.
        classes: one per different mask, in order of their first head.
        heads: the number of heads.
        sampled: names of run-time labels, which have sample values here.
    """

    attention: str
    parameters: Mapping[str, Any]
    attend: str
    others: tuple[str, ...]
    query_set: Grid
    key_set: Grid
    classes: tuple[HeadPicture, ...]
    heads: int
    sampled: tuple[str, ...]
    shape: Mapping[str, Mapping[str, int]]


def make_picture(program: Program, sizes: Mapping[str, int], request: Request | None = None) -> MaskPicture:
    """The picture of an attend.

    Args:
        sizes: values of the symbols, and `heads`.

    Raises:
        AttnError: the request does not fit the program.
    """
    request = request or Request()
    sizes = completed(program, sizes)
    value = choose_attend(program, request.attend)
    attend = value.op
    assert isinstance(attend, Attend)
    heads = sizes.get("heads", 1)
    check_head(request.head, heads)
    sets = attend.query_tokens, attend.key_tokens
    for tokens in sets:
        check_tokens(tokens, tokens.extents(sizes))
    query = read_query(request.query, sets[0], sets[0].extents(sizes))
    sampled = tuple(sorted(field_names(attend.where)))
    fields = sample_fields(program, sizes, heads=heads) if sampled else {}
    found = head_classes(attend, {**sizes, "heads": heads}, fields)
    members = _first_batch(found)
    layouts = choose_layouts(request, sets, sizes, members[0].predicate)
    classes = _different([HeadPicture(m.heads, m.predicate, layouts, query) for m in members])
    if request.head is not None:
        classes = [picture for picture in classes if request.head in picture.heads]
    return MaskPicture(
        attention=program.name,
        parameters=program.parameters,
        attend=value.name,
        others=tuple(other.name for other in program.attends if other.name != value.name),
        query_set=_grid(sets[0], sizes),
        key_set=_grid(sets[1], sizes),
        classes=tuple(classes),
        heads=heads,
        sampled=sampled,
        shape={t.name: dict(zip(t.axis_names, t.extents(sizes))) for t in program.token_sets},
    )


def _grid(tokens: TokenSet, sizes: Mapping[str, int]) -> Grid:
    return Grid(tokens.name, tokens.axis_names, tokens.extents(sizes))


def _first_batch(found: list[HeadPredicate]) -> list[HeadPredicate]:
    return [members for members in found if members.batch in (None, 0)]


def _different(pictures: list[HeadPicture]) -> list[HeadPicture]:
    """Joins classes whose masks turn out to be equal although their conditions are not."""
    pairs = [prod(extent for _, extent in (*p.predicate.query, *p.predicate.key)) for p in pictures]
    if len(pictures) == 1 or sum(pairs) > COMPARED_PAIRS or not all(p.elements.exact for p in pictures):
        return pictures
    joined: dict[bytes, list[HeadPicture]] = {}
    for picture in pictures:
        joined.setdefault(picture.elements.visible.astype(bool).tobytes(), []).append(picture)
    result: list[HeadPicture] = []
    for group in joined.values():
        heads = tuple(sorted(head for picture in group for head in picture.heads))
        merged = HeadPicture(heads, group[0].predicate, group[0].layouts, group[0].query)
        merged.__dict__["elements"] = group[0].elements
        result.append(merged)
    return sorted(result, key=lambda picture: picture.heads[0])
