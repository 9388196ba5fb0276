"""Where expressions are evaluated: exact Python numbers, numpy arrays, or any array library alike.

A namespace supplies what Python's own operators cannot say about its values. `ir` itself imports no
array library; `Arrays` is handed one.
"""

from __future__ import annotations

import math
from typing import Any, Protocol


class Namespace(Protocol):
    """Operations on values of one representation; + - * // % ** < <= & | are Python's own."""

    def where(self, test: Any, a: Any, b: Any) -> Any: ...
    def minimum(self, a: Any, b: Any) -> Any: ...
    def maximum(self, a: Any, b: Any) -> Any: ...
    def absolute(self, a: Any) -> Any: ...
    def equal(self, a: Any, b: Any) -> Any: ...
    def negate(self, a: Any) -> Any: ...
    def ispow2(self, a: Any) -> Any: ...
    def ceilpow2(self, a: Any) -> Any: ...
    def real(self, a: Any) -> Any: ...
    def unary(self, name: str, a: Any) -> Any: ...


class Exact:
    """Python integers, booleans and floats."""

    def where(self, test: bool, a: Any, b: Any) -> Any:
        return a if test else b

    def minimum(self, a: Any, b: Any) -> Any:
        return min(a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        return max(a, b)

    def absolute(self, a: Any) -> Any:
        return abs(a)

    def equal(self, a: Any, b: Any) -> bool:
        return a == b

    def negate(self, a: bool) -> bool:
        return not a

    def ispow2(self, a: int) -> bool:
        return a > 0 and a & (a - 1) == 0

    def ceilpow2(self, a: int) -> int:
        return 1 << max(a - 1, 0).bit_length()

    def real(self, a: float) -> float:
        return float(a)

    def unary(self, name: str, a: float) -> float:
        return getattr(math, name)(a)


class Arrays:
    """Arrays or tensors of a library with numpy's names; plain Python numbers may be mixed in.

    Args:
        library: `numpy` or `torch`.
        real_dtype: what integers become where an expression turns real.
    """

    def __init__(self, library: Any, real_dtype: Any) -> None:
        self.library = library
        self.real_dtype = real_dtype

    def _array(self, a: Any) -> Any:
        match a:
            case float():
                return self.library.asarray(a, dtype=self.real_dtype)
            case int():
                return self.library.asarray(a)
            case _:
                return a

    def where(self, test: Any, a: Any, b: Any) -> Any:
        return self.library.where(self._array(test), self._array(a), self._array(b))

    def minimum(self, a: Any, b: Any) -> Any:
        return self.library.minimum(self._array(a), self._array(b))

    def maximum(self, a: Any, b: Any) -> Any:
        return self.library.maximum(self._array(a), self._array(b))

    def absolute(self, a: Any) -> Any:
        return abs(a)

    def equal(self, a: Any, b: Any) -> Any:
        return a == b

    def negate(self, a: Any) -> Any:
        return self.library.logical_not(self._array(a))

    def ispow2(self, a: Any) -> Any:
        return (a > 0) & ((a & (a - 1)) == 0)

    def ceilpow2(self, a: Any) -> Any:
        below = self.maximum(a, 1) - 1
        for shift in (1, 2, 4, 8, 16, 32):
            below = below | (below >> shift)
        return below + 1

    def real(self, a: Any) -> Any:
        return self.library.asarray(a, dtype=self.real_dtype)

    def unary(self, name: str, a: Any) -> Any:
        return getattr(self.library, name)(self._array(a))


EXACT = Exact()
