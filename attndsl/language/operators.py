"""Calls of operators: operands, pair expressions over their tokens, and the result's place in the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import TypeVar

from attndsl.diagnostics import AttnError, Diagnostic, fail
from attndsl.ir.index import Expr
from attndsl.ir.ops import OPS, IllTyped, OpParameter
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.rewrite import simplify
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.calls import Signature
from attndsl.language.scope import Frame, Pair, describe
from attndsl.language.values import Feature
from attndsl.language.workspace import Workspace

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def call_operator(work: Workspace, keyword: str, call: syntax.Call, frame: Frame, name: str) -> Feature:
    """Adds a call of an operator to the program: tensors first, then its pair expressions."""
    if frame.pair is not None:
        where = "in a pattern" if frame.callers else "in a pair expression"
        remedy = "bind its result to a name in the attention first"
        raise fail(p.Misplaced(f"`{keyword}`", where, remedy), call.span)
    op_class = OPS[keyword]
    arguments = _match(call, keyword, op_class.parameters, frame)
    found: list[Diagnostic] = []
    roles = [parameter.name for parameter in op_class.parameters if parameter.role == "feature"]
    operands = _check_all(
        lambda role: _operand(work, keyword, role, arguments[role].value, frame), roles, found
    )
    others = [q for q in op_class.parameters if q.role != "feature" and q.name in arguments]
    expressions: dict[str, Expr] = {}
    if (pair := _pair(work, operands)) is not None:
        checked = _check_all(
            lambda q: _expression(work, q, arguments[q.name].value, frame, pair), others, found
        )
        expressions = {q.name: expr for q, expr in checked.items()}
    if len(operands) == len(roles):
        names = {role: operand.name for role, operand in operands.items()}
        types = {role: operand.type for role, operand in operands.items()}
        try:
            op = op_class.typed(names, types, expressions)
        except IllTyped as error:
            found.append(Diagnostic(error.problem, arguments[error.argument].value.span))
        else:
            if not found:
                unique = _unused(work, name)
                work.values.append(ProgramValue(unique, op, call.span))
                return Feature(unique, op.type)
    raise AttnError(found)


def _match(
    call: syntax.Call, keyword: str, parameters: tuple[OpParameter, ...], frame: Frame
) -> dict[str, syntax.Argument]:
    positional = [parameter.name for parameter in parameters if parameter.role == "feature"]
    named = [parameter.name for parameter in parameters]
    others = ", ".join(f"{name} = ..." for name in named if name not in positional)
    signature = Signature(f"`{keyword}`", positional, named, f"name the others: {others}")
    found = signature.match(call.arguments, frame.names.__contains__)
    for parameter in parameters:
        if not parameter.optional and parameter.name not in found:
            remedy = f"write {keyword}({', '.join(positional)}, ...)"
            raise fail(p.MissingArgument(f"`{keyword}`", parameter.name, remedy), call.span)
    return found


def _check_all(
    check: Callable[[_Item], _Result], items: Iterable[_Item], found: list[Diagnostic]
) -> dict[_Item, _Result]:
    """The results of the checks that pass; what is wrong with the others is added to `found`."""
    results: dict[_Item, _Result] = {}
    for item in items:
        try:
            results[item] = check(item)
        except AttnError as error:
            found += error.diagnostics
    return results


def _operand(work: Workspace, keyword: str, role: str, node: syntax.Expression, frame: Frame) -> Feature:
    value = work.expressions.value(node, frame)
    if isinstance(value, Feature):
        return value
    remedy = "declare it as an input: input q, k, v : x"
    raise fail(p.WrongValue(f"`{role}` of {keyword}", "a tensor", describe(value), remedy), node.span)


def _pair(work: Workspace, operands: Mapping[str, Feature]) -> Pair | None:
    """What the pair expressions are about; with one token set that is known even of wrong operands."""
    sets = [operands[role].type.tokens if role in operands else None for role in ("q", "k")]
    if None in sets and len(work.token_sets) == 1:
        sets = [work.token_sets[0]] * 2
    query, key = sets
    return None if query is None or key is None else Pair(query, key)


def _expression(
    work: Workspace, parameter: OpParameter, node: syntax.Expression, frame: Frame, pair: Pair
) -> Expr:
    ev = work.expressions
    place = f"`{parameter.name}`"
    match parameter.role:
        case "condition":
            expr = ev.condition(node, frame.with_pair(replace(pair, integral=True)), place)
        case "number":
            expr = ev.number(node, frame, place)
        case role:
            expr = ev.number(node, frame.with_pair(replace(pair, scored=role == "score")), place)
    ev.keep(expr, "", node.span)
    return expr if parameter.role == "number" else simplify(expr, ev.knowledge.ranges(pair))


def _unused(work: Workspace, name: str) -> str:
    taken = {value.name for value in work.values}
    return next(f"{name}{n if n > 1 else ''}" for n in count(1) if f"{name}{n if n > 1 else ''}" not in taken)
