"""Drops terms and factors that change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.walk import Kinds, in_place_of

_ZERO, _ONE = "0", "1"


@dataclass(frozen=True)
class Arithmetic:
    """Identities of integers, and sums of two.

    first = (0 + extent - 1) // 1     ->  first = extent - 1
    rows = rows + 0                   ->  rows = rows
    coord[0:], coord[0:n]             ->  coord, coord[:n]
    """

    kinds: ClassVar[Kinds] = (cst.BinaryOperation, cst.Subscript, cst.Slice)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node of a kernel, folded."""
        match node:
            case cst.BinaryOperation(
                left=cst.Integer(value=left), operator=cst.Add(), right=cst.Integer(value=right)
            ):
                return cst.Integer(str(int(left) + int(right)))
            case cst.BinaryOperation(left=cst.Integer(value="0" | "1" as left), operator=sign, right=right):
                return _left(node, left, sign, right)
            case cst.BinaryOperation(left=left, operator=sign, right=cst.Integer(value="0" | "1" as right)):
                return _right(node, left, sign, right)
            case cst.Subscript(value=value, slice=[cst.SubscriptElement(slice=cst.Slice() as part)]):
                match part:
                    case cst.Slice(lower=cst.Integer(value="0"), upper=None, step=None):
                        return value
            case cst.Slice(lower=cst.Integer(value="0"), upper=upper) if upper is not None:
                space = "" if isinstance(upper, cst.Name | cst.Integer) else " "
                colon = cst.Colon(whitespace_after=cst.SimpleWhitespace(space))
                return node.with_changes(lower=None, first_colon=colon)
        return node


def _left(node: cst.BinaryOperation, left: str, sign: cst.BaseBinaryOp, right: Any) -> Any:
    match left, sign:
        case ("0", cst.Add()) | ("1", cst.Multiply()):
            return in_place_of(node, right)
        case ("0", cst.FloorDivide()):
            return cst.Integer(_ZERO)
    return node


def _right(node: cst.BinaryOperation, left: Any, sign: cst.BaseBinaryOp, right: str) -> Any:
    match right, sign:
        case ("0", cst.Add() | cst.Subtract()) | ("1", cst.Multiply() | cst.FloorDivide()):
            return in_place_of(node, left)
        case ("1", cst.Modulo()):
            return cst.Integer(_ZERO)
    return node
