"""Integer functions that torch lacks."""

from __future__ import annotations

import torch
from torch import Tensor


def is_power_of_two(x: Tensor) -> Tensor:
    """Whether x is 1, 2, 4, 8, ..."""
    return (x > 0) & (x & (x - 1) == 0)


def power_of_two_above(x: Tensor) -> Tensor:
    """The smallest power of two that is at least x, and at least 1."""
    below = torch.as_tensor(x).clamp(min=1) - 1
    for shift in (1, 2, 4, 8, 16, 32):
        below = below | (below >> shift)
    return below + 1
