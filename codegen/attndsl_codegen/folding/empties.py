"""Drops what is done for each of nothing, and loops over one thing that nobody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.known import spelled
from attndsl_codegen.folding.walk import Kinds, unfolded, walk

_OF_NOTHING = {"tuple": (), "zip": (), "map": (), "reversed": (), "enumerate": (), "list": [], "sorted": []}
_OF_NOTHING |= {"dict": {}, "any": False, "all": True, "sum": 0}
"""What calls of builtins give that get an empty sequence."""
_COMPREHENSIONS: dict[type, Any] = {cst.GeneratorExp: (), cst.ListComp: [], cst.DictComp: {}}


@dataclass(frozen=True)
class Empties:
    """Loops over nothing, and starred nothings.

    for name in ():               ->
        fields[name] = at[name]
    for ordered in (None,):      ->  launch(q)
        launch(q)
    f(q, *(g(t) for t in ()))     ->  f(q)
    {**at, **{}}                  ->  at
    """

    kinds: ClassVar[Kinds] = (
        *(cst.For, cst.GeneratorExp, cst.ListComp, cst.DictComp, cst.Call, cst.Arg, cst.StarredElement),
        *(cst.StarredDictElement, cst.CompFor, cst.Subscript, cst.Dict, cst.BinaryOperation),
    )

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node of a kernel, folded."""
        match node:
            case cst.For(iter=items, orelse=None) if is_empty(items):
                return []
            case cst.For(target=cst.Name(value=name), iter=cst.Tuple(elements=[only]), orelse=None) if (
                isinstance(only, cst.Element) and _is_done_once(name, node.body)
            ):
                return unfolded(node.leading_lines, node.body.body)
            case cst.GeneratorExp() | cst.ListComp() | cst.DictComp():
                return spelled(_COMPREHENSIONS[type(node)]) if is_empty(node.for_in.iter) else node
            case cst.Call(func=cst.Name(value=name), args=args) if name in _OF_NOTHING:
                return spelled(_OF_NOTHING[name]) if _of_nothing(name, args) else node
            case cst.Arg(star=star, value=value):
                return [] if star and is_empty(value) else node
            case cst.StarredElement(value=value) | cst.StarredDictElement(value=value):
                return [] if is_empty(value) else node
        return _without_detours(node)


def _is_done_once(name: str, body: cst.BaseSuite) -> bool:
    """Whether statements neither read what they are done for, nor end the loop."""
    stops = (cst.Break, cst.Continue)
    return not any(isinstance(n, stops) or (isinstance(n, cst.Name) and n.value == name) for n in walk(body))


def _without_detours(node: cst.CSTNode) -> cst.CSTNode:
    """A display that holds one thing only as that thing, where it is only read; sums with nothing."""
    match node:
        case cst.CompFor(ifs=[*tests]) if any(_holds(test) for test in tests):
            return node.with_changes(ifs=[test for test in tests if not _holds(test)])
        case cst.CompFor(iter=cst.Tuple(elements=[cst.StarredElement(value=cst.Name() as only)])):
            return node.with_changes(iter=only)
        case cst.Subscript(
            value=cst.Dict(elements=elements), slice=[cst.SubscriptElement(slice=cst.Index(value=key))]
        ):
            return next((element.value for element in elements if _is_key(element, key)), node)
        case cst.Dict(elements=[cst.StarredDictElement(value=cst.Name() as only)]):
            return only
        case cst.BinaryOperation(left=left, operator=cst.Add(), right=right) if is_empty(right):
            return left
        case cst.BinaryOperation(operator=cst.Multiply(), right=cst.Integer(value="0"), left=cst.List()):
            return spelled([])
    return node


def _of_nothing(function: str, args: Sequence[cst.Arg]) -> bool:
    """Whether a builtin gets nothing to go through."""
    plain = [arg.value for arg in args if arg.keyword is None and not arg.star]
    sources = plain if function in ("zip", "map") else plain[:1]
    return any(is_empty(source) for source in sources) and not (function == "sum" and len(args) > 1)


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
