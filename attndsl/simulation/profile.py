"""Kernel profiles: how well a kernel overlaps its work, what it masks, whether it permutes tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attndsl.diagnostics import fail
from attndsl.simulation.problems import UnknownKernel

STRIDED_COPIES = 0.4
"""Share of the bandwidth that a framework's strided copies reach; model constant, soft."""


@dataclass(frozen=True)
class Profile:
    """One family of kernels.

    Attributes:
        alone, shared: the share of work that is not overlapped, with one block on a unit and with several.
        blocks: the most blocks on a unit.
        mask: whether partial tiles pay for the mask, or all tiles unless every tile is full.
        permutes: whether bricks cost a permutation of q, k, v and out by framework copies.
        bricks: whether tiles can be boxes of several axes.
        backward_products: matrix products of the backward pass; 5 if it is fused (FlashAttention-2, Dao
            2023), 7 if dq has a kernel of its own, which computes scores and dP again.
        backward_exponentials: how often the backward pass computes the weights.
        heavy_first: whether the longest query tiles start first.
    """

    name: str
    alone: float
    shared: float
    blocks: int = 1
    mask: Literal["partial", "all"] = "partial"
    permutes: bool = False
    bricks: bool = False
    backward_products: int = 5
    backward_exponentials: int = 1
    heavy_first: bool = False

    def unoverlapped(self, blocks: int) -> float:
        """The share of the work that the kernel does not overlap, called lambda in the formulas."""
        return self.alone if blocks == 1 else self.shared


# 0.45 gives FlashAttention-3's published 648 TFLOP/s (Shah et al., 2024) on an H100 at width 128 and 16k
# tokens; 1.0 gives what Triton kernels publish there, 395-477. 0.7 is an estimate.
PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "attndsl",
            1.0,
            0.7,
            blocks=2,
            bricks=True,
            backward_products=7,
            backward_exponentials=2,
            heavy_first=True,
        ),
        Profile("flash", 0.45, 0.45, heavy_first=True),
        Profile("flex", 1.0, 1.0, backward_products=7, backward_exponentials=2),
        Profile("natten", 0.45, 0.45, mask="all", permutes=True, bricks=True),
    )
}


def load_profile(name: str) -> Profile:
    """A profile by name.

    Raises:
        AttnError: there is none of that name.
    """
    if name not in PROFILES:
        raise fail(UnknownKernel(name, ", ".join(PROFILES)))
    return PROFILES[name]
