"""The time of one attend: cycles per query tile, list-scheduled on the device, against memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod

import numpy as np
from numpy.typing import NDArray

from attndsl.simulation.costs import Host
from attndsl.simulation.counts import ClassCounts, TileCounts
from attndsl.simulation.cycles import TileCycles, TileKind, tile_cycles
from attndsl.simulation.device import DTYPE_BYTES, Device
from attndsl.simulation.host import READ_IN_PLACE, Access, host_time, score_seconds
from attndsl.simulation.launch import makespan, split_span
from attndsl.simulation.profile import STRIDED_COPIES, Profile
from attndsl.simulation.slots import EDGE_MASK
from attndsl.simulation.tiles import Occupancy, occupancy

BACKWARD_TENSORS = 2.5
"""Traffic of the backward pass over that of the forward one: q k v o do, dq dk dv, and lse twice."""


@dataclass(frozen=True)
class AttendWork:
    """What a kernel has to do.

    Attributes:
        counts: of one batch element.
        kind: one pair of tiles.
        batch: batch elements.
        kv_heads: heads of keys and values.
        permuted: whether tiles are boxes, which some kernels permute tensors for.
        access: how a CPU finds the keys of a query tile.
    """

    counts: TileCounts
    kind: TileKind
    batch: int
    kv_heads: int
    permuted: bool
    access: Access = READ_IN_PLACE

    @property
    def flops(self) -> int:
        """Operations on visible pairs, forward: two products."""
        return 2 * self.batch * self.counts.pairs * self.kind.widths.both

    @property
    def tile_flops(self) -> int:
        """Operations on every slot of visited tiles."""
        return 2 * self.batch * self.counts.visited * self.counts.slots * self.kind.widths.both

    @property
    def worst_flops(self) -> int:
        """As `tile_flops`, every query tile charged as the worst one."""
        return 2 * self.batch * self.counts.worst * self.counts.slots * self.kind.widths.both

    @property
    def bytes(self) -> int:
        """Bytes of q, k, v and the output."""
        queries, keys = self.counts.tokens
        moved = (self.counts.heads * queries + self.kv_heads * keys) * self.kind.widths.both
        return self.batch * moved * DTYPE_BYTES[self.kind.dtype]


@dataclass(frozen=True)
class AttendTime:
    """Seconds of one attend, step by step; each step adds a loss to the one before.

    Attributes:
        products: all tiles full, perfectly balanced, no fixed costs.
        masked: with the masks of partial tiles.
        fixed: with the prologue of every query tile.
        compute: list-scheduled.
        limited: at least what memory takes.
        permuted: with permutation passes.
        total: with the launch.
        full, partial: cycles of a pair of tiles by kind.
        prologue: cycles of the prologues of all query tiles.
    """

    products: float
    masked: float
    fixed: float
    compute: float
    limited: float
    permuted: float
    total: float
    full: TileCycles
    partial: TileCycles
    prologue: float
    occupancy: Occupancy
    by: str


def attend_time(work: AttendWork, device: Device, profile: Profile) -> AttendTime:
    """The time on a device with a kernel.

    Raises:
        AttnError: the tile does not fit.
    """
    if device.host is not None:
        return _on_host(work, device, device.host)
    fits = _fits(work.kind, device, profile)
    capacity = device.units * fits.blocks
    rows = [_class_rows(found, work, device, profile, fits) for found in work.counts.classes]
    repeats = [found.heads * work.batch for found in work.counts.classes]
    plain, masked, fixed = (
        device.seconds(sum(float(row[step].sum()) * n for row, n in zip(rows, repeats)) / device.units)
        for step in range(3)
    )
    seconds = _scheduled(rows, work, device, profile, fits, capacity)
    memory, l2 = _memory(work, device)
    limited = max(seconds, memory, l2)
    permutation = 2 * work.bytes / (STRIDED_COPIES * device.memory_gbps * 1e9)
    permuted = limited + (permutation if profile.permutes and work.permuted else 0.0)
    total = permuted + device.measured.launch_us * 1e-6
    by = "memory" if memory > max(seconds, l2) else "L2 cache" if l2 > seconds else ""
    full, partial = _typical(work, device, profile)
    prologue = device.measured.prologue_cycles * sum(len(row[0]) * n for row, n in zip(rows, repeats))
    by = by or (partial if work.counts.partial > work.counts.full else full).longest
    return AttendTime(
        plain, masked, fixed, seconds, limited, permuted, total, full, partial, prologue, fits, by
    )


def _fits(kind: TileKind, device: Device, profile: Profile) -> Occupancy:
    """Blocks on a unit: those of compiled kernels if they are known, else by estimated shared memory."""
    if kind.costs is not None:
        return Occupancy(kind.costs.stages, kind.costs.blocks)
    return occupancy(device, profile, kind.queries, kind.keys, kind.widths, kind.dtype)


def _on_host(work: AttendWork, device: Device, host: Host) -> AttendTime:
    """The time of the torch path: nothing overlaps, and cores share the work evenly."""
    kind = work.kind
    visited = [(found.full, found.partial, found.heads * work.batch) for found in work.counts.classes]
    queries = work.counts.tokens[0]
    outputs = work.batch * work.counts.heads * queries * kind.widths.value * DTYPE_BYTES[kind.dtype]
    found = host_time(host, kind, work.access, visited, outputs, work.counts.heads)
    steps = list(accumulate((found.scores, found.masks, found.sides, found.gathers, found.steps)))
    cycles = device.units * device.measured.clock_ghz * 1e9 * kind.queries * kind.keys
    cost = score_seconds(host, kind, work.counts.heads)
    full = TileCycles(cost.tensor * cycles, cost.exp * cycles, cost.issue * cycles)
    partial = replace(full, mask=cost.mask * cycles)
    by = "gathered keys" if found.gathers > 0.5 * steps[-1] else full.longest
    launch = device.measured.launch_us * 1e-6
    scores, masked, sides, gathered, stepped = steps
    return AttendTime(
        *(scores, masked, sides, sides, gathered, gathered, stepped + launch),
        *(full, partial, 0.0, Occupancy(1, 1), by),
    )


def _class_rows(
    found: ClassCounts, work: AttendWork, device: Device, profile: Profile, fits: Occupancy
) -> tuple[NDArray[np.float64], ...]:
    """Cycles of every query tile: unmasked, masked, with the prologue not overlapped; its longest tile."""
    share = profile.unoverlapped(fits.blocks)
    plain = tile_cycles(work.kind, device, profile, 0.0)
    masked = tile_cycles(work.kind, device, profile, found.mask)
    whole = work.counts.partial == 0
    full = masked if profile.mask == "all" and not whole and found.mask > EDGE_MASK else plain
    visited = found.full + found.partial
    unmasked = np.asarray(visited * plain.time(share), dtype=np.float64)
    cycles = found.full * full.time(share) + found.partial * masked.time(share)
    longest = np.maximum((found.full > 0) * full.time(share), (found.partial > 0) * masked.time(share))
    return unmasked, cycles, cycles + device.measured.prologue_cycles / fits.blocks, longest


def _scheduled(
    rows: list[tuple[NDArray[np.float64], ...]],
    work: AttendWork,
    device: Device,
    profile: Profile,
    fits: Occupancy,
    capacity: int,
) -> float:
    """Blocks on one unit share its pipes, so each takes as many times longer; prologues overlap."""
    prologue = device.measured.prologue_cycles
    repeats = [found.heads * work.batch for found in work.counts.classes]
    items = np.concatenate([np.tile(row[1], n) for row, n in zip(rows, repeats)])
    longest = np.concatenate([np.tile(row[3], n) for row, n in zip(rows, repeats)])
    split = split_span(items, longest, capacity)
    if split is not None:
        return device.seconds(split * fits.blocks + prologue)
    durations = items * fits.blocks + prologue
    if profile.heavy_first:
        durations = -np.sort(-durations)
    return device.seconds(makespan(durations, capacity))


def _memory(work: AttendWork, device: Device) -> tuple[float, float]:
    """Seconds of main memory and of the last-level cache, which every visited key tile comes from."""
    factor = BACKWARD_TENSORS if work.kind.direction == "bwd" else 1.0
    memory = factor * work.bytes / device.bandwidth
    keys = prod(work.counts.key.tile)
    element = DTYPE_BYTES[work.kind.dtype]
    fetched = work.batch * work.counts.visited * keys * work.kind.widths.both * element
    return memory, factor * fetched / (device.measured.l2_gbps * 1e9)


def _typical(work: AttendWork, device: Device, profile: Profile) -> tuple[TileCycles, TileCycles]:
    """Cycles of a full and of a partial pair of tiles, with the mask of the first class."""
    full = tile_cycles(work.kind, device, profile, 0.0)
    masks = [found.mask for found in work.counts.classes]
    return full, tile_cycles(work.kind, device, profile, max(masks, default=0.0))


def with_direction(work: AttendWork, backward: bool) -> AttendWork:
    """The same work in the backward pass."""
    return replace(work, kind=replace(work.kind, direction="bwd" if backward else "fwd"))
