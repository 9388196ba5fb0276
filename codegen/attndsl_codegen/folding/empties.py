"""Drops what is done for each of nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import libcst as cst

from attndsl_codegen.folding.known import spelled

_OF_NOTHING = {"tuple": (), "zip": (), "map": (), "reversed": (), "enumerate": (), "list": [], "sorted": []}
_OF_NOTHING |= {"dict": {}, "any": False, "all": True, "sum": 0}
"""What calls of builtins give that get an empty sequence."""


@dataclass(frozen=True)
class Empties:
    """Loops over nothing, and starred nothings.

    for name in ():               ->
        fields[name] = at[name]
    f(q, *(g(t) for t in ()))     ->  f(q)
    {**at, **{}}                  ->  at
    """

    kinds = (
        *(cst.For, cst.GeneratorExp, cst.ListComp, cst.DictComp, cst.Call, cst.Arg, cst.StarredElement),
        *(cst.StarredDictElement, cst.CompFor, cst.Subscript, cst.Dict, cst.BinaryOperation),
    )

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node of a kernel, folded."""
        match node:
            case cst.For(iter=items, orelse=None) if is_empty(items):
                return []
            case cst.GeneratorExp(for_in=cst.CompFor(iter=items)) if is_empty(items):
                return spelled(())
            case cst.ListComp(for_in=cst.CompFor(iter=items)) if is_empty(items):
                return spelled([])
            case cst.DictComp(for_in=cst.CompFor(iter=items)) if is_empty(items):
                return spelled({})
            case cst.Call(func=cst.Name(value=name), args=args) if name in _OF_NOTHING:
                return spelled(_OF_NOTHING[name]) if any(is_empty(arg.value) for arg in args) else node
            case cst.Arg(star="*" | "**", value=value) | cst.StarredElement(value=value) if is_empty(value):
                return []
            case cst.StarredDictElement(value=value) if is_empty(value):
                return []
            case cst.CompFor(ifs=[*tests]) if any(_holds(test) for test in tests):
                return node.with_changes(ifs=[test for test in tests if not _holds(test)])
            case cst.CompFor(iter=cst.Tuple(elements=[cst.StarredElement(value=cst.Name() as only)])):
                return node.with_changes(iter=only)
            case cst.Subscript(
                value=cst.Dict(elements=elements), slice=[cst.SubscriptElement(slice=cst.Index(value=key))]
            ):
                return next((e.value for e in elements if _is_key(e, key)), node)
            case cst.Dict(elements=[cst.StarredDictElement(value=cst.Name() as only)]):
                return only
            case cst.BinaryOperation(left=left, operator=cst.Add(), right=right) if is_empty(right):
                return left
            case cst.BinaryOperation(operator=cst.Multiply(), right=cst.Integer(value="0"), left=cst.List()):
                return spelled([])
        return node


def _holds(test: cst.CompIf) -> bool:
    return isinstance(test.test, cst.Name) and test.test.value == "True"


def _is_key(element: cst.BaseDictElement, key: cst.BaseExpression) -> bool:
    """Whether a literal is the key of an element."""
    match element, key:
        case cst.DictElement(key=cst.SimpleString(value=a)), cst.SimpleString(value=b):
            return a == b
    return False


def is_empty(node: cst.CSTNode) -> bool:
    """Whether it is an empty tuple, list or dict, written out."""
    match node:
        case cst.Tuple(elements=elements) | cst.List(elements=elements) | cst.Dict(elements=elements):
            return not elements
    return False
