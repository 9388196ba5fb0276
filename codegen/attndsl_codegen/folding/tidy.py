"""Makes what is left of folded statements look as one would write them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.walk import Kinds, code


@dataclass(frozen=True)
class Tidy:
    """Names that are assigned only to be returned, pairs with a part that is not needed, constant attributes.

    s = s + bias                              ->
    return s                                      return s + bias
    for (out, lse), _ in zip(found, results)  ->  for out, lse in found
    getattr(grid, "sum")(dims)                ->  grid.sum(dims)
    if (a or b):                              ->  if a or b:
    s = s                                     ->
    """

    kinds: ClassVar[Kinds] = (cst.IndentedBlock, cst.For, cst.Call, cst.If)

    def __call__(self, node: Any) -> Any:
        """A node, tidied."""
        match node:
            case cst.IndentedBlock(body=body) if any(map(_says_nothing, body[:-1])):
                return node.with_changes(body=[*itertools.filterfalse(_says_nothing, body[:-1]), body[-1]])
            case cst.IndentedBlock(body=[*before, line, last]):
                value = _returned(line, last)
                if value is None:
                    return _apart(node)
                return node.with_changes(body=[*before, _returning(line, last, value)])
            case cst.For(target=cst.Tuple(elements=[first, second]), iter=cst.Call() as call):
                return _unpaired(node, first.value, second.value, call)
            case cst.Call(
                func=cst.Name(value="getattr"), args=[owner, cst.Arg(value=cst.SimpleString() as name)]
            ):
                return cst.Attribute(owner.value, cst.Name(str(name.evaluated_value)))
            case cst.If(test=cst.BooleanOperation(lpar=[_]) as test) if "\n" not in code(test):
                return node.with_changes(test=test.with_changes(lpar=[], rpar=[]))
        return node


def _says_nothing(line: Any) -> bool:
    """Whether a statement assigns a name to itself."""
    match line:
        case cst.SimpleStatementLine(
            body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=a))], value=cst.Name(value=b))],
            leading_lines=[],
        ):
            return a == b and not line.trailing_whitespace.comment
    return False


def _apart(block: cst.IndentedBlock) -> cst.IndentedBlock:
    """With an empty line after functions inside it, also where what stood there is gone."""
    for at, (first, second) in enumerate(pairwise(block.body), start=1):
        match first, second:
            case cst.FunctionDef(), cst.SimpleStatementLine(leading_lines=[]):
                spaced = second.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
                return _apart(block.with_changes(body=[*block.body[:at], spaced, *block.body[at + 1 :]]))
    return block


def _returned(line: Any, last: Any) -> Any:
    """What the first statement assigns to the name that the second one returns."""
    match line, last:
        case (
            cst.SimpleStatementLine(
                body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=a))], value=v)]
            ),
            cst.SimpleStatementLine(body=[cst.Return(value=cst.Name(value=b))]),
        ) if a == b and not line.trailing_whitespace.comment:
            return v
    return None


def _returning(line: Any, last: Any, value: Any) -> Any:
    lines = [*line.leading_lines, *last.leading_lines]
    return last.with_changes(leading_lines=lines, body=[cst.Return(value)])


def _unpaired(loop: cst.For, first: Any, second: Any, call: cst.Call) -> cst.For:
    match call, second:
        case cst.Call(func=cst.Name(value="zip"), args=[pairs, _]), cst.Name(value="_"):
            plain = first.with_changes(lpar=(), rpar=()) if isinstance(first, cst.Tuple) else first
            return loop.with_changes(target=plain, iter=pairs.value)
    return loop
