"""Writes constant variables out where they are read, and drops variables that nothing reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import libcst as cst

from attndsl_codegen.folding.empties import is_empty
from attndsl_codegen.folding.known import SOMETHING, Facts
from attndsl_codegen.folding.scopes import Scope, scope, target_names
from attndsl_codegen.folding.walk import Chain, rewrite, walk

_PURE = frozenset(["len", "tuple", "list", "dict", "zip", "range", "min", "max", "bool", "int", "float", "type", "isinstance", "enumerate", "reversed"])
_PURE_METHODS = frozenset(["to", "view", "flatten", "unsqueeze", "squeeze", "size", "numel", "dim", "extents", "scale", "get", "arange", "zeros"])
_HARMLESS = (cst.Await, cst.Yield, cst.NamedExpr)


@dataclass(frozen=True)
class Locals:
    """Variables of a function that are bound once, to a literal; and those that are bound and not read.

    fields = ()                              ->
    kinds = (f.dtype for f in fields)            kinds = (f.dtype for f in ())
    batch, size = q.shape[0], 0              ->  batch = q.shape[0]
    """

    kinds = (cst.FunctionDef,)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A function, folded; other nodes as they are."""
        if not isinstance(node, cst.FunctionDef):
            return node
        found = scope(node)
        constants = _constants(node, found)
        if constants:
            node = rewrite(node, Chain((WrittenOut(constants),)))
            found = scope(node)
        unread = {name for name, count in found.bound.items() if count and not found.read[name]}
        unread -= {param.name.value for param in walk(node) if isinstance(param, cst.Param)}
        return rewrite(node, Chain((_Unread(frozenset(unread)),))) if unread else node


def _constants(function: cst.FunctionDef, found: Scope) -> dict[str, Any]:
    """The values of variables that have one only."""
    constants: dict[str, Any] = {}
    for node in walk(function):
        match node:
            case cst.Assign(targets=[cst.AssignTarget(target=target)], value=value):
                pairs = _pairs(target, value)
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                pairs = _pairs(target, value)
            case _:
                continue
        for place, part in pairs:
            if isinstance(place, cst.Name) and found.bound[place.value] == 1 and _is_constant(part):
                constants[place.value] = part
    containers = {n for n, v in constants.items() if isinstance(v, cst.List | cst.Dict)}
    if containers:
        only_read = _iterated(function)
        constants = {
            n: v for n, v in constants.items() if n not in containers or only_read[n] == found.read[n]
        }
    return constants


def _pairs(target: Any, value: Any) -> list[tuple[Any, Any]]:
    """What is assigned to what, where both are written out."""
    match target, value:
        case cst.Tuple(elements=places), cst.Tuple(elements=parts) if len(places) == len(parts):
            if not any(isinstance(e, cst.StarredElement) for e in (*places, *parts)):
                return [(a.value, b.value) for a, b in zip(places, parts)]
    return [(target, value)]


def _is_constant(value: Any) -> bool:
    return is_empty(value) or Facts({}).literal(value) is not SOMETHING or _is_truth(value)


def _is_truth(value: Any) -> bool:
    return isinstance(value, cst.Name) and value.value in ("True", "False")


def _iterated(function: cst.FunctionDef) -> Counter[str]:
    """How often names are iterated over or starred: an empty list or dict is then as good as its literal."""
    found: Counter[str] = Counter()
    for node in walk(function):
        match node:
            case cst.Arg(star="*" | "**", value=cst.Name(value=name)):
                found[name] += 1
            case cst.StarredElement(value=cst.Name(value=name)):
                found[name] += 1
            case cst.StarredDictElement(value=cst.Name(value=name)):
                found[name] += 1
            case cst.For(iter=cst.Name(value=name)) | cst.CompFor(iter=cst.Name(value=name)):
                found[name] += 1
    return found


@dataclass(frozen=True)
class WrittenOut:
    """Names replaced by expressions; those that are assigned to stay."""

    values: dict[str, Any]
    kinds = (cst.Name,)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node with its names replaced."""
        return self.values.get(node.value, node) if isinstance(node, cst.Name) else node


@dataclass(frozen=True)
class _Unread:
    """Drops assignments to names that nothing reads, where what they are given has no effect."""

    names: frozenset[str]
    kinds = (cst.SimpleStatementLine,)

    def __call__(self, node: cst.CSTNode) -> Any:
        match node:
            case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=to)], value=value)]):
                return self._assigned(node, to, value)
            case cst.SimpleStatementLine(body=[cst.AnnAssign(target=cst.Name(value=name), value=value)]):
                return [] if name in self.names and value is not None and is_pure(value) else node
        return node

    def _assigned(self, line: cst.SimpleStatementLine, target: Any, value: Any) -> Any:
        match target, value:
            case cst.Name(value=name), _ if name in self.names and is_pure(value):
                return []
            case cst.Name(value=a), cst.Name(value=b) if a == b:
                return []
            case cst.Tuple(), _ if len(pairs := _pairs(target, value)) > 1:
                kept = [(a, b) for a, b in pairs if not self._is_unread(a, b)]
                return _assignment(line, kept) if len(kept) < len(pairs) else line
        return line

    def _is_unread(self, target: Any, value: Any) -> bool:
        names = list(target_names(target))
        return bool(names) and self.names.issuperset(names) and is_pure(value)


def _assignment(line: cst.SimpleStatementLine, pairs: list[tuple[Any, Any]]) -> Any:
    """One assignment of what is left."""
    match pairs:
        case []:
            return []
        case [(target, value)]:
            pass
        case _:
            target, value = (cst.Tuple([cst.Element(part) for part in side], lpar=(), rpar=()) for side in zip(*pairs))
    return line.with_changes(body=[cst.Assign([cst.AssignTarget(target)], value)])


def is_pure(value: Any) -> bool:
    """Whether nothing changes when an expression is not evaluated."""
    for node in walk(value):
        match node:
            case cst.Call(func=cst.Name(value=name)):
                if name not in _PURE:
                    return False
            case cst.Call(func=cst.Attribute(attr=cst.Name(value=name))):
                if name not in _PURE_METHODS:
                    return False
            case cst.Call():
                return False
            case _ if isinstance(node, _HARMLESS):
                return False
    return True
