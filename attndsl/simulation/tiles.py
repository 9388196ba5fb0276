"""The tile shape of a kernel on a device: whether it fits, how many stages and blocks there are."""

from __future__ import annotations

from dataclasses import dataclass

from attndsl.diagnostics import fail
from attndsl.simulation.device import DTYPE_BYTES, Device
from attndsl.simulation.problems import TileTooLarge
from attndsl.simulation.profile import Profile

MOST_STAGES = 4
REGISTERS_PER_SCORE = 1.5
"""Registers per accumulator, scores and outputs together: the rest holds operands and addresses."""


@dataclass(frozen=True)
class Occupancy:
    """How a kernel's blocks sit on a unit.

    Attributes:
        stages: key and value tiles in flight.
        blocks: blocks on a unit.
    """

    stages: int
    blocks: int


@dataclass(frozen=True)
class Widths:
    """The widths of scores (queries and keys) and of values."""

    score: int
    value: int

    @property
    def both(self) -> int:
        """Channels of a key and its value."""
        return self.score + self.value


def occupancy(
    device: Device, profile: Profile, queries: int, keys: int, widths: Widths, dtype: str
) -> Occupancy:
    """The most stages that fit, and the blocks that fit beside each other with two stages or fewer.

    Raises:
        AttnError: not even one stage fits.
    """
    element = DTYPE_BYTES[dtype] / 1024
    query = queries * widths.score * element if device.queries_in_shared else 0.0
    stage = keys * widths.both * element
    if query + stage > device.shared_kib:
        needed, available = round(query + stage), round(device.shared_kib)
        raise fail(TileTooLarge(queries, keys, widths.score, device.name, needed, available))
    stages = min(MOST_STAGES, int((device.shared_kib - query) // stage))
    accumulators = queries * (keys + widths.value) * 4 * REGISTERS_PER_SCORE / 1024
    by_memory = int(device.shared_kib // (query + min(stages, 2) * stage))
    by_registers = int(device.registers_kib // accumulators)
    return Occupancy(stages, max(1, min(profile.blocks, by_memory, by_registers)))
