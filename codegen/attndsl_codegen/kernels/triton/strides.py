"""Types, sizes, strides and widths as the Triton kernels take them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def operand_type(at: dict[str, Any], operand: Tensor) -> torch.dtype:
    """The type in which kernels multiply: bfloat16 where a program's inputs have it.

    Programs compute what they do beside attention in float32. Inputs that reach an attend as they are lose
    nothing on the way back; other operands are rounded as autocast rounds them. Results stay in float32.
    In float16 sums of many tokens might overflow: it is left alone.
    """
    given = at.get("input dtype", operand.dtype)
    return given if given == torch.bfloat16 and operand.dtype == torch.float32 else operand.dtype


def layer_steps(field: Tensor) -> tuple[int, int]:
    """Strides of batch and head; zero where there is one for all."""
    return tuple(field.stride(axis) if field.shape[axis] > 1 else 0 for axis in (0, 1))  # type: ignore[return-value]


def padded(width: int) -> int:
    """The next power of two, at least 16: what products of tiles take."""
    return max(16, 1 << (width - 1).bit_length())


def for_any_size(*sizes: int) -> tuple[int, ...]:
    """Sizes as kernels take them that serve every size.

    In a tuple, Triton compiles anew for each integer that is 1 and for each that is a multiple of 16.
    `2 * size + 1` is neither, unless the size is 0.
    """
    return tuple(2 * size + 1 for size in sizes)


def row_steps(*tensors: Tensor) -> tuple[tuple[int | None, ...], ...]:
    """Strides of batch, head and token.

    Those of aligned rows are multiples of 16 for every number of tokens: they are left to Triton, which then
    loads several channels at a time. Others come as from `for_any_size`, with a fourth entry to tell.
    """
    strides = tuple((t.stride(0), t.stride(1), t.stride(2)) for t in tensors)
    widths = tuple(t.shape[3] for t in tensors)
    if all(number % 16 == 0 for numbers in (widths, *strides) for number in numbers):
        return strides
    return tuple((*for_any_size(*three), None) for three in strides)


def in_rows_of_channels(tensor: Tensor) -> Tensor:
    """The kernels take the channels of a token to be neighbours in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
