"""Prints expressions as Python for an array library. Subexpressions without arrays stay plain Python."""

from __future__ import annotations

import keyword
from collections.abc import Mapping

from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import Apply, Const, Expr, Load, Var, apply
from attndsl.ir.text import ATOM, COMPARE, NEGATIVE, OR, PRODUCT, SELECT, SUM, TextPrinter
from attndsl.ir.walk import postorder

BITWISE = SUM
"""In Python `&`, `|` and `~` bind tighter than comparisons, so comparisons beside them get parentheses."""


def identifier(name: str) -> str:
    """A spec's name as a Python name: `i.h` is `i_h`; keywords and our own locals get an underscore."""
    plain = name.replace(".", "_")
    base = plain.rstrip("_")
    return plain + "_" if keyword.iskeyword(base) or base in TAKEN else plain


TAKEN = frozenset(["torch", "math", "at", "self", "cls", "Tensor", "Any"])
_CLAMP = {"min": "max", "max": "min"}
"""`min(x, 3)` is `x.clamp(max=3)`."""


class ArrayPrinter(TextPrinter):
    """Prints for a library with numpy's operators.

    Args:
        arrays: names of the variables that hold arrays; the others are Python numbers.
        names: names for subexpressions bound elsewhere.
        variables: how variables are spelled, where not by `identifier`.
    """

    library = "np"

    def __init__(
        self,
        arrays: set[str],
        names: Mapping[Expr, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(names)
        self._arrays = arrays
        self._variables = dict(variables or {})
        self._is_array: dict[Expr, bool] = {}

    def is_array(self, expr: Expr) -> bool:
        """Whether an expression has an array for its value."""
        if expr not in self._is_array:
            for node in postorder([expr]):
                match node:
                    case Var(name):
                        self._is_array[node] = name in self._arrays
                    case Load():
                        self._is_array[node] = True
                    case Apply(_, args):
                        self._is_array[node] = any(self._is_array[arg] for arg in args)
                    case _:
                        self._is_array[node] = False
        return self._is_array[expr]

    def constant(self, value: float) -> tuple[str, int]:
        return (str(value), ATOM) if isinstance(value, bool) else super().constant(value)

    def variable(self, name: str) -> str:
        return self._variables.get(name, identifier(name))

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        owner, _, extreme = field.partition(".")
        return f"{self.variable(owner)}{'.' + extreme if extreme else ''}({self.comma(coords)})"

    def function(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        arrays = [self.is_array(arg) for arg in args]
        match name:
            case "and" | "or" if any(arrays):
                symbol = " & " if name == "and" else " | "
                return symbol.join(self._at(arg, BITWISE + 1) for arg in args), BITWISE
            case "not" if arrays[0]:
                return f"~{self._at(args[0], PRODUCT)}", PRODUCT
            case "select" if arrays[0]:
                return self.choice(*args), ATOM
            case "min" | "max" if any(arrays):
                return self.extreme(name, args)
            case "dot":
                return f"dot({self.comma(args)})", ATOM
            case "ispow2" | "ceilpow2":
                return f"{self.helpers[name]}({self.show(args[0])})", ATOM
            case "real":
                return self.real(args[0]) if arrays[0] else (self._at(args[0], ATOM), ATOM)
            case _ if FUNCTIONS[name].torch:
                return self.real_function(name, self.show(args[0]), arrays[0])
        return super().function(name, args)

    helpers: Mapping[str, str] = {"ispow2": "is_power_of_two", "ceilpow2": "power_of_two_above"}

    def node(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Apply("<" | "<=" | "==" as name, (a, b)):
                return f"{self._at(a, SUM)} {name} {self._at(b, SUM)}", COMPARE
            case Apply("not", (Apply("==", (a, b)),)):
                return f"{self._at(a, SUM)} != {self._at(b, SUM)}", COMPARE
            case Apply("*", (Const(-1), Apply("**") as power)) if power not in self.names:
                return f"-({self.show(power)})", NEGATIVE  # as formatters have it
            case Apply("*", (Const(-1), Apply("*", (first, *others)) as all_)) if all_ not in self.names:
                # Negates the first factor, which may be one number for many pairs, and not their product.
                negative = self.node(apply("*", -1, first))[0]
                return " * ".join([negative, *(self._at(other, NEGATIVE) for other in others)]), PRODUCT
        return super().node(expr)

    def real_function(self, name: str, argument: str, is_array: bool) -> tuple[str, int]:
        """A function of one real number, in the form that its definition gives."""
        if not is_array:
            form = FUNCTIONS[name].python
            text = form.format(argument)
            return (text if form.endswith("({})") else f"({text})"), ATOM
        return f"{self.library}.{name}({argument})", ATOM

    def operand(self, expr: Expr) -> str:
        """An expression as an operand of `&` or `|`."""
        return self._at(expr, BITWISE + 1)

    def extreme(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        """`min` or `max` of arrays and numbers."""
        text = self.show(args[0])
        for arg in args[1:]:
            text = f"{self.library}.{name}imum({text}, {self.show(arg)})"
        return text, ATOM

    def choice(self, test: Expr, a: Expr, b: Expr) -> str:
        """`a` where the test holds, else `b`."""
        return f"{self.library}.where({self.comma((test, a, b))})"

    def real(self, arg: Expr) -> tuple[str, int]:
        """Integers as reals."""
        return f"{self.library}.asarray({self.show(arg)}, dtype=float)", ATOM


class NumpyPrinter(ArrayPrinter):
    """Prints numpy source."""


class TorchPrinter(ArrayPrinter):
    """Prints torch source."""

    library = "torch"

    def real_function(self, name: str, argument: str, is_array: bool) -> tuple[str, int]:
        """Arrays take torch's form."""
        if is_array:
            return FUNCTIONS[name].torch.format(argument), ATOM
        return super().real_function(name, argument, is_array)

    def extreme(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        """Numbers clamp, arrays meet in `torch.minimum`; `min(max(x, a), b)` is one clamp."""
        arrays = [arg for arg in args if self.is_array(arg)]
        numbers = [arg for arg in args if not self.is_array(arg)]
        match arrays:
            case [Apply("max", inner) as only] if name == "min" and numbers and only not in self.names:
                low = [arg for arg in inner if not self.is_array(arg)]
                high = [arg for arg in inner if self.is_array(arg)]
                if low and len(high) == 1:
                    clamp = f"{self._number('max', low)}, {self._number('min', numbers)}"
                    return f"{self._at(high[0], ATOM)}.clamp({clamp})", ATOM
        text = self._at(arrays[0], ATOM if numbers and len(arrays) == 1 else SELECT)
        for arg in arrays[1:]:
            text = f"torch.{name}imum({text}, {self.show(arg)})"
        if numbers:
            text = f"{text}.clamp({_CLAMP[name]}={self._number(name, numbers)})"
        return text, ATOM

    def choice(self, test: Expr, a: Expr, b: Expr) -> str:
        """Of two plain numbers torch would make float32, whatever the type of reals is."""
        if "real" not in (a.kind, b.kind) or self.is_array(a) or self.is_array(b):
            return super().choice(test, a, b)
        return f"torch.where({self.show(test)}, {self.show(a)}, {self._as_array(b)})"

    def function(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        """A choice between an array and a number is an array either way."""
        match name, args:
            case "select", (test, a, b) if not self.is_array(test) and self.is_array(a) != self.is_array(b):
                first, second = (self._as_array(branch) for branch in (a, b))
                return f"{first} if {self._at(test, OR)} else {second}", SELECT
        return super().function(name, args)

    def _as_array(self, expr: Expr) -> str:
        if self.is_array(expr):
            return self._at(expr, OR)
        dtype = ', dtype=at["real dtype"]' if expr.kind == "real" else ""
        return f"torch.tensor({self.show(expr)}{dtype})"

    def _number(self, name: str, args: list[Expr]) -> str:
        return self.show(args[0]) if len(args) == 1 else f"{name}({self.comma(tuple(args))})"

    def real(self, arg: Expr) -> tuple[str, int]:
        return f'{self._at(arg, ATOM)}.to(at["real dtype"])', ATOM
