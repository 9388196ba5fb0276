"""Integer functions that torch lacks."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_power_of_two(x: Tensor) -> Tensor:
    """Whether x is 1, 2, 4, 8, ..."""
    return (x > 0) & (x & (x - 1) == 0)


def power_of_two_above(x: Any) -> Any:
    """The smallest power of two that is at least x, and at least 1; of a plain number a plain number."""
    if isinstance(x, int):
        return 1 << max(x - 1, 0).bit_length()
    below = x.clamp(min=1) - 1
    for shift in (1, 2, 4, 8, 16, 32):
        below = below | (below >> shift)
    return below + 1
