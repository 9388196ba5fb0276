"""Index and pair expressions: frozen, interned nodes with exact integer semantics.

An expression is a real, integer or boolean function of named variables (coordinates of a query and a
key, the head, extents) and of fields looked up at coordinates. Nodes are interned: equal expressions
are the same object, so `is` compares them and dictionaries keyed by node never walk a tree twice.

Sums, products, `and`, `or`, `min` and `max` take any number of arguments. A difference is a sum with
a factor -1, `a > b` is `b < a`, `a != b` is `not a == b`: fewer forms, fewer rules. The constructors
in this file fold constants and apply the identities that need no knowledge of ranges; `rewrite.py`
holds those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias
from weakref import WeakValueDictionary

from attndsl.ir.functions import FUNCTIONS, Kind
from attndsl.ir.namespaces import EXACT

MAX_INTEGER = 2**62
"""Integers of an expression stay below this, so that no 64-bit evaluation can overflow."""

MAX_FACTORS = 16
"""A longer product stays one factor of the next: `x = x * x` would double its factors every time."""


class ArithmeticProblem(ArithmeticError):
    """A constant expression has no usable value: division by zero, overflow, log of a negative."""


class _Interned(type):
    """A class whose constructor returns the existing object when the arguments are the same."""

    _nodes: ClassVar[WeakValueDictionary[tuple[Any, ...], Any]] = WeakValueDictionary()

    def __call__(cls: Any, *args: Any) -> Any:
        if cls is not Const and len(args) == len(cls.__match_args__) - 1:
            args = (*args, cls.kind)  # the default kind, given or not, is the same node
        key = (cls, *((type(arg), arg) for arg in args))
        node = _Interned._nodes.get(key)
        if node is None:
            node = super().__call__(*args)
            _Interned._nodes[key] = node
        return node


class Expr(metaclass=_Interned):
    """Base of all nodes; Python's operators build expressions."""

    kind: Kind

    def __add__(self, other: Operand) -> Expr:
        return apply("+", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return apply("+", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return apply("+", self, apply("*", -1, other))

    def __rsub__(self, other: Operand) -> Expr:
        return apply("+", other, apply("*", -1, self))

    def __neg__(self) -> Expr:
        return apply("*", -1, self)

    def __mul__(self, other: Operand) -> Expr:
        return apply("*", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return apply("*", other, self)

    def __floordiv__(self, other: Operand) -> Expr:
        return apply("//", self, other)

    def __truediv__(self, other: Operand) -> Expr:
        return apply("/", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return apply("/", other, self)

    def __mod__(self, other: Operand) -> Expr:
        return apply("%", self, other)

    def __pow__(self, other: Operand) -> Expr:
        return apply("**", self, other)

    def __lt__(self, other: Operand) -> Expr:
        return apply("<", self, other)

    def __le__(self, other: Operand) -> Expr:
        return apply("<=", self, other)

    def __gt__(self, other: Operand) -> Expr:
        return apply("<", other, self)

    def __ge__(self, other: Operand) -> Expr:
        return apply("<=", other, self)

    def __and__(self, other: Operand) -> Expr:
        return apply("and", self, other)

    def __or__(self, other: Operand) -> Expr:
        return apply("or", self, other)

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value of its own; build it with & | and select")


Operand: TypeAlias = "Expr | int | float | bool"


@dataclass(frozen=True, eq=False)
class Const(Expr):
    """A number or truth value."""

    value: int | float | bool

    @property
    def kind(self) -> Kind:  # type: ignore[override]
        """The kind of the value."""
        match self.value:
            case bool():
                return "bool"
            case int():
                return "int"
            case _:
                return "real"


@dataclass(frozen=True, eq=False)
class Var(Expr):
    """A named variable, e.g. `i.h`, `head`, the extent `n`, or the score `s`."""

    name: str
    kind: Kind = "int"


@dataclass(frozen=True, eq=False)
class Load(Expr):
    """A field (a tensor over tokens without width) at coordinates, e.g. `label[i.h, i.w]`."""

    field: str
    coords: tuple[Expr, ...]
    kind: Kind = "int"


@dataclass(frozen=True, eq=False)
class Apply(Expr):
    """A function of `FUNCTIONS` applied to arguments."""

    function: str
    args: tuple[Expr, ...]
    kind: Kind = "int"


TRUE, FALSE = Const(True), Const(False)
ZERO, ONE = Const(0), Const(1)


def as_expr(value: Operand) -> Expr:
    """The expression for a Python number; expressions pass through."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ArithmeticProblem(f"the integer has more than {MAX_INTEGER.bit_length() - 1} bits")
    return Const(value)


def apply(name: str, *args: Operand) -> Expr:
    """The function `name` of `args`, with constants folded and trivial identities applied.

    Raises:
        ArithmeticProblem: a constant subexpression divides by zero or leaves the integer range.
    """
    operands = tuple(as_expr(arg) for arg in args)
    simple = _IDENTITIES.get(name)
    if simple is not None:
        return simple(operands)
    return _make(name, operands)


def _make(name: str, args: tuple[Expr, ...]) -> Expr:
    """A node as given, or its value if every argument is a constant."""
    if all(isinstance(arg, Const) for arg in args):
        return _fold(name, *(arg.value for arg in args))  # type: ignore[attr-defined]
    function = FUNCTIONS[name]
    return Apply(name, args, function.result or args[-1].kind)


def _fold(name: str, *values: Any) -> Const:
    if name == "**" and isinstance(values[0], int):
        _refuse_bomb(values[0], values[1])
    try:
        value = FUNCTIONS[name].value(EXACT, *values)
    except (ArithmeticError, ValueError) as problem:
        raise ArithmeticProblem(str(problem)) from None
    if isinstance(value, complex):
        raise ArithmeticProblem("a negative number has no real power of this kind")
    return as_expr(value)  # type: ignore[return-value]


def _refuse_bomb(base: int, exponent: float) -> None:
    """`9 ** 9 ** 9` must not be computed before it is found too large."""
    if exponent > 0 and abs(base) > 1 and exponent * (abs(base).bit_length() - 1) > 62:
        raise ArithmeticProblem(f"{base} ** {exponent} is too large")


def _flatten(name: str, args: Iterable[Expr]) -> Iterator[Expr]:
    for arg in args:
        match arg:
            case Apply(function, inner) if function == name:
                yield from inner
            case _:
                yield arg


def _sum(args: tuple[Expr, ...]) -> Expr:
    """Collects equal terms: `i + j - i` is `j`. Terms keep the order in which they first appear."""
    constant: int | float = 0
    factors: dict[Expr, int | float] = {}
    real = any(arg.kind == "real" for arg in args)
    for term in _flatten("+", args):
        match term:
            case Const(value):
                constant += value
            case Apply("*", (Const(factor), rest)):
                factors[rest] = factors.get(rest, 0) + factor
            case _:
                factors[term] = factors.get(term, 0) + 1
    terms = [
        term if factor == 1 else _product((Const(factor), term)) for term, factor in factors.items() if factor
    ]
    if constant != 0 or not terms:
        terms.append(as_expr(float(constant) if real else constant))
    return terms[0] if len(terms) == 1 else Apply("+", tuple(terms), "real" if real else "int")


def _factors(args: Iterable[Expr]) -> Iterator[Expr]:
    for arg in args:
        match arg:
            case Apply("*", (Const() as coefficient, rest)):
                yield coefficient
                yield from _factors((rest,))
            case Apply("*", factors) if len(factors) <= MAX_FACTORS:
                yield from factors
            case _:
                yield arg


def _product(args: tuple[Expr, ...]) -> Expr:
    """Constants come first; an integer constant distributes over a sum, so sums stay linear."""
    constant: int | float = 1
    rest: list[Expr] = []
    for factor in _factors(args):
        match factor:
            case Const(value):
                constant *= value
            case _:
                rest.append(factor)
    coefficient = as_expr(constant)
    if constant == 0 or not rest:
        return coefficient
    if constant != 1:
        match rest:
            case [Apply("+", terms)] if all(arg.kind == "int" for arg in args):
                return _sum(tuple(_product((coefficient, term)) for term in terms))
        inner = rest[0] if len(rest) == 1 else Apply("*", tuple(rest), rest[0].kind)
        return Apply("*", (coefficient, inner), "real" if any(a.kind == "real" for a in args) else "int")
    return rest[0] if len(rest) == 1 else Apply("*", tuple(rest), rest[0].kind)


def _lattice(name: str, neutral: Expr | None, absorbing: Expr | None) -> Callable[..., Expr]:
    """`and`, `or`, `min`, `max`: flat, without repetitions, at most one constant."""

    def build(args: tuple[Expr, ...]) -> Expr:
        operands = list(dict.fromkeys(_flatten(name, args)))
        constants = [arg for arg in operands if isinstance(arg, Const)]
        if len(constants) > 1:
            folded = _fold(name, *(constant.value for constant in constants))
            operands = [arg for arg in operands if not isinstance(arg, Const)] + [folded]
        if absorbing is not None and absorbing in operands:
            return absorbing
        operands = [arg for arg in operands if arg is not neutral]
        if not operands and neutral is not None:
            return neutral
        return operands[0] if len(operands) == 1 else Apply(name, tuple(operands), operands[0].kind)

    return build


def _not(args: tuple[Expr, ...]) -> Expr:
    match args[0]:
        case Apply("not", (inner,)):
            return inner
        case Apply("<", (a, b)):
            return apply("<=", b, a)
        case Apply("<=", (a, b)):
            return apply("<", b, a)
    return _make("not", args)


def _select(args: tuple[Expr, ...]) -> Expr:
    test, a, b = args
    if test is TRUE or a is b:
        return a
    if test is FALSE:
        return b
    if a.kind == "bool":
        return (test & a) | (apply("not", test) & b)
    return Apply("select", args, a.kind)


def _comparison(name: str, when_same: bool) -> Callable[..., Expr]:
    def build(args: tuple[Expr, ...]) -> Expr:
        return Const(when_same) if args[0] is args[1] else _make(name, args)

    return build


def _floordiv(args: tuple[Expr, ...]) -> Expr:
    return args[0] if args[1] is ONE else _make("//", args)


def _mod(args: tuple[Expr, ...]) -> Expr:
    return ZERO if args[1] is ONE else _make("%", args)


def _power(args: tuple[Expr, ...]) -> Expr:
    return args[0] if args[1] is ONE else _make("**", args)


def _real(args: tuple[Expr, ...]) -> Expr:
    return args[0] if args[0].kind == "real" else _make("real", args)


_IDENTITIES: dict[str, Callable[[tuple[Expr, ...]], Expr]] = {
    "+": _sum,
    "*": _product,
    "and": _lattice("and", TRUE, FALSE),
    "or": _lattice("or", FALSE, TRUE),
    "min": _lattice("min", None, None),
    "max": _lattice("max", None, None),
    "not": _not,
    "select": _select,
    "<": _comparison("<", False),
    "<=": _comparison("<=", True),
    "==": _comparison("==", True),
    "//": _floordiv,
    "%": _mod,
    "**": _power,
    "real": _real,
}
