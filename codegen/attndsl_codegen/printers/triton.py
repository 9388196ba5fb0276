"""Prints expressions as Triton: C-like integer division is corrected wherever operands may be negative."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attndsl.ir.bounds import Bounds
from attndsl.ir.index import Apply, ArithmeticProblem, Const, Expr
from attndsl.ir.text import ATOM, COMPARE, PRODUCT, SUM, TextPrinter
from attndsl.ir.walk import fields, postorder, variables

LARGEST_EXTENT = 1 << 40
"""No axis is longer."""
LIKELY_EXTENT = 1 << 21
"""Axes up to this length keep 32-bit integers from overflowing, or hooks compute in 64 bits."""
BITWISE = SUM
"""In Python `&`, `|` and `~` bind tighter than comparisons."""
REAL_FUNCTIONS = {
    "exp": "tl.exp({0})",
    "log": "tl.log({0})",
    "sqrt": "tl.sqrt({0})",
    "tanh": "tanh_by_exp2({0})",
    "sigmoid": "tl.sigmoid({0})",
    "relu": "tl.maximum({0}, 0.0)",
    "elu": "tl.maximum({0}, 0.0) + tl.exp(tl.minimum({0}, 0.0)) - 1.0",
    "silu": "({0}) * tl.sigmoid({0})",
    "softplus": "tl.maximum({0}, 0.0) + tl.log(1.0 + tl.exp(-tl.abs({0})))",
    "sin": "tl.sin({0})",
    "cos": "tl.cos({0})",
}
"""Real functions with `{0}` for the argument."""
MOST_COORDINATES = 4
"""Fields with more axes have no printed form."""
MOST_MULTIPLIED = 8
"""Larger whole exponents have no printed form."""


class Unprintable(Exception):
    """An expression that has no Triton form here; the torch path serves."""


class TritonPrinter(TextPrinter):
    """Prints for Triton.

    Args:
        spelling: how variables and fields are spelled.
    """

    def __init__(self, spelling: Mapping[str, str]) -> None:
        super().__init__()
        self._spelling = spelling

    def constant(self, value: float) -> tuple[str, int]:
        """Numbers as in Python, infinities by their names."""
        if value in (float("inf"), float("-inf")):
            return f'float("{value}")', ATOM
        return (str(value), ATOM) if isinstance(value, bool) else super().constant(value)

    def variable(self, name: str) -> str:
        """A coordinate, a size, `head` or `s`."""
        return self._spelling[name]

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        """A field at one to four coordinates."""
        if not 1 <= len(coords) <= MOST_COORDINATES:
            raise Unprintable(f"{field} has {len(coords)} coordinates")
        return f"look_up_{len(coords)}({self._spelling[field]}, batch, head, {self.comma(coords)})"

    def node(self, expr: Expr) -> tuple[str, int]:
        """Comparisons bind weaker than `&`."""
        match expr:
            case Apply("<" | "<=" | "==" as name, (a, b)):
                return f"{self._at(a, SUM)} {name} {self._at(b, SUM)}", COMPARE
            case Apply("not", (Apply("==", (a, b)),)):
                return f"{self._at(a, SUM)} != {self._at(b, SUM)}", COMPARE
        return super().node(expr)

    def function(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        """Everything that is neither a sum nor a comparison."""
        match name:
            case "and" | "or":
                symbol = " & " if name == "and" else " | "
                return symbol.join(self._at(arg, BITWISE + 1) for arg in args), BITWISE
            case "not":
                return f"~{self._at(args[0], ATOM)}", PRODUCT
            case "select":
                return f"tl.where({self.comma(args)})", ATOM
            case "min" | "max":
                return self._extreme(f"tl.{name}imum", args), ATOM
            case "abs" | "ispow2":
                return f"{'tl.abs' if name == 'abs' else 'one_bit'}({self.show(args[0])})", ATOM
            case "real":
                return f"tl.cast({self.show(args[0])}, tl.float32)", ATOM  # a size of 1 is a constant
            case "//" | "%" if not all(never_negative(arg) for arg in args):
                return f"floor_{'div' if name == '//' else 'mod'}({self.comma(args)})", ATOM
            case "**":
                return self._power(*args)
            case "*" | "/" | "//" | "%":
                return super().function(name, args)
        if name not in REAL_FUNCTIONS:
            raise Unprintable(f"{name} has no Triton form")
        form = REAL_FUNCTIONS[name]
        text = form.format(self.show(args[0]))
        return (text if form.endswith("({0})") else f"({text})"), ATOM

    def _extreme(self, function: str, args: tuple[Expr, ...]) -> str:
        text = self.show(args[0])
        for arg in args[1:]:
            text = f"{function}({text}, {self.show(arg)})"
        return text

    def operand(self, expr: Expr) -> str:
        """An expression as an operand of `&` or `|`."""
        return self._at(expr, BITWISE + 1)

    def _power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        match base, exponent:
            case _, Const(int() | float() as n) if float(n).is_integer() and 1 <= n <= MOST_MULTIPLIED:
                return " * ".join([self._at(base, PRODUCT + 1)] * int(n)), PRODUCT
            case Const(int() | float() as value), _ if value > 0:
                factor = "" if value == 2 else f"{math.log2(value)!r} * "
                return f"tl.exp2({factor}{self._at(exponent, PRODUCT)})", ATOM
        raise Unprintable("a power that is no product")


def never_negative(expr: Expr) -> bool:
    """Whether an integer is proven not to be negative, whatever the extents."""
    low, _ = _interval(expr, LARGEST_EXTENT)
    return low is not None and low >= 0


def needs_64_bits(*exprs: Expr) -> bool:
    """Whether integers may leave 32 bits at likely extents."""
    for node in postorder(exprs):
        if node.kind == "int" and isinstance(node, Apply | Const):
            low, high = _interval(node, LIKELY_EXTENT)
            if not fields(node) and (low is None or high is None or low < -(2**31) or high >= 2**31):
                return True
    return False


def _interval(expr: Expr, extent: int) -> tuple[int | None, int | None]:
    """Bounds of an integer, None where unknown; coordinates start at 0, all other sizes at 1."""
    boxes = {name: (0 if name.split(".")[0] in ("i", "j", "head") else 1, extent) for name in variables(expr)}
    try:
        found = Bounds(boxes).interval(expr)
    except ArithmeticProblem:
        return None, None
    low, high = (int(bound.value) if isinstance(bound, Const) else None for bound in found)
    return low, high
