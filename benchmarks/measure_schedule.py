"""Measures the schedule of one mask in this process, which does nothing else. Used by schedules.py.

python benchmarks/measure_schedule.py attndsl '{"extents": [4096], "size": 1024, "tile": [128]}'
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from common import peak_bytes, resident_bytes

if TYPE_CHECKING:
    from attndsl.ir.program import Program

ATTNDSL, FLEX = "attndsl", "create_block_mask"
EMPTY, PARTIAL, FULL = 0, 1, 2
CAUSAL_WINDOW = """\
attention causal_window(radius = 4096) {
  tokens x[n]
  input  q, k, v : x
  return attend(q, k, v, where = causal and sliding(radius))
}
"""


@dataclass(frozen=True)
class Case:
    """A mask, a size and a tile shape.

    Attributes:
        extents: tokens along each axis; one axis is a causal window, two are an image neighbourhood.
        size: the window's radius, or its width.
        tile: one size per axis for bricks, one size for stretches in row-major order.
        peer: whether `create_block_mask` has the memory to run it.
        max_seconds, max_bytes: what attndsl may take.
    """

    extents: tuple[int, ...]
    size: int
    tile: tuple[int, ...]
    peer: bool = True
    max_seconds: float | None = None
    max_bytes: int | None = None

    @property
    def mask(self) -> str:
        """The mask in words."""
        return (
            f"causal window, radius {self.size:,}"
            if len(self.extents) == 1
            else f"{self.size}×{self.size} window"
        )

    @property
    def tokens(self) -> str:
        """The extents in words."""
        return "×".join(f"{extent:,}" for extent in self.extents)

    @property
    def tiles(self) -> str:
        """The tile shape in words."""
        kind = "bricks" if len(self.tile) > 1 else "raster"
        return f"{kind} {'×'.join(map(str, self.tile))}"

    @property
    def pairs(self) -> int:
        """The number of visible pairs, in closed form."""
        n = prod(self.extents)
        if len(self.extents) == 1:
            return n * (self.size + 1) - self.size * (self.size + 1) // 2
        return n * self.size**2


@dataclass(frozen=True)
class Measured:
    """What one process found.

    Attributes:
        seconds: for the schedule alone, without imports and without compiling the spec.
        peak_bytes: how far memory rose above what was in use before.
        full, partial: visited tile pairs.
        pairs: the exact number of visible pairs; `create_block_mask` does not count them.
        digest: of the verdicts on all tile pairs.
    """

    seconds: float
    peak_bytes: int
    full: int
    partial: int
    pairs: int | None = None
    digest: str | None = None


def measure_attndsl(case: Case) -> Measured:
    """The compiler's analysis, exact counts included."""
    from attndsl.analysis.attention import analyse
    from attndsl.analysis.layout import make_layout

    attend: Any = load_program(case).attends[-1].op
    layout = make_layout(case.extents, case.tile)
    sizes = {"n": case.extents[0], "h": case.extents[0], "w": case.extents[-1], "heads": 1}
    found, seconds, peak = clocked(lambda: analyse(attend, sizes, layout, layout))
    counts, schedule = found.classes[0].counts, found.classes[0].schedule
    digest = digest_of(schedule.tile_map().tobytes()) if case.peer else None
    return Measured(seconds, peak, counts.full, counts.partial, counts.pairs, digest)


def load_program(case: Case) -> Program:
    """The program of a case."""
    from attndsl.api import load
    from attndsl.language import load_text

    if len(case.extents) == 1:
        return load_text(CAUSAL_WINDOW, given={"radius": case.size})
    return load("neighborhood2d", size=(case.size, case.size))


def measure_flex(case: Case) -> Measured:
    """PyTorch's own block mask. A first small call pays for what torch imports on demand."""
    from torch.nn.attention.flex_attention import create_block_mask

    create_block_mask(lambda _b, _h, i, j: i >= j, None, None, 128, 128, device="cpu")
    n, slots, mask = prod(case.extents), prod(case.tile), mask_mod(case)
    made, seconds, peak = clocked(
        lambda: create_block_mask(mask, None, None, n, n, device="cpu", BLOCK_SIZE=slots)
    )
    tiles = tile_map(made)
    counts = (int((tiles == verdict).sum()) for verdict in (FULL, PARTIAL))
    return Measured(seconds, peak, *counts, digest=digest_of(tiles.numpy().tobytes()))


def mask_mod(case: Case) -> Callable[..., Any]:
    """The mask as FlexAttention wants it: a predicate on token numbers, counted in the order of the tiles."""
    if len(case.extents) == 1:
        return lambda _b, _h, i, j: (j <= i) & (i - j <= case.size)
    rows, columns = coordinates(case)
    height, width = case.extents

    def near(i: Any, j: Any, extent: int) -> Any:
        first = (i - case.size // 2).clamp(0, extent - case.size)
        return (first <= j) & (j < first + case.size)

    return lambda _b, _h, i, j: near(rows[i], rows[j], height) & near(columns[i], columns[j], width)


def coordinates(case: Case) -> tuple[Any, Any]:
    """Row and column of every token in the order of the tiles; bricks must divide the image."""
    import torch

    height, width = case.extents
    index = torch.arange(height * width).view(height, width)
    if len(case.tile) == 2:
        a, b = case.tile
        index = index.view(height // a, a, width // b, b).transpose(1, 2)
    order = index.flatten()
    return order // width, order % width


def tile_map(made: Any) -> Any:
    """The verdict of a block mask on every tile pair, as attndsl's `Schedule.tile_map`."""
    import torch

    tiles = torch.full(made.kv_indices.shape[-2:], EMPTY, dtype=torch.int8)
    partial = made.kv_num_blocks, made.kv_indices, PARTIAL
    full = made.full_kv_num_blocks, made.full_kv_indices, FULL
    for counts, indices, verdict in (partial, full):
        for row, (count, columns) in enumerate(zip(counts[0, 0].tolist(), indices[0, 0])):
            tiles[row, columns[:count].long()] = verdict
    return tiles


def digest_of(data: bytes) -> str:
    """A fingerprint."""
    return hashlib.sha256(data).hexdigest()


def clocked(call: Callable[[], Any]) -> tuple[Any, float, int]:
    """The result, the seconds it took, and how far the peak of memory rose above what was in use."""
    before = resident_bytes()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    return result, seconds, max(0, peak_bytes() - before)


def main(side: str, text: str) -> None:
    """Prints what was measured as JSON."""
    given = json.loads(text)
    case = Case(**{**given, "extents": tuple(given["extents"]), "tile": tuple(given["tile"])})
    measure = {ATTNDSL: measure_attndsl, FLEX: measure_flex}[side]
    print(json.dumps(asdict(measure(case))))


if __name__ == "__main__":
    main(*sys.argv[1:])
