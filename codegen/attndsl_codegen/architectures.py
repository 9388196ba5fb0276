"""What NVIDIA's architectures let a block have, and how many blocks that leaves room for on a unit.

Sources: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"; registers are given
out per warp in units of 256, and a block takes 1 KiB of shared memory beside its own (CUDA occupancy
calculator, compute capability 8.0 and later).
"""

from __future__ import annotations

from dataclasses import dataclass

REGISTERS, REGISTER_UNIT, PARTITIONS = 65536, 256, 4
"""Registers of a unit, the least number that a warp gets, and the partitions that they are split among."""
SHARED_RESERVED, SHARED_UNIT = 1024, 128
"""Bytes of shared memory that a block takes beside its own, and the unit in which it is given out."""
WARP = 32


@dataclass(frozen=True)
class Limits:
    """What one streaming multiprocessor has.

    Attributes:
        shared_of_block, shared_of_unit: bytes of shared memory.
        threads, blocks: the most on a unit.
    """

    shared_of_block: int
    shared_of_unit: int
    threads: int
    blocks: int


LIMITS = {
    80: Limits(163 << 10, 164 << 10, 2048, 32),
    86: Limits(99 << 10, 100 << 10, 1536, 16),
    89: Limits(99 << 10, 100 << 10, 1536, 24),
    90: Limits(227 << 10, 228 << 10, 2048, 32),
    100: Limits(227 << 10, 228 << 10, 2048, 32),
    120: Limits(99 << 10, 100 << 10, 1536, 24),
}
"""By compute capability, e.g. 90 for 9.0."""


@dataclass(frozen=True)
class Residency:
    """How many blocks of a kernel sit on a unit, and what keeps out another one.

    Attributes:
        blocks: 0 if not even one fits.
        limit: `registers`, `shared memory`, `threads` or `blocks`.
    """

    blocks: int
    limit: str


def limits_of(architecture: int) -> Limits:
    """The limits of a compute capability; of one that is not listed, those of the one before it.

    Raises:
        ValueError: it is older than the kernels are for.
    """
    known = [least for least in LIMITS if least <= architecture]
    if not known:
        raise ValueError(f"compute capability {architecture / 10} is older than {min(LIMITS) / 10}")
    return LIMITS[max(known)]


def residency(architecture: int, registers: int, warps: int, shared_bytes: int) -> Residency:
    """The blocks of a kernel that fit on one unit at the same time.

    Args:
        registers: per thread.
        shared_bytes: of a block.
    """
    limits = limits_of(architecture)
    of_warp = _rounded(max(1, registers) * WARP, REGISTER_UNIT)
    by_limit = {
        "registers": REGISTERS // PARTITIONS // of_warp * PARTITIONS // warps,
        "shared memory": limits.shared_of_unit // _rounded(shared_bytes + SHARED_RESERVED, SHARED_UNIT),
        "threads": limits.threads // (warps * WARP),
        "blocks": limits.blocks,
    }
    if shared_bytes > limits.shared_of_block:
        by_limit["shared memory"] = 0
    least = min(by_limit, key=lambda name: by_limit[name])
    return Residency(by_limit[least], least)


def _rounded(number: int, unit: int) -> int:
    return -(-number // unit) * unit
