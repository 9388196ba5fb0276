"""Which key tiles a query tile visits, as runs of neighbouring tiles: full ones first, then partial ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attndsl_codegen.kernels.definition import query_extents
from attndsl_codegen.kernels.fields import Pyramid
from attndsl_codegen.kernels.masks import mask_classes
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import visible_tiles
from attndsl_codegen.kernels.tiles import Bricks
from attndsl_codegen.kernels.triton.label_order import LabelOrder, label_order
from attndsl_codegen.kernels.triton.labels import (
    MOST_PLANNED,
    Candidates,
    bytes_planned,
    planned_candidates,
    runs_of_labels,
    share_of_sizes,
)
from attndsl_codegen.kernels.triton.strides import for_any_size

MAX_SCHEDULES = 64
"""Schedules that are remembered."""
MOST_EVALUATED = 1 << 26
"""Pairs of tokens; up to so many, tiles that bounds leave open are evaluated, and empty ones dropped."""
LEAST_SORTED = 0.25
"""Tokens go by their labels where sizes alone let queries see at least this part of the keys."""


class Schedule(NamedTuple):
    """The runs of all tiles of one side.

    Attributes:
        rows: (batch | 1, heads | 1, tiles, 4): the first run and the number of tiles, of full tiles and of
            partial ones.
        runs: (runs + 1, 2), the first tile of the other side and the length; the last one is never visited.
        turns: (tiles,), the order in which tiles are computed: those that visit most come first, so that none
            of them is left alone at the end.
        order: the `LabelOrder` of the tokens that make up tiles; None where tiles are bricks.
    """

    rows: Tensor
    runs: Tensor
    turns: Tensor
    order: Any = None

    @property
    def layouts(self) -> tuple[bool | None, ...]:
        """Whether kernels read the order, for each launch; one of them works. None if there is none."""
        if self.order is None:
            return (None,)
        return (False, True) if self.order.axes == 1 else (True,)

    @property
    def visits(self) -> tuple[Any, ...]:
        """What kernels take of it; steps of batch elements and heads are zero where all share rows."""
        batches, heads, tiles, _ = self.rows.shape
        jumps = (heads * tiles if batches > 1 else 0), (tiles if heads > 1 else 0)
        return (self.rows, self.runs, self.turns, *for_any_size(*jumps))

    @property
    def orders(self) -> tuple[Any, ...] | None:
        """What kernels take of the order."""
        order = self.order
        return None if order is None else (order.query, order.key, order.as_is, for_any_size(*order.steps))


class KnownSchedule(NamedTuple):
    """What was made for sizes, and for fields of these values (copies)."""

    sizes: tuple[Any, ...]
    fields: tuple[Tensor, ...]
    made: Any


SCHEDULES: list[KnownSchedule] = []
"""What was used last comes first."""
CANDIDATES: list[KnownSchedule] = []
"""For masks that look up fields: what is known before these are. What was used last comes first."""


def cached_schedule(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    tiles: tuple[tuple[int, ...], tuple[int, ...]],
    shape: tuple[int, int],
    of_keys: bool,
) -> Schedule:
    """The schedule for these sizes; for masks that look up fields, made anew from their values.

    Args:
        tiles: the sides of query tiles and of key tiles.
        shape: batch size and query heads.
        of_keys: whether rows are key tiles, and runs are of query tiles.
    """
    if mechanism.mask_fields:
        return labelled_schedule(mechanism, at, tiles, shape, of_keys)
    sizes = ("schedule", mechanism, *numbers_of(at), tiles, shape[1], of_keys)

    def make() -> Schedule:
        made = make_schedule(mechanism, at, tiles, shape, of_keys)
        return Schedule(*(table.to(at["device"]) for table in made[:3]))

    found: Schedule = remembered(SCHEDULES, sizes, (), make)
    del SCHEDULES[MAX_SCHEDULES:]
    return found


def labelled_schedule(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    tiles: tuple[tuple[int, ...], tuple[int, ...]],
    shape: tuple[int, int],
    of_keys: bool,
) -> Schedule:
    """A schedule that device operations alone make of the fields; arguments as of `cached_schedule`."""
    layers = layers_of(mechanism, shape)
    extents = tuple(at[name].extents for name in mechanism.mask_fields)
    by_head = orders_by_head(mechanism, at)
    sizes = ("candidates", mechanism, *numbers_of(at), tiles, layers, extents, by_head, of_keys)

    def make() -> Candidates:
        sides = bricks(mechanism, at, tiles)
        ordered = mechanism.same_labels is not None and goes_by_labels(mechanism, at, sides, shape)
        if ordered:
            sides = tiles_in_order(sides[0]), tiles_in_order(sides[1])
        return planned_candidates(mechanism, at, sides, layers, of_keys, ordered)

    candidates: Candidates = remembered(CANDIDATES, sizes, (), make)
    bytes_so_far = itertools.accumulate(bytes_planned(known.made) for known in CANDIDATES)
    del CANDIDATES[max(1, sum(total <= MOST_PLANNED for total in bytes_so_far)) :]
    with torch.no_grad():
        order = known_order(mechanism, at) if candidates.ordered else None
        rows, runs = runs_of_labels(mechanism, at, candidates, layers[0], order)
        return Schedule(rows, runs, heaviest_first(rows), order)


def heaviest_first(rows: Tensor) -> Tensor:
    """`turns` of a schedule: by what all batch elements and heads visit together; ties as they come."""
    visited = (rows[..., 1] + rows[..., 3]).sum((0, 1))
    return visited.argsort(stable=True, descending=True).int()


def orders_by_head(mechanism: type[Mechanism], at: dict[str, Any]) -> bool:
    """Whether heads have labels of their own."""
    return mechanism.same_labels is not None and any(at[n].data.shape[1] > 1 for n in mechanism.same_labels)


def goes_by_labels(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[Bricks, Bricks], shape: tuple[int, int]
) -> bool:
    """Whether tiles are to be of tokens in the order of their labels; sizes decide, labels are not known.

    Kernels that read key heads for several query heads have one order of keys for all of these.
    """
    if "offset" in at or any(side.residues for side in tiles):
        return False
    if orders_by_head(mechanism, at) and at.get("key heads", shape[1]) != shape[1]:
        return False
    return share_of_sizes(mechanism, at, tiles, layers_of(mechanism, shape)[1]) >= LEAST_SORTED


def tiles_in_order(side: Bricks) -> Bricks:
    """As many tokens to a tile, one after the other."""
    return Bricks((math.prod(side.extents),), (side.slots,), clipped=False)


def known_order(mechanism: type[Mechanism], at: dict[str, Any]) -> LabelOrder:
    """The order of the tokens of a call: all of its launches have the same."""
    known: dict[Any, Any] = at.setdefault("schedules", {})
    if "order" not in known:
        known["order"] = label_order(mechanism, at)
    found: LabelOrder = known["order"]
    return found


def numbers_of(at: dict[str, Any]) -> tuple[Any, ...]:
    """What plans depend on: the device, and sizes by name."""
    return at["device"], tuple(sorted((name, value) for name, value in at.items() if isinstance(value, int)))


def remembered(
    known: list[KnownSchedule], sizes: tuple[Any, ...], fields: tuple[Tensor, ...], make: Callable[[], Any]
) -> Any:
    """What `make` gives; made once for equal sizes and equal values of the fields. It moves to the front."""
    sizes = (*sizes, tuple((field.shape, field.dtype) for field in fields))
    matches = (s for s in known if s.sizes == sizes and all(map(torch.equal, s.fields, fields)))
    found = next(matches, None)
    if found is None:
        with torch.inference_mode(False), torch.no_grad():
            found = KnownSchedule(sizes, tuple(field.clone() for field in fields), make())
    known[:] = [found, *(other for other in known if other is not found)]
    return found.made


def make_schedule(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    tiles: tuple[tuple[int, ...], tuple[int, ...]],
    shape: tuple[int, int],
    of_keys: bool,
) -> Schedule:
    """Plans on the CPU from the bounds of the mask; arguments as of `cached_schedule`."""
    query, key = bricks(mechanism, at, tiles)
    batches, heads = layers_of(mechanism, shape)
    pairs, full = visited_pairs(mechanism, at, (query, key), shape)
    count = (key if of_keys else query).count
    owner, other = (3, 2) if of_keys else (2, 3)
    row = (pairs[:, 0] * heads + pairs[:, 1]) * count + pairs[:, owner]
    rows, runs = run_lengths(2 * row + (~full).long(), pairs[:, other], 2 * batches * heads * count)
    rows = rows.view(batches, heads, count, 4)
    return Schedule(rows, runs, heaviest_first(rows))


def bricks(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[Bricks, Bricks]:
    """The tiles of queries and of keys, as kernels number them."""
    query, key = tiles
    if mechanism.query_steps:
        query, key = with_phases(query, mechanism.query_steps), with_phases(key, mechanism.key_steps)
    extents, offset = query_extents(mechanism, at), at.get("offset", 0)
    return (
        Bricks(extents, query, mechanism.query_steps, offset, clipped=False),
        Bricks(mechanism.key.extents(at), key, mechanism.key_steps, clipped=False),
    )


def with_phases(tile: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, ...]:
    """The sides of a tile as `Bricks` takes them: an axis of residue classes has two, phases and rounds."""
    return tuple(n for side, step in zip(tile, steps) for n in ([side] if step == 1 else [1, side]))


def layers_of(mechanism: type[Mechanism], shape: tuple[int, int]) -> tuple[int, int]:
    """How many batch elements and heads have a plan of their own."""
    return shape[0] if mechanism.varies_by_batch else 1, shape[1] if mechanism.varies_by_head else 1


def visited_pairs(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[Bricks, Bricks], shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Pairs of tiles as rows (batch element, head, query tile, key tile), and which of them are full."""
    query, key = tiles
    layers = torch.cartesian_prod(*(torch.arange(count) for count in layers_of(mechanism, shape)))
    pyramids = {name: Pyramid(at[name].data) for name in mechanism.mask_fields}
    pairs, full = visible_tiles(mechanism, query, key, layers, {**at, **pyramids})
    if int((~full).sum()) * query.slots * key.slots <= MOST_EVALUATED:
        classes, _ = mask_classes(mechanism, (query, key), pairs, full, at)
        pairs, full = pairs[classes >= 0], (classes == 0)[classes >= 0]
    return pairs, full


def run_lengths(rows: Tensor, tiles: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Tiles of every row as runs: per row its first run and its number of tiles, and the runs.

    Args:
        rows, tiles: the row of every visited tile and its number, in any order.
        count: the number of rows.
    """
    order = (rows * (int(tiles.max()) + 1 if len(tiles) else 1) + tiles).argsort()
    rows, tiles = rows[order], tiles[order]
    starts = torch.ones(len(rows), dtype=torch.bool)
    starts[1:] = (rows.diff() != 0) | (tiles.diff() != 1)
    first = starts.nonzero().flatten()
    lengths = torch.cat([first, torch.tensor([len(rows)])]).diff()
    runs = torch.stack([tiles[first], lengths], -1)
    runs_of_row = torch.bincount(rows[first], minlength=count)
    table = torch.stack([runs_of_row.cumsum(0) - runs_of_row, torch.bincount(rows, minlength=count)], -1)
    return table.int(), torch.cat([runs, torch.ones(1, 2, dtype=runs.dtype)]).int()
