"""Schedules for masks that look up fields, made on the device: the host never waits for a value.

Planned once for sizes, on the CPU, are the *candidates*: pairs of tiles that may meet whatever fields hold.
When fields are at hand, their extremes over tiles decide which candidates are visited, and which of those are
full, and prefix sums number their runs. The table of runs has room for as many as there are candidates, so
its size is known without a look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiles import Bricks
from attndsl_codegen.kernels.triton.label_order import LabelOrder, OrderedRange, OrderedSide
from attndsl_codegen.kernels.triton.label_ranges import LabelRange, Levels, levels_of

MOST_CANDIDATES = 1 << 22
"""Candidates over batch elements and heads: 90 MB that stay, 300 MB for a moment, tables of runs of 32 MB.

Where there would be more, beyond some 200,000 tokens, neighbouring tiles are visited together or not at all.
"""
DECIDED = 1 << 20
"""Candidates whose bounds are evaluated at a time: some 100 bytes each."""
MOST_BOXES = 64
"""So many boxes of queries, and of keys, tell how much a mask leaves without its fields."""
MOST_PLANNED = 1 << 29
"""Bytes of candidates that are kept for later calls."""


class Candidates(NamedTuple):
    """Pairs of tiles in the order of heads, of rows, and of the tiles that a row visits.

    Attributes:
        query, key: bricks by which pairs are numbered. Those that rows visit are tiles, or units of several.
        head, query_tile, key_tile: (pairs,), int32.
        first, behind: the first tile that a pair visits and the one behind its last, (pairs,), int32.
        follows: whether a pair goes on where the one before it in its row ends, (pairs,).
        ragged: whether some slots of the keys may hold no token, (pairs,).
        begins: where the pairs of each row begin, and the number of pairs, (heads * rows + 1,).
        heads: how many heads have pairs of their own.
        levels: of the fields, by name.
        ordered: whether tiles are of tokens in the order of their labels.
    """

    query: Bricks
    key: Bricks
    head: Tensor
    query_tile: Tensor
    key_tile: Tensor
    first: Tensor
    behind: Tensor
    follows: Tensor
    ragged: Tensor
    begins: Tensor
    heads: int
    levels: dict[str, Tensor]
    ordered: bool


def planned_candidates(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    tiles: tuple[Bricks, Bricks],
    layers: tuple[int, int],
    of_keys: bool,
    ordered: bool = False,
) -> Candidates:
    """The candidates, on the device of the call.

    Args:
        tiles: of queries and of keys.
        layers: how many batch elements and heads have a schedule of their own.
        of_keys: whether rows are key tiles, which visit query tiles.
        ordered: whether tiles are of tokens in the order of their labels: any of them may meet.
    """
    owner, other = tiles[::-1] if of_keys else tiles
    batches, heads = layers

    def pairs_of(units: Bricks) -> Tensor:
        both = (units, owner) if of_keys else (owner, units)
        return every_pair(both, heads) if ordered else possible_pairs(mechanism, at, both, heads)

    together, units = 1, other
    while units.count > 1 and batches * heads * owner.count * units.count > MOST_CANDIDATES:
        together *= 2
        units = united(other, together)
    pairs = pairs_of(units)
    while together > 1 and 2 * batches * len(pairs) <= MOST_CANDIDATES:  # finer, where many are hidden
        together //= 2
        units = united(other, together)
        pairs = pairs_of(units)
    return arranged(mechanism, at, tiles, (units, pairs), heads, of_keys)._replace(ordered=ordered)


def every_pair(tiles: tuple[Bricks, Bricks], heads: int) -> Tensor:
    """All pairs of tiles, as rows (head, query tile, key tile)."""
    return torch.cartesian_prod(*(torch.arange(count) for count in (heads, tiles[0].count, tiles[1].count)))


def share_of_sizes(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[Bricks, Bricks], heads: int
) -> float:
    """Which part of all pairs may be visible, whatever fields hold; by boxes of a few tiles."""
    query, key = (united(side, -(-side.count // MOST_BOXES)) for side in tiles)
    return len(possible_pairs(mechanism, at, (query, key), heads)) / (heads * query.count * key.count)


def united(bricks: Bricks, count: int) -> Bricks:
    """Bricks of up to so many tiles whose numbers follow each other."""
    sides = list(bricks.tile)
    for side in reversed(range(len(sides))):
        taken = min(count, bricks.grid[side])
        sides[side] *= taken
        count = count // taken if taken == bricks.grid[side] else 1
    return Bricks(bricks.extents, tuple(sides), bricks.residues, bricks.offset, clipped=False)


def possible_pairs(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[Bricks, Bricks], heads: int
) -> Tensor:
    """Pairs of tiles that fields may let meet, as rows (head, query tile, key tile), in no order.

    As in `visible_tiles`, ranges of tiles are halved along their longer side until they are single tiles.
    """
    query, key = tiles
    axes = len(query.grid)
    sizes = torch.tensor(query.tile + key.tile)
    last = torch.tensor(query.grid + key.grid) - 1
    head, lo, hi = torch.arange(heads), last.new_zeros(heads, len(last)), last.expand(heads, -1)
    found = [torch.empty(0, 3, dtype=torch.long)]
    while len(head):
        boxes = query.box(lo[:, :axes], hi[:, :axes]) + key.box(lo[:, axes:], hi[:, axes:])
        may = torch.as_tensor(mechanism.possible(*boxes, {**at, "head": head})).expand(len(head))
        head, lo, hi = head[may], lo[may], hi[may]
        single = (lo == hi).all(-1)
        places = lo[single]
        numbers = numbered_places(query, places[:, :axes]), numbered_places(key, places[:, axes:])
        found.append(torch.stack([head[single], *numbers], -1))
        head, lo, hi = head[~single], lo[~single], hi[~single]
        axis = torch.where(hi > lo, (hi - lo + 1) * sizes, -1).argmax(-1, keepdim=True)
        middle = (lo.gather(1, axis) + hi.gather(1, axis)) // 2
        head = torch.cat([head, head])
        lo, hi = (
            torch.cat([lo, lo.scatter(1, axis, middle + 1)]),
            torch.cat([hi.scatter(1, axis, middle), hi]),
        )
    return torch.cat(found)


def numbered_places(bricks: Bricks, places: Tensor) -> Tensor:
    """The numbers of tiles at places in the grid, (tiles, sides)."""
    number = torch.zeros_like(places[:, 0])
    for side, count in enumerate(bricks.grid):
        number = number * count + places[:, side]
    return number


def tile_places(bricks: Bricks, number: Tensor) -> Tensor:
    """Where tiles of these numbers lie in the grid, (tiles, sides)."""
    places: list[Tensor] = []
    for count in reversed(bricks.grid[1:]):
        places.insert(0, number % count)
        number = number // count
    return torch.stack([number, *places], -1)


def arranged(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    tiles: tuple[Bricks, Bricks],
    found: tuple[Bricks, Tensor],
    heads: int,
    of_keys: bool,
) -> Candidates:
    """Candidates from the units that rows visit, and pairs of tiles with them in no order."""
    (units, pairs), device = found, at["device"]
    (query, key), (owner, other) = tiles, tiles[::-1] if of_keys else tiles
    mine, its = (2, 1) if of_keys else (1, 2)
    row = pairs[:, 0] * owner.count + pairs[:, mine]
    order = (row * units.count + pairs[:, its]).argsort()
    row, pairs = row[order], pairs[order]
    first, behind = tiles_of_units(units, other, pairs[:, its])
    follows = torch.zeros(len(pairs), dtype=torch.bool)
    follows[1:] = (row.diff() == 0) & (first[1:] == behind[:-1])
    query, key = (units, key) if of_keys else (query, units)
    border = tile_places(key, pairs[:, 2]) == torch.tensor(key.grid) - 1
    begins = torch.searchsorted(row, torch.arange(heads * owner.count + 1))
    head, query_tile, key_tile, first, behind = (
        column.int().to(device) for column in (*pairs.unbind(-1), first, behind)
    )
    return Candidates(
        *(query, key, head, query_tile, key_tile, first, behind, follows.to(device)),
        ragged=(border & key.ragged).any(-1).to(device),
        begins=begins.to(device),
        heads=heads,
        levels={name: levels_of(at[name].extents, device) for name in mechanism.mask_fields},
        ordered=False,
    )


def tiles_of_units(units: Bricks, tiles: Bricks, number: Tensor) -> tuple[Tensor, Tensor]:
    """The first tile of units and the one behind their last."""
    taken = torch.tensor([whole // part for whole, part in zip(units.tile, tiles.tile)])
    first = tile_places(units, number) * taken
    last = torch.minimum(first + taken, torch.tensor(tiles.grid)) - 1
    return numbered_places(tiles, first), numbered_places(tiles, last) + 1


def bytes_planned(candidates: Candidates) -> int:
    """The memory that candidates take."""
    return sum(part.numel() * part.element_size() for part in candidates if isinstance(part, Tensor))


def runs_of_labels(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    candidates: Candidates,
    batches: int,
    order: LabelOrder | None = None,
) -> tuple[Tensor, Tensor]:
    """The tables of a `Schedule` for the fields of a call; nothing here depends on how many tiles they admit.

    Args:
        batches: how many batch elements have rows of their own.
        order: of the tokens, where candidates are of tokens in the order of their labels.
    """
    count, device = len(candidates.first), candidates.first.device
    chosen = decided(mechanism, at, candidates, batches, bounding(mechanism, at, candidates, order))
    most = batches * count  # as many runs, if none joins another; behind them, what begins or ends none
    starts = chosen & ~(candidates.follows & chosen.roll(1, 2))
    stops = chosen & ~(chosen & candidates.follows).roll(-1, 2)  # the first one follows none
    begun = functional.pad(starts.flatten().cumsum(0), (1, 0))  # before each candidate, full ones first
    ends = torch.zeros(2, most + 1, dtype=torch.int32, device=device)
    for side, here, tile in ((0, starts, candidates.first), (1, stops, candidates.behind)):
        place = torch.where(here.flatten(), begun[1:] - 1, most)
        ends[side].scatter_(0, place, tile.expand(2, batches, -1).flatten())
    visits = functional.pad((chosen * (candidates.behind - candidates.first)).flatten().cumsum(0), (1, 0))
    edges = candidates.begins + torch.arange(2 * batches, device=device).view(2, batches, 1) * count
    tiles = visits[edges].diff(dim=2)
    rows = torch.stack([begun[edges[:, :, :-1]], tiles], -1).int().permute(1, 2, 0, 3).flatten(2)
    runs = torch.stack([ends[0], ends[1] - ends[0]], -1)
    return rows.unflatten(1, (candidates.heads, -1)).contiguous(), runs


Bounding = Callable[[slice], tuple[list[Any], dict[str, Any]]]
"""Of some of the candidates the boxes of queries and of keys, and the ranges of the fields by name."""


def decided(
    mechanism: type[Mechanism], at: dict[str, Any], candidates: Candidates, batches: int, bounds_of: Bounding
) -> Tensor:
    """Which candidates are full, and which are partial, (2, batches, pairs)."""
    count = len(candidates.first)
    size = max(1, DECIDED // batches)
    found: list[Tensor] = []
    for start in range(0, max(1, count), size):
        part = slice(start, start + size)
        head, ragged = candidates.head[part].long(), candidates.ragged[part]
        boxes, ranges = bounds_of(part)
        must, may = mechanism.bounds(*boxes, {**at, **ranges, "head": head})
        every = torch.ones(batches, len(head), dtype=torch.bool, device=head.device)
        full = every & must & ~ragged  # empty slots need a mask
        found.append(torch.stack([full, every & may & ~full]))
    return torch.cat(found, 2)


def bounding(
    mechanism: type[Mechanism], at: dict[str, Any], candidates: Candidates, order: LabelOrder | None
) -> Bounding:
    """Boxes and ranges of tiles where tokens are, or of tiles of tokens in their order."""
    if order is not None:
        return in_order(mechanism, at, candidates, order)
    fields = {name: Levels(at[name].data, candidates.levels[name]) for name in mechanism.mask_fields}

    def bounds_of(part: slice) -> tuple[list[Any], dict[str, Any]]:
        head = candidates.head[part].long()
        query = tile_places(candidates.query, candidates.query_tile[part].long())
        key = tile_places(candidates.key, candidates.key_tile[part].long())
        boxes = candidates.query.box(query, query) + candidates.key.box(key, key)
        return boxes, {name: LabelRange(levels, head) for name, levels in fields.items()}

    return bounds_of


def in_order(
    mechanism: type[Mechanism], at: dict[str, Any], candidates: Candidates, order: LabelOrder
) -> Bounding:
    """As `bounding`, of tiles of tokens in the order of their labels."""
    query = OrderedSide(order.query, candidates.query, mechanism.query.extents(at))
    key = OrderedSide(order.key, candidates.key, mechanism.key.extents(at))

    def bounds_of(part: slice) -> tuple[list[Any], dict[str, Any]]:
        head = candidates.head[part].long()
        tiles = candidates.query_tile[part].long(), candidates.key_tile[part].long()
        sides = [(side, tile, side.boxes(tile, head)) for side, tile in zip((query, key), tiles)]
        ranges = {
            name: OrderedRange(at[name].data, candidates.levels[name], tuple(sides), head)
            for name in mechanism.mask_fields
        }
        return [*sides[0][2], *sides[1][2]], ranges

    return bounds_of
