"""Gradients of the fields that bias, score and factor look up: launches of the kernel, and their sums."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import Field, FieldAt
from attndsl_codegen.kernels.masks import EVALUATED, tile_masks
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiles import Bricks
from attndsl_codegen.kernels.triton.launch import Call
from attndsl_codegen.kernels.triton.lookup_gradient import softmax_lookup_gradient_kernel
from attndsl_codegen.kernels.triton.schedule import (
    KnownSchedule,
    bricks,
    numbers_of,
    remembered,
    visited_pairs,
)
from attndsl_codegen.kernels.triton.strides import for_any_size, row_steps
from attndsl_codegen.kernels.triton.sums import summation_tables, sums_by_table

MOST_SENT = 1 << 26
"""Numbers to be summed, 256 MB of positions; with more, gradients of fields are left to torch."""
SENT_AT_A_TIME = 1 << 24
"""Numbers that a launch writes, 64 MB."""


MOST_REMEMBERED = 1 << 30
"""Bytes of tables that are kept for later calls."""
PORTIONS: list[KnownSchedule] = []
"""What was planned; what was used last comes first."""


class Portion(NamedTuple):
    """Pairs of tiles of one launch, (pairs, 4), and the tables that say what to add up afterwards."""

    pairs: Tensor
    tables: list[Tensor]


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

    def portions(self, call: Call) -> list[Portion] | None:
        """The launches, planned once for sizes and masks; None if they would take too much memory."""
        chosen, shape = call.settings("lookup gradient"), (call.q.shape[0], call.q.shape[1])
        data, mechanism = call.at[self.field].data, call.mechanism
        names = sorted({*mechanism.mask_fields, *self.reads})
        sizes = (self, mechanism, *numbers_of(call.at), call.tiles(chosen), shape, data.shape)
        fields = tuple(call.at[name].data for name in names)
        found: list[Portion] | None = remembered(
            PORTIONS, sizes, fields, lambda: planned_portions(self, call)
        )
        sizes_so_far = itertools.accumulate(bytes_of(known.made or []) for known in PORTIONS)
        del PORTIONS[max(1, sum(size <= MOST_REMEMBERED for size in sizes_so_far)) :]
        return found

    def gradient(self, call: Call, grad_out: Tensor, lse: Tensor, delta: Tensor) -> Tensor:
        """What this look-up adds to the gradient of its field, in float32 and of the field's shape."""
        planned = self.portions(call)
        assert planned is not None
        layers, bins = layers_sent(self, call), bins_of(self, call)
        total = torch.zeros(*layers, bins.numel(), dtype=torch.float32, device=call.q.device)
        for part in planned:
            sent = sent_by_pairs(self, call, part, layers, (grad_out, lse, delta))
            total += sums_by_table(sent, part.tables).view(total.shape)
        data = call.at[self.field].data
        found = total.view(*layers, *bins).transpose(1, 2)
        if data.shape[1] == 1:
            found = found.sum(2, keepdim=True)
        return found.reshape(data.shape)


def bytes_of(parts: list[Portion]) -> int:
    """The memory that tables take."""
    return sum(table.numel() * table.element_size() for part in parts for table in part.tables)


def own_pairs(lookup: Lookup, mechanism: type[Mechanism]) -> tuple[bool, bool]:
    """Whether each batch element, and each head, has pairs of tiles of its own."""
    return mechanism.varies_by_batch or lookup.varies, mechanism.varies_by_head or lookup.varies


def layers_sent(lookup: Lookup, call: Call) -> tuple[int, int]:
    """How many batch elements and heads share a pair of tiles, but have numbers of their own."""
    by_batch, by_head = own_pairs(lookup, call.mechanism)
    return 1 if by_batch else call.at[lookup.field].data.shape[0], 1 if by_head else call.q.shape[1]


def bins_of(lookup: Lookup, call: Call) -> torch.Size:
    """What pairs of tiles send to: the field's batch elements and heads (1 if layers hold them), entries."""
    by_batch, by_head = own_pairs(lookup, call.mechanism)
    batches, heads, *extents = call.at[lookup.field].data.shape
    return torch.Size((batches if by_batch else 1, heads if by_head else 1, math.prod(extents)))


def planned_portions(lookup: Lookup, call: Call) -> list[Portion] | None:
    """The visited pairs of tiles in portions; see `Lookup.portions`."""
    chosen, mechanism, device = call.settings("lookup gradient"), call.mechanism, call.q.device
    tiles, shape = bricks(mechanism, call.at, call.tiles(chosen)), (call.q.shape[0], call.q.shape[1])
    pairs, _ = visited_pairs(mechanism, call.at, tiles, shape)
    by_batch, by_head = own_pairs(lookup, mechanism)
    if by_batch and not mechanism.varies_by_batch:
        pairs = one_each(pairs, 0, shape[0])
    if by_head and not mechanism.varies_by_head:
        pairs = one_each(pairs, 1, shape[1])
    room = numbers_of_pair(lookup, tiles)
    if len(pairs) * room > MOST_SENT:
        return None
    bins, layers = bins_of(lookup, call).numel(), math.prod(layers_sent(lookup, call))
    found: list[Portion] = []
    for part in pairs.split(max(1, SENT_AT_A_TIME // (layers * room))):
        entries = torch.cat([entries_of(lookup, call, tiles, few) for few in part.split(EVALUATED // room)])
        tables = [table.to(device) for table in summation_tables(entries, bins)]
        found.append(Portion(part.int().contiguous().to(device), tables))
    return found


def one_each(pairs: Tensor, column: int, count: int) -> Tensor:
    """Pairs that all share, once for each batch element (column 0) or head (column 1)."""
    pairs = pairs.repeat(count, 1)
    pairs[:, column] = torch.arange(count).repeat_interleave(len(pairs) // count)
    return pairs


def numbers_of_pair(lookup: Lookup, tiles: tuple[Bricks, Bricks]) -> int:
    """How many numbers a pair of tiles sends."""
    query, key = tiles
    return (query.slots if lookup.by_query else 1) * (key.slots if lookup.by_key else 1)


def entries_of(lookup: Lookup, call: Call, tiles: tuple[Bricks, Bricks], pairs: Tensor) -> Tensor:
    """Which number of the field each number that pairs of tiles send belongs to; -1 for hidden pairs."""
    query, key = tiles
    i, j = query.coordinates(pairs[:, 2])[0], key.coordinates(pairs[:, 3])[0]
    batch, head = (pairs[:, side].view(-1, 1, 1) for side in (0, 1))
    at = {**call.at, **{name: FieldAt(call.at[name], batch, head) for name in lookup.reads}, "head": head}
    i = [coord.unsqueeze(-1) if lookup.by_query else coord[:, :1].unsqueeze(-1) for coord in i]
    j = [coord.unsqueeze(-2) if lookup.by_key else coord[:, :1].unsqueeze(-2) for coord in j]
    number = Field(torch.empty(call.at[lookup.field].data.shape)).number(*lookup.entry(*i, *j, at))
    batches, heads, entries = bins_of(lookup, call)
    number = number + (batch.clamp(max=batches - 1) * heads + head.clamp(max=heads - 1)) * entries
    number = number.expand(len(pairs), i[0].shape[1], j[0].shape[2])
    if lookup.by_query and lookup.by_key:
        number = torch.where(tile_masks(call.mechanism, tiles, pairs, call.at), number, -1)
    return number.flatten()


def sent_by_pairs(
    lookup: Lookup,
    call: Call,
    portion: Portion,
    layers: tuple[int, int],
    backward: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """(layers, numbers + 1): what every pair of a query and a key sends, and a zero.

    Args:
        backward: the gradient of the output, log-sum-exps, and `delta` of the kernels.
    """
    q, k, v, (grad_out, lse, delta) = call.q, call.k, call.v, backward
    chosen = call.settings("lookup gradient")
    pairs, heads = len(portion.pairs), q.shape[1]
    count = pairs * (chosen.queries if lookup.by_query else 1) * (chosen.keys if lookup.by_key else 1)
    sent = torch.empty(math.prod(layers), count + 1, dtype=torch.float32, device=q.device)
    sent[:, -1] = 0.0
    together = 1 if own_pairs(lookup, call.mechanism)[0] or layers[0] > 1 else q.shape[0]
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
