"""The elementwise functions of index and pair expressions, each defined once.

An entry holds a function's name, arity, result kind, exact value and bounds. Values and bounds are
written against a `Namespace` (see `namespaces.py`), so the same line serves Python integers, numpy
arrays, torch tensors and, because a namespace may also build expressions, the symbolic interval
analysis of `bounds.py`.

A boolean is an integer that is 0 or 1: its interval is `(must, may)`. A function that grows with
every argument needs no bounds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeAlias

from attndsl.ir.namespaces import Namespace

Kind: TypeAlias = Literal["int", "bool", "real"]
Interval: TypeAlias = tuple[Any, Any]
"""Smallest and largest value; for a boolean, whether it must and whether it may hold."""


@dataclass(frozen=True)
class Function:
    """One elementwise function.

    `arity` is None for functions of any number of arguments; `result` is None when the result has
    the kind of the arguments; `bounds` is None for functions that grow with every argument. `derivative`
    gives the partial derivative by each argument, where the function has any. `torch` and `python` are the
    printed forms of real functions, with `{}` for the argument.
    """

    name: str
    arity: int | None
    value: Callable[..., Any]
    bounds: Callable[..., Interval] | None = None
    result: Kind | None = None
    on: tuple[Kind, ...] = ("int", "real")
    derivative: Callable[..., tuple[Any, ...]] | None = None
    torch: str = ""
    python: str = ""

    def interval(self, ns: Namespace, *args: Interval) -> Interval:
        """Bounds of the result, given bounds of the arguments."""
        if self.bounds is not None:
            return self.bounds(ns, *args)
        return self.value(ns, *(lo for lo, _ in args)), self.value(ns, *(hi for _, hi in args))


def _fold(step: Callable[[Namespace, Any, Any], Any]) -> Callable[..., Any]:
    return lambda ns, *args: reduce(lambda a, b: step(ns, a, b), args)


def _times(ns: Namespace, a: Interval, b: Interval) -> Interval:
    if a[0] is a[1]:
        a, b = b, a
    if b[0] is b[1]:
        positive = b[0] >= 0
        return ns.where(positive, a[0], a[1]) * b[0], ns.where(positive, a[1], a[0]) * b[0]
    return _extremes(ns, [x * y for x in a for y in b])


def _floordiv(ns: Namespace, a: Interval, b: Interval) -> Interval:
    """A divisor is never zero: a range that touches zero ends at 1 or -1; one that spans it may be either."""
    if b[0] is b[1]:
        positive = b[0] >= 0
        return ns.where(positive, a[0], a[1]) // b[0], ns.where(positive, a[1], a[0]) // b[0]
    first, last = ns.where(ns.equal(b[0], 0), 1, b[0]), ns.where(ns.equal(b[1], 0), -1, b[1])
    lo, hi = _extremes(ns, [x // y for x in a for y in (first, last)])
    spans = (first < 0) & (last > 0)
    size = ns.maximum(ns.absolute(a[0]), ns.absolute(a[1]))
    return ns.where(spans, -size, lo), ns.where(spans, size, hi)


def _unknown(ns: Namespace, *args: Interval) -> Interval:
    """Reals decide nothing about visibility, so functions that do not simply grow need no sharp bounds."""
    return -math.inf, math.inf


def _extremes(ns: Namespace, corners: list[Any]) -> Interval:
    return reduce(ns.minimum, corners), reduce(ns.maximum, corners)


def _mod(ns: Namespace, a: Interval, b: Interval) -> Interval:
    """The remainder has the sign of the divisor; within one period it is the distance to its start."""
    lowest, highest = ns.minimum(b[0] + 1, 0), ns.maximum(b[1] - 1, 0)
    if b[0] is not b[1]:
        return lowest, highest
    one_period = ns.equal(a[0] // b[0], a[1] // b[0])
    return ns.where(one_period, a[0] % b[0], lowest), ns.where(one_period, a[1] % b[0], highest)


def _power(ns: Namespace, a: Interval, b: Interval) -> Interval:
    exponent = b[0]
    if not _is_integer(exponent):
        return _unknown(ns)
    # The checker admits only constant exponents >= 0 on integers.
    size = ns.maximum(ns.absolute(a[0]), ns.absolute(a[1])) ** exponent
    signed = a[0] < 0
    return ns.where(signed, -size, a[0] ** exponent), ns.where(signed, size, a[1] ** exponent)


def _is_integer(exponent: Any) -> bool:
    """Whether an exponent is a plain integer, possibly as a constant expression."""
    return isinstance(getattr(exponent, "value", exponent), int)


def _abs(ns: Namespace, a: Interval) -> Interval:
    lo, hi = a
    return ns.maximum(ns.maximum(lo, -hi), 0), ns.maximum(-lo, hi)


def _select(ns: Namespace, test: Interval, a: Interval, b: Interval) -> Interval:
    must, may = test
    lo = ns.where(must, a[0], ns.where(may, ns.minimum(a[0], b[0]), b[0]))
    hi = ns.where(must, a[1], ns.where(may, ns.maximum(a[1], b[1]), b[1]))
    return lo, hi


def _equal(ns: Namespace, a: Interval, b: Interval) -> Interval:
    fixed = ns.equal(a[0], a[1]) & ns.equal(b[0], b[1]) & ns.equal(a[0], b[0])
    return fixed, (a[0] <= b[1]) & (b[0] <= a[1])


def _not(ns: Namespace, a: Interval) -> Interval:
    return ns.negate(a[1]), ns.negate(a[0])


def _ispow2(ns: Namespace, a: Interval) -> Interval:
    """A range holds a power of two iff it reaches the first one not below its start."""
    lo, hi = a
    one_or_two = ns.equal(lo, 1) & ns.equal(hi, 2)
    return one_or_two | (ns.equal(lo, hi) & ns.ispow2(lo)), ns.ceilpow2(lo) <= hi


def _product_rule(ns: Namespace, *args: Any) -> tuple[Any, ...]:
    """Each factor's derivative is the product of the others."""
    found = []
    for at in range(len(args)):
        others = [*args[:at], *args[at + 1 :]]
        found.append(reduce(lambda a, b: a * b, others, 1.0))
    return tuple(found)


def _power_rule(ns: Namespace, a: Any, b: Any) -> tuple[Any, Any]:
    """By the base everywhere; by the exponent where the base is positive."""
    return b * a ** (b - 1.0), ns.where(a > 0, a**b * ns.unary("log", ns.where(a > 0, a, 1.0)), 0.0)


def _extreme_rule(better: Callable[[Namespace, Any, Any], Any]) -> Callable[..., tuple[Any, ...]]:
    """The first argument that attains the extreme has all of the derivative."""

    def derivative(ns: Namespace, *args: Any) -> tuple[Any, ...]:
        extreme = reduce(lambda a, b: better(ns, a, b), args)
        found, free = [], 1.0
        for arg in args:
            share = ns.where(ns.equal(arg, extreme), free, 0.0)
            found.append(share)
            free = free - share
        return tuple(found)

    return derivative


def _sign(ns: Namespace, a: Any) -> tuple[Any]:
    return (ns.where(a < 0, -1.0, ns.where(a > 0, 1.0, 0.0)),)


def _logistic(ns: Namespace, a: Any) -> Any:
    return 1.0 / (1.0 + ns.unary("exp", -a))


def _silu_slope(ns: Namespace, a: Any) -> Any:
    share = _logistic(ns, a)
    return share + a * share * (1.0 - share)


def _gelu_slope(ns: Namespace, a: Any) -> Any:
    below = 0.5 * (1.0 + ns.unary("erf", a * 0.5**0.5))
    return below + a * ns.unary("exp", a * a * -0.5) * (2 * math.pi) ** -0.5


def _real(
    name: str,
    torch: str,
    python: str,
    slope: Callable[[Namespace, Any], Any],
    value: Callable[..., Any] | None = None,
    bounds: Callable[..., Interval] | None = None,
) -> Function:
    """A real function of one real number, with its derivative."""
    plain = value or (lambda ns, a: ns.unary(name, a))
    return Function(
        name,
        1,
        plain,
        bounds,
        on=("real",),
        derivative=lambda ns, a: (slope(ns, a),),
        torch=torch,
        python=python,
    )


_TABLE = (
    Function("+", None, _fold(lambda ns, a, b: a + b), derivative=lambda ns, *args: (1.0,) * len(args)),
    Function("*", None, _fold(lambda ns, a, b: a * b), _fold(_times), derivative=_product_rule),
    Function("//", 2, lambda ns, a, b: a // b, _floordiv, on=("int",)),
    Function("%", 2, lambda ns, a, b: a % b, _mod, on=("int",)),
    Function(
        "/",
        2,
        lambda ns, a, b: a / b,
        _unknown,
        result="real",
        on=("real",),
        derivative=lambda ns, a, b: (1.0 / b, -a / (b * b)),
    ),
    Function("**", 2, lambda ns, a, b: a**b, _power, derivative=_power_rule),
    Function(
        "min",
        None,
        _fold(lambda ns, a, b: ns.minimum(a, b)),
        derivative=_extreme_rule(lambda ns, a, b: ns.minimum(a, b)),
    ),
    Function(
        "max",
        None,
        _fold(lambda ns, a, b: ns.maximum(a, b)),
        derivative=_extreme_rule(lambda ns, a, b: ns.maximum(a, b)),
    ),
    Function("abs", 1, lambda ns, a: ns.absolute(a), _abs, derivative=_sign),
    Function(
        "select",
        3,
        lambda ns, c, a, b: ns.where(c, a, b),
        _select,
        derivative=lambda ns, c, a, b: (0.0, ns.where(c, 1.0, 0.0), ns.where(c, 0.0, 1.0)),
    ),
    Function("<", 2, lambda ns, a, b: a < b, lambda ns, a, b: (a[1] < b[0], a[0] < b[1]), result="bool"),
    Function("<=", 2, lambda ns, a, b: a <= b, lambda ns, a, b: (a[1] <= b[0], a[0] <= b[1]), result="bool"),
    Function("==", 2, lambda ns, a, b: ns.equal(a, b), _equal, result="bool"),
    Function("and", None, _fold(lambda ns, a, b: a & b), result="bool", on=("bool",)),
    Function("or", None, _fold(lambda ns, a, b: a | b), result="bool", on=("bool",)),
    Function("not", 1, lambda ns, a: ns.negate(a), _not, result="bool", on=("bool",)),
    Function("ispow2", 1, lambda ns, a: ns.ispow2(a), _ispow2, result="bool", on=("int",)),
    Function("ceilpow2", 1, lambda ns, a: ns.ceilpow2(a), on=("int",)),
    Function("real", 1, lambda ns, a: ns.real(a), result="real"),
    Function("dot", 2, lambda ns, a, b: (a * b).sum(-1), _unknown, result="real", on=("real",)),
    _real("exp", "torch.exp({})", "math.exp({})", lambda ns, a: ns.unary("exp", a)),
    _real("log", "torch.log({})", "math.log({})", lambda ns, a: 1.0 / a),
    _real("sqrt", "torch.sqrt({})", "math.sqrt({})", lambda ns, a: 0.5 / ns.unary("sqrt", a)),
    _real("tanh", "torch.tanh({})", "math.tanh({})", lambda ns, a: 1.0 - ns.unary("tanh", a) ** 2),
    _real(
        "sigmoid",
        "torch.sigmoid({})",
        "1.0 / (1.0 + math.exp(-({})))",
        lambda ns, a: _logistic(ns, a) * (1.0 - _logistic(ns, a)),
        value=_logistic,
    ),
    _real(
        "relu",
        "torch.relu({})",
        "max({}, 0.0)",
        lambda ns, a: ns.where(a > 0, 1.0, 0.0),
        value=lambda ns, a: ns.maximum(a, 0.0),
    ),
    _real(
        "elu",
        "functional.elu({})",
        "math.expm1(min({0}, 0.0)) + max({0}, 0.0)",
        lambda ns, a: ns.where(a > 0, 1.0, ns.unary("exp", ns.minimum(a, 0.0))),
        value=lambda ns, a: ns.maximum(a, 0.0) + ns.unary("expm1", ns.minimum(a, 0.0)),
        bounds=_unknown,
    ),
    _real(
        "silu",
        "functional.silu({})",
        "({0}) / (1.0 + math.exp(-({0})))",
        _silu_slope,
        value=lambda ns, a: a / (1.0 + ns.unary("exp", -a)),
        bounds=_unknown,
    ),
    _real(
        "softplus",
        "functional.softplus({})",
        "max({0}, 0.0) + math.log1p(math.exp(-abs({0})))",
        _logistic,
        value=lambda ns, a: ns.maximum(a, 0.0) + ns.unary("log1p", ns.unary("exp", -ns.absolute(a))),
        bounds=_unknown,
    ),
    _real(
        "gelu",
        "functional.gelu({})",
        "0.5 * ({0}) * (1.0 + math.erf(({0}) * 0.5**0.5))",
        _gelu_slope,
        value=lambda ns, a: 0.5 * a * (1.0 + ns.unary("erf", a * 0.5**0.5)),
        bounds=_unknown,
    ),
    _real("sin", "torch.sin({})", "math.sin({})", lambda ns, a: ns.unary("cos", a), bounds=_unknown),
    _real("cos", "torch.cos({})", "math.cos({})", lambda ns, a: -ns.unary("sin", a), bounds=_unknown),
)

FUNCTIONS: dict[str, Function] = {function.name: function for function in _TABLE}
USER_FUNCTIONS = (
    "min", "max", "abs", "ispow2", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "elu", "silu", "softplus",
    "gelu", "sin", "cos",
)  # fmt: skip
"""Functions that a spec calls by name; `clamp` is spelled with min and max, the rest are operators."""
