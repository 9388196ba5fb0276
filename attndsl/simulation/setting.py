"""What a simulation is about: a device, a kernel, the tensors, the pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attndsl.ir.program import Program
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.simulation.cycles import Pass
from attndsl.simulation.device import Device, load_device
from attndsl.simulation.profile import Profile, load_profile

Direction = Literal["fwd", "bwd", "both"]
PASSES: Mapping[Direction, tuple[Pass, ...]] = {"fwd": ("fwd",), "bwd": ("bwd",), "both": ("fwd", "bwd")}


@dataclass(frozen=True)
class Setting:
    """Where and on what a program runs.

    Attributes:
        device, kernel: the device and the kernel profile of the program's attends.
        dense_kernel: the profile of the dense attention that it is compared with.
        heads, kv_heads: heads of the inputs.
        dim: the width of a head.
        direction: which passes are counted.
        queries: only so many last queries (decoding); None for all.
    """

    device: Device
    kernel: Profile
    dense_kernel: Profile = field(default_factory=lambda: load_profile("flash"))
    dtype: str = "bfloat16"
    batch: int = 1
    heads: int = 16
    kv_heads: int = 16
    dim: int = 128
    direction: Direction = "fwd"
    queries: int | None = None

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes one by one."""
        return PASSES[self.direction]

    def sizes(self, program: Program, extents: Mapping[str, int]) -> dict[str, int]:
        """Values of all symbols: extents, heads, widths. Inputs without heads are as wide as all heads."""
        widths = {
            f"{value.name}.width": self.dim * (1 if value.type.heads is not None else self.heads)
            for value in program.inputs
            if value.type.width is not None
        }
        return {**widths, **extents, HEADS.name: self.heads, KV_HEADS.name: self.kv_heads}


def make_setting(device: str = "h100", kernel: str = "attndsl", **options: Any) -> Setting:
    """A setting from names; the dtype is the device's first, the key/value heads are the heads.

    Raises:
        AttnError: the device or the kernel is unknown.
        TypeError: an option is unknown.
    """
    found = load_device(device)
    heads = options.get("heads", Setting.heads)
    given = {name: value for name, value in options.items() if value is not None}
    defaults = {"dtype": next(iter(found.tflops)), "kv_heads": heads}
    return Setting(found, load_profile(kernel), **{**defaults, **given})
