"""Operators and elementwise functions of the language: which kinds they take and what they build."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from attndsl.diagnostics import fail
from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import Const, Expr, apply
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.calls import counted
from attndsl.language.evaluator import Evaluator, each
from attndsl.language.kinds import allow_kind, comparison, expect_integer, same_kind, unmixed
from attndsl.language.requirements import require_divisor
from attndsl.language.scope import Frame, describe


def binary(ev: Evaluator, node: syntax.Binary, frame: Frame) -> Expr:
    """`a and b and c` and `a or b` of conditions; `a + b`, `a // b`, ... of two numbers."""
    place = f"`{node.operator}`"
    if node.operator in ("and", "or"):
        return apply(node.operator, *each(lambda part: ev.condition(part, frame, place), node.operands))
    operand = ev.integer if node.operator in ("//", "%") else ev.number
    a, b = each(lambda part: operand(part, frame, place), node.operands)
    match node.operator:
        case "//" | "%":
            require_divisor(ev, b, node.operands[1], frame)
            return apply(node.operator, a, b)
        case "/":
            if b in (Const(0), Const(0.0)):
                raise fail(p.DivisionByZero(), node.operands[1].span)
            return allow_kind(apply("/", apply("real", a), apply("real", b)), node.span, frame)
        case "**":
            return _power(a, b, node, frame)
        case "-":
            a, b = same_kind([a, b])
            return allow_kind(a - b, node.span, frame)
        case operator:
            return allow_kind(apply(operator, *same_kind([a, b])), node.span, frame)


def _power(a: Expr, b: Expr, node: syntax.Binary, frame: Frame) -> Expr:
    match b:
        case Const(int() as exponent) if exponent >= 0 and a.kind == "int":
            return apply("**", a, b)
    if a.kind == b.kind == "int" and frame.pair is not None and frame.pair.integral:
        remedy = "a power with a varying exponent is a real number; see ispow2 for powers of two"
        raise fail(
            p.WrongKind("`**` in `where`", "a constant exponent of at least 0", describe(b), remedy),
            node.operands[1].span,
        )
    result = apply("**", apply("real", a), apply("real", b))
    return allow_kind(result, node.span, frame)


def unary(ev: Evaluator, node: syntax.Unary, frame: Frame) -> Expr:
    """`-a`, `+a`, `not a`."""
    match node.operator:
        case "not":
            return apply("not", ev.condition(node.operand, frame, "`not`"))
        case "-":
            return -ev.number(node.operand, frame, "`-`")
        case _:
            return ev.number(node.operand, frame, "`+`")


def compare(ev: Evaluator, node: syntax.Comparison, frame: Frame) -> Expr:
    """A chain of comparisons: every neighbouring pair must compare."""
    for lifted in (operand for operand in node.operands if isinstance(operand, syntax.Lift)):
        ev.numeric(lifted, frame, "a comparison")  # what is wrong with `h: i == j` is the lift alone
    exprs = each(lambda operand: ev.numeric(operand, frame, "a comparison"), node.operands)
    spans = [operand.span for operand in node.operands]
    links = zip(node.operators, pairwise(exprs), pairwise(spans))
    return apply("and", *(comparison(operator, a, b, places) for operator, (a, b), places in links))


def choose(ev: Evaluator, node: syntax.Choice, frame: Frame) -> Expr:
    """`a if test else b`, of two conditions or two numbers."""
    parts = ((node.a, False), (node.test, True), (node.b, False))

    def check(part: tuple[syntax.Expression, bool]) -> Expr:
        expression, is_test = part
        return (
            ev.condition(expression, frame, "`if`") if is_test else ev.numeric(expression, frame, "a choice")
        )

    a, test, b = each(check, parts)
    a, b = unmixed([a, b], [node.a.span, node.b.span], "a choice", "both branches")
    return apply("select", test, a, b)


def call_function(ev: Evaluator, name: str, call: syntax.Call, frame: Frame) -> Expr:
    """`min`, `max`, `clamp`, `abs`, `ispow2`, `exp`, ... of numbers."""
    named = next((argument for argument in call.arguments if argument.name is not None), None)
    if named is not None:
        remedy = "its arguments have no names: leave out the name"
        raise fail(p.UnknownArgument(f"`{name}`", named.name or "", remedy), named.span)
    args = each(lambda argument: ev.number(argument.value, frame, f"`{name}`"), call.arguments)
    if name == "clamp":
        _arity(call, 3, "x, low, high")
        value, low, high = same_kind(args)
        return apply("min", apply("max", value, low), high)
    function = FUNCTIONS[name]
    if function.arity is not None:
        _arity(call, function.arity, ", ".join("abc"[: function.arity]))
    elif not args:
        raise fail(p.MissingArgument(f"`{name}`", "a", f"write {name}(a, b)"), call.span)
    if function.on == ("int",):
        args = [expect_integer(arg, part.span, f"`{name}`") for arg, part in zip(args, call.arguments)]
    elif function.on == ("real",):
        args = [apply("real", arg) for arg in args]
    return allow_kind(apply(name, *same_kind(args)), call.span, frame)


def _arity(call: syntax.Call, expected: int, parameters: str) -> None:
    given = len(call.arguments)
    name = call.function.name if isinstance(call.function, syntax.Name) else ""
    remedy = f"write {name}({parameters})"
    if given > expected:
        problem = p.TooManyArguments(f"`{name}`", counted(expected, "argument"), given, remedy)
        raise fail(problem, call.arguments[expected].span)
    if given < expected:
        raise fail(p.MissingArgument(f"`{name}`", parameters.split(", ")[given], remedy), call.span)


def pick(ev: Evaluator, items: Sequence[Expr], index: Expr, node: syntax.Index, frame: Frame) -> Expr:
    """An item of a tuple; the index may vary but must stay inside."""
    count = len(items)
    span = ev.range_of(index, frame)
    if span is None or span[0] < 0 or span[1] >= count:
        known = (
            "unknown"
            if span is None
            else f"index {span[0]}"
            if span[0] == span[1]
            else f"from {span[0]} to {span[1]}"
        )
        what = "the index is" if isinstance(index, Const) else "the index may be"
        remedy = f"use an index from 0 to {count - 1}"
        if not isinstance(index, Const):
            remedy += f", e.g. with % {count}"
        raise fail(p.TupleIndex(what, count, known, remedy), node.coords[0].span)
    exprs = unmixed(items, [node.value.span] * count, "a tuple with a varying index", "all items")
    chosen = exprs[-1]
    for at in reversed(range(count - 1)):
        chosen = apply("select", apply("==", index, at), exprs[at], chosen)
    return chosen
