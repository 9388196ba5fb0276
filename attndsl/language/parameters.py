"""Values of parameters given from outside: `--set size=(18,24,24)` or keyword arguments of the API."""

from __future__ import annotations

from typing import Any

from attndsl.diagnostics import AttnError, fail
from attndsl.ir.index import MAX_INTEGER, Const
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.parse import parse
from attndsl.language.values import Value


def as_value(name: str, given: Any) -> Value:
    """A Python number or tuple, or the text of one, as a value.

    Raises:
        AttnError: it is neither.
    """
    match given:
        case str():
            return as_value(name, _literal(name, given))
        case bool() | float():
            return Const(given)
        case int() if abs(given) < MAX_INTEGER:
            return Const(given)
        case tuple() | list():
            return tuple(as_value(name, item) for item in given)
    raise fail(p.NotLiteral(name, str(given)[:60]))


def _literal(name: str, text: str) -> Any:
    """Reads a literal with the language's own parser."""
    try:
        tree = parse(f"pattern value = ({text.strip()}\n)", "--set")
    except AttnError:
        raise fail(p.NotLiteral(name, text[:60])) from None
    match tree.items:
        case (syntax.Pattern(body=(syntax.Bare(value=value),)),):
            return _plain(name, text, value)
    raise fail(p.NotLiteral(name, text[:60]))


def _plain(name: str, text: str, node: syntax.Expression) -> Any:
    match node:
        case syntax.Number(value=value):
            return value
        case syntax.Unary(operator="-", operand=syntax.Number(value=value)) if not isinstance(value, bool):
            return -value
        case syntax.Tuple(items=items):
            return tuple(_plain(name, text, item) for item in items)
    raise fail(p.NotLiteral(name, text[:60]))
