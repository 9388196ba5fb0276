"""What compiled kernels cost, in place of constants of the model: plain numbers, read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CompiledKernel:
    """One kernel of an attend as it was compiled. Costs are of its inner loops, per score of a pair of tiles.

    Attributes:
        source: `SASS` (machine code) or `PTX` (before the assembler).
        queries, keys: slots of its tiles.
        registers: per thread; `spills` are instructions that move some to local memory or back.
        serialized: whether tensor-core instructions wait for one another.
        blocks: that fit on a unit; `limit` is what keeps out another one.
        slots: issue slots on a full tile; `mask` those that a partial tile takes beside them.
        special: special functions, exponentials among them.
        flops: operations of tensor-core instructions; None where their names do not tell.
    """

    name: str
    architecture: int
    source: str
    queries: int
    keys: int
    warps: int
    stages: int
    registers: int
    spills: int
    shared_bytes: int
    serialized: bool
    blocks: int
    limit: str
    slots: float
    mask: float
    special: float
    flops: float | None

    @property
    def words(self) -> str:
        """The kernel in a line."""
        doubts = [f"{self.spills} spills"] if self.spills else []
        doubts += ["serialised tensor-core instructions"] if self.serialized else []
        stages = "1 stage" if self.stages == 1 else f"{self.stages} stages"
        return (
            f"{self.name} kernel ({self.source} of sm_{self.architecture}): "
            f"{self.queries}x{self.keys} tiles, {self.warps} warps, {stages}, {self.registers} registers, "
            f"{self.shared_bytes / 1024:.4g} KiB of shared memory: {self.blocks} on a unit, limited by "
            f"{self.limit}{''.join(f'; {doubt}' for doubt in doubts)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The kernel as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class CompiledAttend:
    """The kernels of one attend.

    Attributes:
        query, key: sides of the forward kernel's tiles, an axis of residue classes with one side.
        query_steps, key_steps: into how many residue classes each axis is split.
        passes: the kernels of every pass that was compiled.
    """

    query: tuple[int, ...]
    key: tuple[int, ...]
    query_steps: tuple[int, ...]
    key_steps: tuple[int, ...]
    passes: Mapping[str, tuple[CompiledKernel, ...]]

    @property
    def kernels(self) -> tuple[CompiledKernel, ...]:
        """Those of all passes."""
        return tuple(kernel for kernels in self.passes.values() for kernel in kernels)

    def costs(self, way: str) -> Costs | None:
        """What a pass costs; None if it was not compiled."""
        kernels = self.passes.get(way)
        if not kernels:
            return None
        flops = [kernel.flops for kernel in kernels]
        return Costs(
            slots=sum(kernel.slots for kernel in kernels),
            mask=sum(kernel.mask for kernel in kernels),
            special=sum(kernel.special for kernel in kernels),
            flops=None if None in flops else sum(f for f in flops if f is not None),
            blocks=min(kernel.blocks for kernel in kernels),
            stages=min(kernel.stages for kernel in kernels),
        )


@dataclass(frozen=True)
class Costs:
    """The costs of a pass per score, over its kernels; blocks and stages are those of the least kernel.

    Attributes:
        slots, mask: issue slots on a full tile, and those that a partial tile takes beside them.
        special: special functions, exponentials among them.
        flops: operations of tensor cores; None where they are not known.
    """

    slots: float
    mask: float
    special: float
    flops: float | None
    blocks: int = 1
    stages: int = 1
