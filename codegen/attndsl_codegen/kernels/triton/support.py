"""Triton where it is installed; importing a generated file needs neither Triton nor a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:  # the torch path serves
    triton = tl = None  # type: ignore[assignment]


def jit(function: Callable[..., Any]) -> Any:
    """`triton.jit`; the function as it is where there is no Triton."""
    return function if triton is None else triton.jit(function)
