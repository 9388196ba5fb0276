"""Which definitions are called where: the calls of a program as far as its text shows them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

Function = ast.FunctionDef


@dataclass(frozen=True)
class Uses:
    """The uses of names in a piece of Python.

    Attributes:
        calls: by name, the calls of it; `kernel[grid](...)` is a call of `kernel`.
        others: names that are used otherwise, so that not all of their calls are seen.
        members: attributes that are read.
    """

    calls: dict[str, list[ast.Call]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)


@lru_cache(4096)
def uses(text: str) -> Uses:
    """Reads the uses off a text."""
    found = Uses()
    callees: set[int] = set()
    for node in ast.walk(parsed(text)):
        match node:
            case ast.Call(func=ast.Name(id=name) as callee):
                found.calls.setdefault(name, []).append(node)
                callees.add(id(callee))
            case ast.Call(func=ast.Subscript(value=ast.Name(id=name) as callee)):
                found.calls.setdefault(name, []).append(node)
                callees.add(id(callee))
            case ast.Name(id=name, ctx=ast.Load()) if id(node) not in callees:
                found.others.add(name)
            case ast.Attribute(attr=name, ctx=ast.Load()):
                found.members.add(name)
    return found


@lru_cache(4096)
def parsed(text: str) -> ast.Module:
    """A text as Python reads it."""
    return ast.parse(text)


def all_uses(texts: Iterable[str]) -> Uses:
    """The uses in several texts."""
    total = Uses()
    for text in texts:
        here = uses(text)
        for name, calls in here.calls.items():
            total.calls.setdefault(name, []).extend(calls)
        total.others.update(here.others)
        total.members.update(here.members)
    return total


def passed(call: ast.Call, at: int, name: str) -> ast.expr | None:
    """What a call passes for the parameter at a place; None if that cannot be told.

    Raises:
        LookupError: the call leaves it out.
    """
    for place, arg in enumerate(call.args):
        if isinstance(arg, ast.Starred):
            return None
        if place == at:
            return arg
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    raise LookupError(name)
