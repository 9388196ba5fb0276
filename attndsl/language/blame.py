"""Where an operator's complaint points, and what stands beside the caret."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attndsl.ir.ops import Operand
from attndsl.ir.problem import Problem, Span
from attndsl.language import problems as p
from attndsl.language import syntax


def place_of(arguments: list[syntax.Argument], position: int) -> Span:
    """Where a part of an argument stands: one of several arguments, or an item of a tuple."""
    match arguments:
        case [syntax.Argument(value=syntax.Tuple(items=items))] if position < len(items):
            return items[position].span
    return arguments[min(position, len(arguments) - 1)].value.span


def labelled(problem: Problem, argument: Any, position: int) -> Problem:
    """The problem with the type of the operand beside its caret."""
    operands = operands_of(argument)
    if isinstance(problem, p.WrongOperand) and not problem.here and position < len(operands):
        return replace(problem, here=f"this is {operands[position].type.words}")
    return problem


def operands_of(value: Any) -> tuple[Operand, ...]:
    """The tensors of an argument."""
    match value:
        case Operand():
            return (value,)
        case tuple():
            return tuple(item for item in value if isinstance(item, Operand))
        case _:
            return ()
