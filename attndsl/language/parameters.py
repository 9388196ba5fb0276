"""Values of parameters given from outside: `--set size=(18,24,24)` or keyword arguments of the API."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import Any

from attndsl.diagnostics import AttnError, fail
from attndsl.ir.index import MAX_INTEGER, Const, Expr
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.parse import parse
from attndsl.language.scope import Value


def as_value(name: str, given: Any) -> Value:
    """A Python number or tuple, or the text of one, as a value.

    Raises:
        AttnError: it is neither.
    """
    match given:
        case str():
            return as_value(name, _literal(name, given))
        case bool():
            return Const(given)
        case Integral() if abs(int(given)) < MAX_INTEGER:
            return Const(int(given))
        case Real() if not isinstance(given, Integral) and isfinite(given):
            return Const(float(given))
        case tuple() | list():
            return tuple(as_value(name, item) for item in given)
    raise fail(p.NotLiteral(name, _short(given)))


def check_like(name: str, value: Value, default: Value) -> None:
    """A value must be of its default's sort: a tuple for a tuple, a condition for a condition."""
    if isinstance(value, tuple) != isinstance(default, tuple):
        expected = f"a tuple of {len(default)} values" if isinstance(default, tuple) else "a single value"
        raise fail(
            p.NotLiteral(
                name, _short(plain(value)), f"its default is {_short(plain(default))}: give {expected}"
            )
        )
    if (
        isinstance(value, Expr)
        and isinstance(default, Expr)
        and (value.kind == "bool") != (default.kind == "bool")
    ):
        raise fail(
            p.NotLiteral(
                name, _short(plain(value)), f"its default is {_short(plain(default))}: give one of its kind"
            )
        )


def plain(value: Value) -> Any:
    """A parameter's value as a Python number or tuple; None if it is neither."""
    match value:
        case Const(number):
            return number
        case tuple():
            return tuple(plain(item) for item in value)
        case _:
            return None


def _short(given: Any) -> str:
    text = given if isinstance(given, str) else repr(given)
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _literal(name: str, text: str) -> Any:
    """Reads a literal with the language's own parser."""
    try:
        tree = parse(f"pattern value = ({text.strip()}\n)", "--set")
    except AttnError:
        raise fail(p.NotLiteral(name, _short(text))) from None
    match tree.items:
        case (syntax.Pattern(body=(syntax.Bare(value=value),)),):
            return _plain(name, text, value)
    raise fail(p.NotLiteral(name, _short(text)))


def _plain(name: str, text: str, node: syntax.Expression) -> Any:
    match node:
        case syntax.Number(value=value):
            return value
        case syntax.Unary(operator="-", operand=syntax.Number(value=value)) if not isinstance(value, bool):
            return -value
        case syntax.Tuple(items=items):
            return tuple(_plain(name, text, item) for item in items)
    raise fail(p.NotLiteral(name, _short(text)))
