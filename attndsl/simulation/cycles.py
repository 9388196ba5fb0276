"""Cycles of one query tile against one key tile: matrix products, exponentials, issue slots.

    T = 2 BM BN (D + Dv) / R        R operations per cycle and unit
    X = BM BN (1 + x) / E           E special functions per cycle and unit
    I = BM BN (s + m) / L           L results per cycle and unit; m for a masked tile
    tile = max(T, X, I) + lambda (T + X + I - max), with (1 + lambda) / 2 for lambda on masked tiles

The constants reproduce what FlashAttention-3 (Shah et al., 2024) and Triton kernels publish; what is known
of compiled kernels takes the place of operations, x, s and m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attndsl.simulation.compiled import CompiledAttend, Costs
from attndsl.simulation.device import Device
from attndsl.simulation.profile import Profile
from attndsl.simulation.slots import PairCost
from attndsl.simulation.tiles import Widths

Pass = Literal["fwd", "bwd"]
BASE_SLOTS, SLOTS_PER_CHANNEL = 6.8, 1.2 / 64
"""Issue slots per score of a softmax over tiles: 8.0 at width 64, 9.2 at width 128 (from machine code)."""
FORWARD_PRODUCTS = 2


@dataclass(frozen=True)
class TileCycles:
    """Cycles of a unit for one pair of tiles, by the pipe that does the work."""

    tensor: float
    exp: float
    issue: float
    mask: float = 0.0

    def time(self, unoverlapped: float) -> float:
        """The cycles that pass, if so large a share of the smaller pipes' work is not overlapped."""
        issue = self.issue + self.mask
        longest = max(self.tensor, self.exp, issue)
        share = (1 + unoverlapped) / 2 if self.mask else unoverlapped
        return longest + share * (self.tensor + self.exp + issue - longest)

    @property
    def longest(self) -> str:
        """The pipe that limits it."""
        pipes = {
            "tensor cores": self.tensor,
            "exponentials": self.exp,
            "instruction issue": self.issue + self.mask,
        }
        return max(pipes, key=lambda pipe: pipes[pipe])


@dataclass(frozen=True)
class TileKind:
    """What one pair of tiles is: its slots, widths, and what its scores cost.

    Attributes:
        held: whether a CPU holds the scores in memory: PyTorch's fused attention has no score functions.
        row_bias: whether a CPU makes one row of biases for all queries of a tile (`Attend.separable_bias`).
        compiled: what is known of the compiled kernels, if they were read.
    """

    queries: int
    keys: int
    widths: Widths
    score: PairCost
    dtype: str
    direction: Pass = "fwd"
    held: bool = False
    row_bias: bool = False
    compiled: CompiledAttend | None = None

    @property
    def costs(self) -> Costs | None:
        """What the compiled kernels of this pass cost, if they were read."""
        return None if self.compiled is None else self.compiled.costs(self.direction)


def tile_cycles(kind: TileKind, device: Device, profile: Profile, mask: float) -> TileCycles:
    """The cycles of a pair of tiles; `mask` are the slots per score of its mask, 0 for a full tile."""
    model = model_costs(kind, profile, mask)
    costs = kind.costs or model
    scores = kind.queries * kind.keys
    flops = model.flops if costs.flops is None else costs.flops
    return TileCycles(
        tensor=scores * (flops or 0.0) / device.product_rate(kind.dtype),
        exp=scores * costs.special / device.exponentials,
        issue=scores * costs.slots / device.lanes,
        mask=scores * costs.mask / device.lanes if mask else 0.0,
    )


def model_costs(kind: TileKind, profile: Profile, mask: float) -> Costs:
    """What the model takes a pass to cost, whatever is known of compiled kernels."""
    backward = kind.direction == "bwd"
    products = profile.backward_products if backward else FORWARD_PRODUCTS
    repeats = profile.backward_exponentials if backward else 1
    slots = BASE_SLOTS + SLOTS_PER_CHANNEL * kind.widths.score + kind.score.slots
    return Costs(
        slots=repeats * slots,
        mask=repeats * mask,
        special=repeats * (1 + kind.score.exponentials),
        flops=products * kind.widths.both,
    )
