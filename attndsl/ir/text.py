"""Prints expressions as text in the language's own syntax; dialects for Python code derive from it.

first <= j and j < first + 13        (0 if i % 3 == 0 else i - 1)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from attndsl.ir.index import Apply, Const, Expr, Load, Var
from attndsl.ir.walk import postorder

SELECT, OR, AND, NOT, COMPARE, SUM, PRODUCT, NEGATIVE, POWER, ATOM = range(10)
"""Precedence levels, weakest first."""

_COMPARISONS = ("<", "<=", "==")
_LEVELS = {"or": OR, "and": AND, "+": SUM, "*": PRODUCT, "//": PRODUCT, "%": PRODUCT, "/": PRODUCT}


class TextPrinter:
    """Prints expressions; `names` replaces shared subexpressions by names bound elsewhere."""

    def __init__(self, names: Mapping[Expr, str] | None = None) -> None:
        self.names: dict[Expr, str] = dict(names or {})

    def show(self, expr: Expr) -> str:
        """The expression on one line."""
        return self._at(expr, SELECT)

    def _at(self, expr: Expr, level: int) -> str:
        """The expression, in parentheses if it binds weaker than `level`."""
        if expr in self.names:
            return self.names[expr]
        text, own = self.node(expr)
        return text if own >= level else f"({text})"

    def node(self, expr: Expr) -> tuple[str, int]:
        """A node's text and precedence."""
        match expr:
            case Const(value):
                return self.constant(value)
            case Var(name):
                return self.variable(name), ATOM
            case Load(field, coords):
                return self.load(field, coords), ATOM
            case Apply("+", terms):
                return self._sum(terms), SUM
            case Apply("*", (Const(-1), rest)):
                return f"-{self._at(rest, NEGATIVE)}", NEGATIVE
            case Apply("not", (Apply("==", (a, b)),)):
                return f"{self._at(a, SUM)} != {self._at(b, SUM)}", COMPARE
            case Apply(name, (a, b)) if name in _COMPARISONS:
                return f"{self._at(a, SUM)} {name} {self._at(b, SUM)}", COMPARE
            case Apply(name, args):
                return self.function(name, args)
        raise AssertionError(expr)

    def constant(self, value: float) -> tuple[str, int]:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
        return text, NEGATIVE if text.startswith("-") else ATOM

    def variable(self, name: str) -> str:
        return name

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        return f"{field}[{self.comma(coords)}]"

    def function(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        """Functions and operators that are neither sums nor comparisons."""
        match name:
            case "and" | "or" | "*":
                return self.infix(f" {name} ", args, _LEVELS[name]), _LEVELS[name]
            case "//" | "%" | "/":
                a, b = args
                return f"{self._at(a, PRODUCT)} {name} {self._at(b, NEGATIVE)}", PRODUCT
            case "**":
                return f"{self._at(args[0], ATOM)} ** {self._at(args[1], NEGATIVE)}", POWER
            case "not":
                return f"not {self._at(args[0], NOT)}", NOT
            case "select":
                test, a, b = args
                return f"{self._at(a, OR)} if {self._at(test, OR)} else {self._at(b, SELECT)}", SELECT
            case "real":
                return self.node(args[0]) if args[0] not in self.names else (self.names[args[0]], ATOM)
            case _:
                return f"{name}({self.comma(args)})", ATOM

    def infix(self, symbol: str, args: tuple[Expr, ...], level: int) -> str:
        return symbol.join(
            self._at(arg, level + (symbol.strip() == "*" and i > 0)) for i, arg in enumerate(args)
        )

    def comma(self, args: tuple[Expr, ...]) -> str:
        return ", ".join(self.show(arg) for arg in args)

    def _sum(self, terms: tuple[Expr, ...]) -> str:
        """Positive terms first, so that `-j + i` reads `i - j`."""
        ordered = sorted(terms, key=self._subtracted)
        text = self._at(ordered[0], SUM)
        for term in ordered[1:]:
            if self._subtracted(term):
                text += f" - {self._at(_negated(term), PRODUCT)}"
            else:
                text += f" + {self._at(term, PRODUCT)}"
        return text

    def _subtracted(self, term: Expr) -> bool:
        """Whether a term is written with a minus; one that has a name is added under it."""
        return term not in self.names and _is_negative(term)


def _is_negative(term: Expr) -> bool:
    match term:
        case Const(value) | Apply("*", (Const(value), _)):
            return value < 0
        case _:
            return False


def _negated(term: Expr) -> Expr:
    match term:
        case Const(value):
            return Const(-value)
        case Apply("*", (Const(-1), rest)):
            return rest
        case Apply("*", (Const(value), rest)):
            return Const(-value) * rest
    raise AssertionError(term)


def show(expr: Expr) -> str:
    """The expression as text, e.g. `abs(i - j) <= 5 and j <= i`."""
    return TextPrinter().show(expr)


def show_named(expr: Expr, labels: Mapping[Expr, str]) -> list[str]:
    """The expression over several lines: `name = part` for every part that has a name, then the rest."""
    printer = TextPrinter()
    taken: Counter[str] = Counter()
    lines: list[str] = []
    for node in postorder([expr]):
        if node in labels and node is not expr:
            taken[labels[node]] += 1
            count = taken[labels[node]]
            name = labels[node] if count == 1 else f"{labels[node]}{count}"
            lines.append(f"{name} = {printer.show(node)}")
            printer.names[node] = name
    return [*lines, printer.show(expr)]
