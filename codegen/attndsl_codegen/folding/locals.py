"""Writes constant variables out where they are read, and drops variables that nothing reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.empties import is_empty
from attndsl_codegen.folding.known import SOMETHING, Facts
from attndsl_codegen.folding.scopes import Scope, scope, target_names
from attndsl_codegen.folding.walk import Chain, Kinds, rewrite, walk

_PURE = frozenset(
    [
        "len",
        "tuple",
        "list",
        "dict",
        "zip",
        "range",
        "min",
        "max",
        "bool",
        "int",
        "float",
        "type",
        "isinstance",
        "enumerate",
        "reversed",
    ]
)
_PURE_METHODS = frozenset(
    [
        "to",
        "view",
        "flatten",
        "unsqueeze",
        "squeeze",
        "size",
        "numel",
        "dim",
        "extents",
        "scale",
        "get",
        "arange",
        "zeros",
    ]
)
_HARMLESS = (cst.Await, cst.Yield, cst.NamedExpr)


@dataclass(frozen=True)
class Locals:
    """Variables of a function that are bound once, to a literal or parameter; and those that are not read.

    fields = ()                              ->
    kinds: ClassVar[Kinds] = (f.dtype for f in fields)            kinds = (f.dtype for f in ())
    batch, size = q.shape[0], 0              ->  batch = q.shape[0]
    """

    kinds: ClassVar[Kinds] = (cst.FunctionDef,)

    def __call__(self, node: cst.FunctionDef) -> Any:
        """A function, folded."""
        found = scope(node)
        constants = _constants(node, found)
        if constants:
            node = rewrite(node, Chain((WrittenOut(constants),)))
            found = scope(node)
        unread = _unread(node, found)
        return rewrite(node, Chain((_Unread(unread),))) if unread else node


def _constants(function: cst.FunctionDef, found: Scope) -> dict[str, Any]:
    """The values of variables that have one only."""
    never_bound_again = {p.name.value for p in function.params.params if found.bound[p.name.value] == 1}
    constants = {
        place.value: part
        for place, part in assigned(function)
        if isinstance(place, cst.Name)
        and found.bound[place.value] == 1
        and (is_constant(part) or (isinstance(part, cst.Name) and part.value in never_bound_again))
    }
    containers = {n for n, v in constants.items() if isinstance(v, cst.List | cst.Dict)}
    if containers:
        only_read = _iterated(function)
        constants = {
            n: v for n, v in constants.items() if n not in containers or only_read[n] == found.read[n]
        }
    return constants


def assigned(node: Any) -> Iterator[tuple[Any, Any]]:
    """What is assigned to what in a function or class."""
    for part in walk(node):
        match part:
            case cst.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _pairs(target.target, value)
            case cst.AnnAssign(target=target, value=cst.BaseExpression() as value):
                yield target, value
            case cst.AugAssign(target=target, value=value):
                yield target, part


def _pairs(target: Any, value: Any) -> list[tuple[Any, Any]]:
    """What is assigned to what, where both are written out."""
    match target, value:
        case cst.Tuple(elements=places), cst.Tuple(elements=parts) if len(places) == len(parts):
            if not any(isinstance(e, cst.StarredElement) for e in (*places, *parts)):
                return [(a.value, b.value) for a, b in zip(places, parts)]
    return [(target, value)]


def is_constant(value: Any) -> bool:
    """Whether it is a literal."""
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
    kinds: ClassVar[Kinds] = (cst.Name,)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node with its names replaced."""
        return self.values.get(node.value, node) if isinstance(node, cst.Name) else node


@dataclass(frozen=True)
class Unnamed:
    """Functions whose unpacked variables that nothing reads have no names.

    out, out_lse = attend(q, k, v)    ->  out, _ = attend(q, k, v)
    return out                            return out
    """

    kinds: ClassVar[Kinds] = (cst.FunctionDef,)

    def __call__(self, node: cst.FunctionDef) -> Any:
        """A function with `_` in place of these names."""
        unread = _unread(node, scope(node))
        return rewrite(node, Chain((_Unread(unread, drops=False),))) if unread else node


def _unread(function: cst.FunctionDef, found: Scope) -> frozenset[str]:
    """The names that a function binds and does not read, parameters aside."""
    unread = {name for name, count in found.bound.items() if count and not found.read[name]}
    inner = {node.name.value for node in walk(function) if isinstance(node, cst.Param | cst.FunctionDef)}
    return frozenset(unread - inner - {"_"})


@dataclass(frozen=True)
class _Unread:
    """Drops assignments to names that nothing reads, where what they are given has no effect."""

    names: frozenset[str]
    drops: bool = True
    kinds: ClassVar[Kinds] = (cst.SimpleStatementLine, cst.For)

    def __call__(self, node: Any) -> Any:
        match node:
            case cst.For(target=cst.Tuple() as target) if self.names.intersection(target_names(target)):
                return node.with_changes(target=self._unnamed(target))
            case cst.SimpleStatementLine(
                body=[cst.Assign(targets=[cst.AssignTarget(target=to)], value=value)]
            ):
                return self._assigned(node, to, value)
            case cst.SimpleStatementLine(body=[cst.AnnAssign(target=cst.Name(value=name), value=value)]):
                gone = self.drops and name in self.names and value is not None and is_pure(value)
                return [] if gone else node
        return node

    def _assigned(self, line: cst.SimpleStatementLine, target: Any, value: Any) -> Any:
        match target, value:
            case cst.Name(value=name), _ if self.drops and name in self.names and is_pure(value):
                return []
            case cst.Name(value=a), cst.Name(value=b) if a == b:
                return []
            case cst.Tuple(), _ if self.drops and len(pairs := _pairs(target, value)) > 1:
                kept = [(a, b) for a, b in pairs if not self._is_unread(a, b)]
                return _assignment(line, kept) if len(kept) < len(pairs) else line
            case cst.Tuple(elements=elements), _ if self.names.intersection(target_names(target)):
                places = [part.with_changes(value=self._unnamed(part.value)) for part in elements]
                return line.with_changes(
                    body=[cst.Assign([cst.AssignTarget(target.with_changes(elements=places))], value)]
                )
        return line

    def _unnamed(self, target: Any) -> Any:
        match target:
            case cst.Name(value=name):
                return cst.Name("_") if name in self.names else target
            case cst.Tuple(elements=elements):
                places = [part.with_changes(value=self._unnamed(part.value)) for part in elements]
                return target.with_changes(elements=places)
        return target

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
            target, value = (
                cst.Tuple([cst.Element(part) for part in side], lpar=(), rpar=()) for side in zip(*pairs)
            )
    return line.with_changes(body=[cst.Assign([cst.AssignTarget(target)], value)])


def is_pure(value: Any) -> bool:
    """Whether nothing changes when an expression is not evaluated."""
    for node in walk(value):
        match node:
            case cst.Call(func=cst.Name(value=name)):
                if name not in _PURE and not name[0].isupper():  # making an object has no effect
                    return False
            case cst.Call(func=cst.Attribute(value=cst.Name(value="torch" | "math")), args=args):
                if any(arg.keyword is not None and arg.keyword.value == "out" for arg in args):
                    return False
            case cst.Call(func=cst.Attribute(attr=cst.Name(value=name))):
                if name not in _PURE_METHODS:
                    return False
            case cst.Call():
                return False
            case _ if isinstance(node, _HARMLESS):
                return False
    return True
