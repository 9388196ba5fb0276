"""Facts about a program: expressions of the kernels, and the values that they can have in it."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import libcst as cst

from attndsl_codegen.folding.walk import code


class Something:
    """A value that is there, i.e. not None and true, and about which nothing else is known."""


SOMETHING = Something()
Values = tuple[Any, ...]
"""What an expression may be; it is known where all of these agree."""
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    cst.Is: operator.is_,
    cst.IsNot: operator.is_not,
    cst.Equal: operator.eq,
    cst.NotEqual: operator.ne,
    cst.LessThan: operator.lt,
    cst.LessThanEqual: operator.le,
    cst.GreaterThan: operator.gt,
    cst.GreaterThanEqual: operator.ge,
    cst.In: lambda a, b: a in b,
    cst.NotIn: lambda a, b: a not in b,
}
_ATOMS: dict[str, Any] = {"None": None, "True": True, "False": False}


@dataclass(frozen=True)
class Facts:
    """Possible values by expression, as the kernels spell it: `mechanism.score`, `len(TILE)`, `SHAPE`.

    What stands before the last dot but one does not matter: `ctx.mechanism.score` is `mechanism.score`.
    """

    table: Mapping[str, Values]

    def values(self, node: cst.BaseExpression) -> Values | None:
        """What an expression may be; None if that is not known."""
        match node:
            case cst.Name(value=name):
                return (_ATOMS[name],) if name in _ATOMS else self.table.get(name)
            case cst.Integer() | cst.Float() | cst.SimpleString():
                return (node.evaluated_value,)
            case cst.Attribute(attr=cst.Name(value=attribute)):
                return self.table.get(f"{_last(node.value)}.{attribute}")
            case cst.UnaryOperation(operator=cst.Not(), expression=inner):
                return _each(operator.not_, self.values(inner))
            case cst.BooleanOperation():
                return self._either(node)
            case cst.Comparison():
                return self._compared(node)
            case cst.Tuple(elements=elements) | cst.List(elements=elements):
                return self._sequence(elements, tuple)
            case cst.Dict(elements=[]):
                return ((),)
            case cst.IfExp(test=test) if (truth := self.truth(test)) is not None:
                return self.values(node.body if truth else node.orelse)
            case cst.Call():
                return self._called(node)
        return None

    def truth(self, node: cst.BaseExpression) -> bool | None:
        """Whether a condition holds; None if that depends."""
        found = self.values(node)
        truths = set() if found is None else {bool(value) for value in found}
        return truths.pop() if len(truths) == 1 else None

    def literal(self, node: cst.BaseExpression) -> Any:
        """The one value that an expression has, where it is better written out; else `SOMETHING`.

        Truth values are not: they decide conditions, and `width + argument.heads` reads better as it is.
        """
        found = self.values(node)
        if found is None or len(found) != 1 or isinstance(found[0], bool) or not is_plain(found[0]):
            return SOMETHING
        return found[0]

    def _called(self, node: cst.Call) -> Values | None:
        """What a call gives, of those calls that facts are about."""
        match node:
            case cst.Call(func=cst.Name(value="bool" | "len" as name), args=[cst.Arg(value=inner)]):
                found = self.values(inner)
                if found is None or (name == "len" and not all(isinstance(v, tuple) for v in found)):
                    return self.table.get(code(node))
                return _each({"bool": bool, "len": len}[name], found)
            case cst.Call(func=cst.Name(value="isinstance") | cst.Attribute(value=cst.Name(value="at"))):
                return self.table.get(code(node))
        return None

    def _either(self, node: cst.BooleanOperation) -> Values | None:
        left, right = self.values(node.left), self.values(node.right)
        stops = bool if isinstance(node.operator, cst.Or) else operator.not_
        if left is not None and all(map(stops, left)):
            return left
        if left is None and right is not None and all(map(stops, right)):
            return _each(bool, right)  # conditions have no side effects: the second one alone decides
        if left is None or right is None:
            return None
        return tuple(a if stops(a) else b for a, b in itertools.product(left, right))

    def _compared(self, node: cst.Comparison) -> Values | None:
        if len(node.comparisons) > 1:
            return None
        (target,) = node.comparisons
        match node.left, target:
            case cst.SimpleString(), cst.ComparisonTarget(comparator=cst.Name()):
                return self.table.get(code(node))
            case cst.Name(value=name), cst.ComparisonTarget(comparator=cst.Name(value="None")):
                found = self.table.get(f"{name} is None")
                if found is not None:
                    return found if isinstance(target.operator, cst.Is) else _each(operator.not_, found)
        compare = _COMPARISONS[type(target.operator)]
        left, right = self.values(node.left), self.values(target.comparator)
        if left is None or right is None:
            return None
        pairs = list(itertools.product(left, right))
        identity = isinstance(target.operator, cst.Is | cst.IsNot)
        if any(isinstance(v, Something) for pair in pairs for v in pair) and not (identity and None in right):
            return None
        try:
            return tuple(compare(a, b) for a, b in pairs)
        except TypeError:  # of different kinds
            return None

    def _sequence(self, elements: Any, kind: Callable[[Any], Any]) -> Values | None:
        parts = [None if isinstance(e, cst.StarredElement) else self.values(e.value) for e in elements]
        if any(part is None for part in parts):
            return None
        return tuple(
            kind(choice) for choice in itertools.product(*(part for part in parts if part is not None))
        )


def is_plain(value: Any) -> bool:
    """Whether a value says as much as its name: other numbers than 0 and 1 do not."""
    match value:
        case None | bool() | str() | () | (None,):
            return True
        case int():
            return value in (0, 1)
    return False


def _last(node: cst.BaseExpression) -> str:
    """The last name of a path: `mechanism` of `self.mechanism`."""
    match node:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            return name
    return ""


def _each(function: Callable[[Any], Any], values: Values | None) -> Values | None:
    return None if values is None else tuple(function(value) for value in values)


def spelled(value: Any) -> cst.BaseExpression:
    """A literal as code."""
    return cst.parse_expression(f'"{value}"' if isinstance(value, str) else repr(value))
