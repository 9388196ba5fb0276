"""Functions in which nothing is left to do."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.calls import Uses, parsed, uses
from attndsl_codegen.folding.known import spelled
from attndsl_codegen.folding.locals import is_pure
from attndsl_codegen.folding.walk import Kinds


@dataclass(frozen=True)
class Trivial:
    """A function that gives a parameter back, or a literal; `parameter` is its place."""

    parameter: int | None
    name: str
    literal: Any


def trivial(texts: Mapping[str, str], total: Uses) -> dict[str, Trivial]:
    """The trivial functions among definitions of which every call is seen."""
    found: dict[str, Trivial] = {}
    for name, text in texts.items():
        if name in total.others or name not in total.calls:
            continue
        match parsed(text).body:
            case [ast.FunctionDef(decorator_list=[], args=arguments, body=body)]:
                names = [argument.arg for argument in arguments.args]
                if (
                    result := _result(body[1:] if isinstance(body[0], ast.Expr) else body, names)
                ) is not None:
                    found[name] = result
    return found


def _result(body: list[ast.stmt], names: list[str]) -> Trivial | None:
    match body:
        case []:
            return Trivial(None, "", None)
        case [ast.Return(value=ast.Name(id=name))] if name in names:
            return Trivial(names.index(name), name, None)
        case [ast.Return(value=ast.Constant(value=value))]:
            return Trivial(None, "", value)
    return None


@dataclass(frozen=True)
class Forwarding:
    """Calls of functions that do nothing.

    With `def shaped(at, s): return s` and `def is_flat(shape): return False`:

    weight = shaped(at, s).exp()   ->  weight = s.exp()
    if is_flat(q.shape):           ->  if False:
    """

    functions: Mapping[str, Trivial]
    kinds: ClassVar[Kinds] = (cst.Call, cst.SimpleStatementLine, cst.Assign, cst.Return, cst.Arg)

    def touches(self, text: str) -> bool:
        """Whether a definition changes."""
        return not self.functions.keys().isdisjoint(uses(text).calls)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node with its calls replaced."""
        match node:
            case cst.Call(func=cst.Name(value=name), args=args) if name in self.functions:
                result = _replaced(self.functions[name], args)
                return node if result is None else result
            case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Name() | cst.Integer())]):
                return []
            case cst.Assign(value=value) | cst.Return(value=value) | cst.Arg(value=value):
                return node.with_changes(value=_unbracketed(value)) if _needs_no_brackets(value) else node
        return node


def _replaced(function: Trivial, args: Any) -> Any:
    """What stands for a call; None where its arguments do something."""
    chosen = [arg for at, arg in enumerate(args) if _is_chosen(function, at, arg)]
    if any(arg.star or not is_pure(arg.value) for arg in args if arg not in chosen):
        return None
    if function.parameter is None:
        return spelled(function.literal)
    match chosen:
        case [cst.Arg(star="", value=value)]:
            return value if value.lpar or isinstance(value, _ATOMS) else _bracketed(value)
    return None


def _is_chosen(function: Trivial, at: int, arg: cst.Arg) -> bool:
    if arg.keyword is not None:
        return arg.keyword.value == function.name
    return at == function.parameter


_ATOMS = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.Integer)


def _bracketed(value: Any) -> Any:
    return value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _unbracketed(value: Any) -> Any:
    return value.with_changes(lpar=[], rpar=[])


def _needs_no_brackets(value: Any) -> bool:
    """Whether brackets around a whole expression can go: they hold it together on one line."""
    match value:
        case cst.BinaryOperation(lpar=[bracket]) | cst.UnaryOperation(lpar=[bracket]):
            return isinstance(bracket.whitespace_after, cst.SimpleWhitespace)
    return False
