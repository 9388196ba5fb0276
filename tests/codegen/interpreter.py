"""bfloat16 in Triton's interpreter, which keeps it as the bits of integers and computes with these."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import triton.language as tl
from triton.runtime import interpreter


def widened(bits: Any) -> Any:
    """The numbers that 16 bits stand for, in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrowed(numbers: Any) -> Any:
    """The nearest 16 bits, ties to even."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


@contextmanager
def bfloat16() -> Iterator[None]:
    """Conversions and products of bfloat16 are right in here; other arithmetic on it is not needed."""
    builder = interpreter.InterpreterBuilder
    cast, dot = builder.cast_impl, builder.create_dot

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        before, after = source.dtype.scalar, target.scalar
        if before == tl.bfloat16 != after:
            numbers = widened(source.data).astype(interpreter._get_np_dtype(after))
            return interpreter.TensorHandle(numbers, after)
        if after == tl.bfloat16 != before:
            return interpreter.TensorHandle(narrowed(source.data), after)
        return cast(self, source, target)

    def create_dot(self: Any, a: Any, b: Any, added: Any, *options: Any) -> Any:
        if a.dtype.scalar != tl.bfloat16:
            return dot(self, a, b, added, *options)
        return interpreter.TensorHandle(widened(a.data) @ widened(b.data) + added.data, added.dtype.scalar)

    with patch.multiple(builder, cast_impl=cast_impl, create_dot=create_dot):
        yield
