"""Tile sizes, warps and pipeline stages of the Triton kernels.

Chosen by compiling ahead of time for sm_80, sm_90 and sm_100 at widths 64 and 128: no register spills, no
serialised tensor-core instructions, within shared memory; those of sm_80 within the 99 KiB of sm_89 and
sm_120, too. Not timed on a GPU.

Where one product feeds another, Triton gives each warp rows of its own. Up to sm_90 a warp takes 16 of them:
a tile of fewer than 16 rows per warp (queries; of key gradients, keys) computes its scores more than once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Configuration(NamedTuple):
    """How one kernel is compiled: slots of a query tile and of a key tile, warps, pipeline stages.

    Of `causal sums`, a query tile is a chunk of tokens, and a key tile those channels of values that one
    program computes; `decayed sums` are those that decay and have terms, which takes registers.
    """

    queries: int
    keys: int
    warps: int
    stages: int


CONFIGURATIONS = {
    80: {
        "forward": {64: Configuration(64, 64, 4, 2), 128: Configuration(64, 32, 4, 3)},
        "query gradient": {64: Configuration(64, 32, 4, 3), 128: Configuration(64, 32, 4, 2)},
        "key gradient": {64: Configuration(16, 64, 4, 1), 128: Configuration(64, 64, 8, 1)},
        "causal sums": {64: Configuration(32, 64, 8, 2), 128: Configuration(32, 64, 8, 2)},
        "decayed sums": {64: Configuration(32, 32, 8, 2), 128: Configuration(32, 32, 8, 2)},
        "pair forward": {64: Configuration(128, 64, 8, 2), 128: Configuration(64, 64, 8, 1)},
        "pair query gradient": {64: Configuration(128, 64, 8, 2), 128: Configuration(64, 64, 8, 1)},
        "pair key gradient": {64: Configuration(64, 32, 8, 1), 128: Configuration(64, 32, 8, 1)},
    },
    90: {
        "forward": {64: Configuration(128, 64, 4, 2), 128: Configuration(128, 64, 8, 3)},
        "query gradient": {64: Configuration(128, 32, 8, 3), 128: Configuration(128, 64, 8, 3)},
        "key gradient": {64: Configuration(64, 64, 4, 1), 128: Configuration(16, 128, 8, 2)},
        "causal sums": {64: Configuration(64, 64, 8, 2), 128: Configuration(64, 64, 8, 2)},
        "decayed sums": {64: Configuration(64, 32, 8, 2), 128: Configuration(64, 32, 8, 2)},
        "pair forward": {64: Configuration(128, 64, 8, 1), 128: Configuration(128, 64, 8, 1)},
        "pair query gradient": {64: Configuration(128, 64, 8, 1), 128: Configuration(128, 32, 8, 1)},
        "pair key gradient": {64: Configuration(32, 64, 4, 1), 128: Configuration(16, 64, 8, 1)},
    },
    100: {
        "forward": {64: Configuration(128, 64, 8, 2), 128: Configuration(128, 64, 8, 3)},
        "query gradient": {64: Configuration(128, 64, 8, 3), 128: Configuration(128, 64, 8, 3)},
        "key gradient": {64: Configuration(32, 64, 8, 1), 128: Configuration(64, 64, 8, 1)},
        "causal sums": {64: Configuration(64, 64, 8, 2), 128: Configuration(64, 64, 8, 2)},
        "decayed sums": {64: Configuration(64, 32, 8, 1), 128: Configuration(64, 32, 8, 2)},
        "pair forward": {64: Configuration(128, 64, 8, 1), 128: Configuration(128, 64, 8, 1)},
        "pair query gradient": {64: Configuration(128, 64, 8, 1), 128: Configuration(128, 64, 8, 1)},
        "pair key gradient": {64: Configuration(64, 64, 8, 1), 128: Configuration(32, 64, 8, 1)},
    },
}
"""By the least compute capability, kernel, and the largest width they are meant for."""
LOOKING_UP = {
    80: {
        "forward": {64: Configuration(64, 32, 4, 2), 128: Configuration(64, 32, 4, 2)},
        "query gradient": {64: Configuration(64, 32, 4, 1)},
        "key gradient": {128: Configuration(32, 32, 8, 1)},
        "lookup gradient": {64: Configuration(64, 64, 8, 1), 128: Configuration(64, 64, 8, 1)},
    },
    90: {
        "forward": {64: Configuration(64, 64, 4, 2), 128: Configuration(64, 32, 4, 2)},
        "query gradient": {64: Configuration(64, 64, 4, 1), 128: Configuration(64, 32, 4, 2)},
        "key gradient": {64: Configuration(32, 64, 4, 1), 128: Configuration(32, 64, 8, 2)},
        "lookup gradient": {64: Configuration(64, 64, 8, 1), 128: Configuration(64, 64, 8, 1)},
    },
    100: {
        "forward": {64: Configuration(128, 64, 8, 2), 128: Configuration(128, 64, 8, 2)},
        "key gradient": {64: Configuration(32, 64, 4, 1)},
        "query gradient": {128: Configuration(128, 64, 8, 2)},
        "lookup gradient": {64: Configuration(64, 64, 8, 1), 128: Configuration(64, 32, 8, 1)},
    },
}
"""Other ones for mechanisms that look up fields, and for weights that are no softmax: they take registers."""
IN_FLOAT32 = {
    "forward": {64: Configuration(32, 32, 4, 1), 128: Configuration(16, 32, 4, 1)},
    "query gradient": {64: Configuration(32, 32, 4, 1), 128: Configuration(32, 32, 8, 1)},
    "key gradient": {64: Configuration(16, 32, 4, 1), 128: Configuration(32, 32, 8, 1)},
    "lookup gradient": {64: Configuration(32, 32, 4, 1), 128: Configuration(16, 32, 8, 1)},
}
"""Of sm_90, for float32 without tensor cores. Compiled for `sliding` and one look-up; not in kernels.toml."""
WITHOUT_TCGEN05 = 120
"""From this compute capability on, units have 8.9's memory (100 KiB) and its tensor-core instructions."""
WIDEST = 256
"""Wider queries or values are left to torch."""


def configuration(
    kernel: str, width: int, bytes_per_number: int, architecture: int, looks_up: bool = False
) -> Configuration:
    """The configuration of a kernel.

    Args:
        kernel: a key of `CONFIGURATIONS`, or `lookup gradient`.
        width: the larger one of the widths of queries and values.
        bytes_per_number: 2 for float16 and bfloat16, 4 for float32.
        architecture: compute capability, e.g. 90; of GPUs that are not NVIDIA's, 80.
        looks_up: whether the hooks look up fields, or weights are no softmax.
    """
    if kernel.endswith("sums") and (bytes_per_number > 2 or width > 128):
        return Configuration(32, 16 if kernel == "decayed sums" else 32, 8, 1)
    known = max((least for least in CONFIGURATIONS if least <= architecture), default=80)
    known = 80 if architecture >= WITHOUT_TCGEN05 else known
    wide = 64 if width <= 64 else 128
    if bytes_per_number > 2 and known == 90 and width <= 128 and kernel in IN_FLOAT32:
        return IN_FLOAT32[kernel][wide]
    if bytes_per_number > 2:
        return Configuration(64, 32, 4, 2 if width <= 64 else 1)
    if width > 128:
        return Configuration(64, 32, 8, 1)
    others = LOOKING_UP[known].get(kernel, {}) if looks_up else {}
    return others[wide] if wide in others else CONFIGURATIONS[known][kernel][wide]


def architecture_of(device: torch.device) -> int:
    """Major and minor compute capability as one number; 80 where CUDA has none to tell."""
    if device.type != "cuda" or torch.version.hip:
        return 80
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def brick(slots: int, axes: int, boxes: dict[int, tuple[int, ...]] | None = None) -> tuple[int, ...]:
    """The sides of a tile of so many slots, a power of two: as even as can be, the last axis longest.

    Args:
        boxes: by slots, boxes that suit the mask better.
    """
    if boxes and slots in boxes:
        return boxes[slots]
    bits = slots.bit_length() - 1
    return tuple(1 << ((bits + axis) // axes) for axis in range(axes))
