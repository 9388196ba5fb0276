"""Gradients of the fields that bias, score and factor look up: launches of the kernel, and their sums."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attndsl_codegen.kernels.fields import Field, FieldAt
from attndsl_codegen.kernels.masks import EVALUATED, tile_masks
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiles import Bricks
from attndsl_codegen.kernels.triton.labels import possible_pairs
from attndsl_codegen.kernels.triton.launch import Call
from attndsl_codegen.kernels.triton.lookup_gradient import softmax_lookup_gradient_kernel
from attndsl_codegen.kernels.triton.schedule import (
    KnownSchedule,
    bricks,
    layers_of,
    numbers_of,
    remembered,
    visited_pairs,
)
from attndsl_codegen.kernels.triton.strides import for_any_size, row_steps
from attndsl_codegen.kernels.triton.sums import summation_tables, sums_by_entry, sums_by_table

MOST_SENT = 1 << 26
"""Numbers to be summed, 256 MB of positions; with more, gradients of fields are left to torch."""
SENT_AT_A_TIME = 1 << 24
"""Numbers that a launch writes, 64 MB."""


MOST_REMEMBERED = 1 << 30
"""Bytes of tables that are kept for later calls."""
PORTIONS: list[KnownSchedule] = []
"""What was planned; what was used last comes first."""


class Portion(NamedTuple):
    """Pairs of tiles of one launch, (pairs, 4), and how numbers are added up afterwards.

    Attributes:
        tables: what to add up, where that is known beforehand.
        places: coordinates of queries and keys, where labels decide what belongs together.
    """

    pairs: Tensor
    tables: list[Tensor]
    places: list[Tensor]


class Planned(NamedTuple):
    """The launches of a look-up.

    Attributes:
        looked: whether they depend on the values of labels; else they serve any labels.
    """

    parts: list[Portion]
    looked: bool


class Lookup(NamedTuple):
    """One look-up of a real field in a bias, a score or a factor of weights.

    Attributes:
        field: its name.
        entry: coordinates in the field, of coordinates of query and key: entry(*coordinates, at).
        slope: how the shaped score, or the factor, changes with what is looked up; None if by as much.
        by_query, by_key: whether the entry depends on the query, and on the key.
        varies: whether it depends on batch element or head.
        reads: the fields that the entry depends on.
        of_factor: whether it is the factor that looks it up.
    """

    field: str
    entry: Any
    slope: Any
    by_query: bool
    by_key: bool
    varies: bool
    reads: tuple[str, ...] = ()
    of_factor: bool = False

    def planned(self, call: Call) -> Planned | None:
        """The launches, planned once for sizes and masks; None if they would take too much memory.

        Labels are not looked at, and so nothing waits for the device, unless the pairs that only they hide
        are too many.
        """
        chosen, shape = call.settings("lookup gradient"), (call.q.shape[0], call.q.shape[1])
        data, mechanism = call.at[self.field].data, call.mechanism
        sizes = (self, mechanism, *numbers_of(call.at), call.tiles(chosen), shape, data.shape)
        names = sorted({*mechanism.mask_fields, *self.reads})
        found: Planned | None = None
        if names:
            found = remembered(PORTIONS, (*sizes, "any labels"), (), lambda: launches(self, call, False))
        if found is None:
            fields = tuple(call.at[name].data for name in names)
            found = remembered(PORTIONS, sizes, fields, lambda: launches(self, call, True))
        sizes_so_far = itertools.accumulate(bytes_of(known.made) for known in PORTIONS)
        del PORTIONS[max(1, sum(size <= MOST_REMEMBERED for size in sizes_so_far)) :]
        return found

    def gradient(self, call: Call, grad_out: Tensor, lse: Tensor, delta: Tensor) -> Tensor:
        """What this look-up adds to the gradient of its field, in float32 and of the field's shape."""
        planned = self.planned(call)
        assert planned is not None
        own = own_pairs(self, call.mechanism, planned.looked)
        layers, bins = layers_sent(self, call, own), bins_of(self, call, own)
        total = torch.zeros(*layers, bins.numel(), dtype=torch.float32, device=call.q.device)
        for part in planned.parts:
            sent = sent_by_pairs(self, call, part, own, (grad_out, lse, delta))
            if part.places:
                total += sums_by_entry(sent, entries_read(self, call, part, bins), bins.numel()).view(
                    total.shape
                )
            else:
                total += sums_by_table(sent, part.tables).view(total.shape)
        data = call.at[self.field].data
        found = total.view(*layers, *bins).transpose(1, 2)
        if data.shape[1] == 1:
            found = found.sum(2, keepdim=True)
        return found.reshape(data.shape)


def bytes_of(planned: Planned | None) -> int:
    """The memory that tables take."""
    parts = planned.parts if planned is not None else []
    return sum(t.numel() * t.element_size() for part in parts for t in (*part.tables, *part.places))


def own_pairs(lookup: Lookup, mechanism: type[Mechanism], looked: bool) -> tuple[bool, bool]:
    """Whether each batch element, and each head, has pairs of tiles of its own."""
    by_labels = looked and mechanism.varies_by_batch
    return by_labels or lookup.varies, mechanism.varies_by_head or lookup.varies


def layers_sent(lookup: Lookup, call: Call, own: tuple[bool, bool]) -> tuple[int, int]:
    """How many batch elements and heads share a pair of tiles, but have numbers of their own."""
    return 1 if own[0] else call.at[lookup.field].data.shape[0], 1 if own[1] else call.q.shape[1]


def bins_of(lookup: Lookup, call: Call, own: tuple[bool, bool]) -> torch.Size:
    """What pairs of tiles send to: the field's batch elements and heads (1 if layers hold them), entries."""
    batches, heads, *extents = call.at[lookup.field].data.shape
    return torch.Size((batches if own[0] else 1, heads if own[1] else 1, math.prod(extents)))


def launches(lookup: Lookup, call: Call, looked: bool) -> Planned | None:
    """The visited pairs of tiles in portions; see `Lookup.planned`.

    Args:
        looked: whether labels may be looked at; else all pairs are visited that some labels would show.
    """
    chosen, mechanism, device = call.settings("lookup gradient"), call.mechanism, call.q.device
    tiles, shape = bricks(mechanism, call.at, call.tiles(chosen)), (call.q.shape[0], call.q.shape[1])
    own, room = own_pairs(lookup, mechanism, looked), numbers_of_pair(lookup, tiles)
    if looked or not mechanism.mask_fields:
        pairs, _ = visited_pairs(mechanism, call.at, tiles, shape)
    else:
        pairs = functional.pad(
            possible_pairs(mechanism, call.at, tiles, layers_of(mechanism, shape)[1]), (1, 0)
        )
    if own[0] and not (looked and mechanism.varies_by_batch):
        pairs = one_each(pairs, 0, shape[0])
    if own[1] and not mechanism.varies_by_head:
        pairs = one_each(pairs, 1, shape[1])
    if len(pairs) * room > MOST_SENT:
        return None
    bins, layers = bins_of(lookup, call, own), math.prod(layers_sent(lookup, call, own))
    found: list[Portion] = []
    for part in pairs.split(max(1, SENT_AT_A_TIME // (layers * room))):
        tables: list[Tensor] = []
        places: list[Tensor] = []
        if lookup.reads and not looked:
            places = [place.to(device) for place in places_of(lookup, tiles, part)]
        else:
            few = part.split(max(1, EVALUATED // room))
            entries = torch.cat([entries_of(lookup, call, tiles, some, looked) for some in few])
            tables = [table.to(device) for table in summation_tables(entries, bins.numel())]
        found.append(Portion(part.int().contiguous().to(device), tables, places))
    return Planned(found, looked)


def one_each(pairs: Tensor, column: int, count: int) -> Tensor:
    """Pairs that all share, once for each batch element (column 0) or head (column 1)."""
    pairs = pairs.repeat(count, 1)
    pairs[:, column] = torch.arange(count).repeat_interleave(len(pairs) // count)
    return pairs


def numbers_of_pair(lookup: Lookup, tiles: tuple[Bricks, Bricks]) -> int:
    """How many numbers a pair of tiles sends."""
    query, key = tiles
    return (query.slots if lookup.by_query else 1) * (key.slots if lookup.by_key else 1)


def places_of(lookup: Lookup, tiles: tuple[Bricks, Bricks], pairs: Tensor) -> list[Tensor]:
    """Coordinates of queries (pairs, queries or 1, 1) and of keys (pairs, 1, keys or 1) of pairs of tiles."""
    i, j = (side.coordinates(pairs[:, column])[0] for side, column in zip(tiles, (2, 3)))
    i = [coord.unsqueeze(-1) if lookup.by_query else coord[:, :1].unsqueeze(-1) for coord in i]
    j = [coord.unsqueeze(-2) if lookup.by_key else coord[:, :1].unsqueeze(-2) for coord in j]
    return [*i, *j]


def numbers_at(lookup: Lookup, call: Call, pairs: Tensor, places: list[Tensor], bins: torch.Size) -> Tensor:
    """Which number of the field each number that pairs of tiles send belongs to, (pairs, queries, keys)."""
    batch, head = (pairs[:, side].view(-1, 1, 1).long() for side in (0, 1))
    at = {**call.at, **{name: FieldAt(call.at[name], batch, head) for name in lookup.reads}, "head": head}
    extents = call.at[lookup.field].data.shape
    number = Field(torch.empty(extents, device=pairs.device)).number(*lookup.entry(*places, at))
    batches, heads, entries = bins
    return number + (batch.clamp(max=batches - 1) * heads + head.clamp(max=heads - 1)) * entries


def entries_of(
    lookup: Lookup, call: Call, tiles: tuple[Bricks, Bricks], pairs: Tensor, looked: bool
) -> Tensor:
    """The same, where labels are known or do not matter; -1 for pairs that are known to be hidden."""
    places = places_of(lookup, tiles, pairs)
    own = own_pairs(lookup, call.mechanism, looked)
    number = numbers_at(lookup, call, pairs, places, bins_of(lookup, call, own))
    number = number.expand(len(pairs), places[0].shape[1], places[-1].shape[2])
    if lookup.by_query and lookup.by_key and (looked or not call.mechanism.mask_fields):
        number = torch.where(tile_masks(call.mechanism, tiles, pairs, call.at), number, -1)
    return number.flatten()


def entries_read(lookup: Lookup, call: Call, portion: Portion, bins: torch.Size) -> Tensor:
    """The same, computed from labels on the device; what is hidden sends zeros."""
    number = numbers_at(lookup, call, portion.pairs, portion.places, bins)
    return number.expand(-1, portion.places[0].shape[1], portion.places[-1].shape[2]).flatten()


def sent_by_pairs(
    lookup: Lookup,
    call: Call,
    portion: Portion,
    own: tuple[bool, bool],
    backward: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """(layers, numbers + 1): what every pair of a query and a key sends, and a zero.

    Args:
        own: of `own_pairs`.
        backward: the gradient of the output, log-sum-exps, and `delta` of the kernels.
    """
    q, k, v, (grad_out, lse, delta) = call.q, call.k, call.v, backward
    chosen, layers = call.settings("lookup gradient"), layers_sent(lookup, call, own)
    pairs, heads = len(portion.pairs), q.shape[1]
    count = pairs * (chosen.queries if lookup.by_query else 1) * (chosen.keys if lookup.by_key else 1)
    sent = torch.empty(math.prod(layers), count + 1, dtype=torch.float32, device=q.device)
    sent[:, -1] = 0.0
    together = 1 if own[0] or layers[0] > 1 else q.shape[0]
    sizes = (
        *for_any_size(pairs, q.shape[2]),
        *(heads, heads // k.shape[1], layers[1], together),
        *for_any_size(count + 1),
    )
    if pairs:
        softmax_lookup_gradient_kernel[(pairs * len(sent),)](
            *(q, k, v, grad_out, lse, delta, sent, row_steps(q, k, v, grad_out), portion.pairs, sizes),
            *call.geometry,
            SLOPE=lookup.slope,
            OF_FACTOR=lookup.of_factor,
            BY_QUERY=lookup.by_query,
            BY_KEY=lookup.by_key,
            **call.constants(chosen),
        )
    return sent
