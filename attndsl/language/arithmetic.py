"""Operators and elementwise functions of the language: which kinds they take and give."""

from __future__ import annotations

from collections.abc import Sequence

from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import TRUE, ZERO, Const, Expr, apply
from attndsl.ir.problem import Span
from attndsl.ir.requirement import Requirement
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import Evaluator, refuse
from attndsl.language.scope import Frame
from attndsl.language.values import describe


def expect_number(expr: Expr, span: Span, place: str) -> Expr:
    """Refuses conditions."""
    if expr.kind == "bool":
        remedy = "turn a condition into a number with: 1 if condition else 0"
        refuse(p.WrongKind(place, "numbers", describe(expr), remedy), span)
    return expr


def expect_integer(expr: Expr, span: Span, place: str) -> Expr:
    """Refuses conditions and reals."""
    expect_number(expr, span, place)
    if expr.kind == "real":
        refuse(p.WrongKind(place, "integers", describe(expr), "use // instead of /, and integer constants"), span)
    return expr


def expect_condition(expr: Expr, span: Span, place: str) -> Expr:
    """Refuses numbers."""
    if expr.kind != "bool":
        refuse(p.WrongKind(place, "conditions", describe(expr), "compare it, e.g. ... == 0"), span)
    return expr


def allow_kind(expr: Expr, span: Span, frame: Frame) -> Expr:
    """Refuses reals inside `where`."""
    if expr.kind == "real" and frame.pair is not None and frame.pair.integral:
        refuse(p.RealInWhere(), span)
    return expr


def same_kind(exprs: Sequence[Expr]) -> list[Expr]:
    """Numbers of one kind: integers become real where a real is among them."""
    if any(expr.kind == "real" for expr in exprs):
        return [apply("real", expr) for expr in exprs]
    return list(exprs)


def binary(ev: Evaluator, node: syntax.Binary, frame: Frame) -> Expr:
    """`a + b`, `a // b`, ... of two numbers."""
    place = f"`{node.operator}`"
    a, b = (ev.number(operand, frame, place) for operand in node.operands)
    spans = [operand.span for operand in node.operands]
    match node.operator:
        case "//" | "%":
            expect_integer(a, spans[0], place)
            expect_integer(b, spans[1], place)
            _divisor(ev, b, node, frame)
            return apply(node.operator, a, b)
        case "/":
            if b in (ZERO, Const(0.0)):
                refuse(p.DivisionByZero(), spans[1])
            return allow_kind(apply("/", apply("real", a), apply("real", b)), node.span, frame)
        case "**":
            return _power(a, b, node, frame)
        case "-":
            a, b = same_kind([a, b])
            return allow_kind(a - b, node.span, frame)
        case operator:
            return allow_kind(apply(operator, *same_kind([a, b])), node.span, frame)


def _divisor(ev: Evaluator, divisor: Expr, node: syntax.Binary, frame: Frame) -> None:
    if divisor is ZERO:
        refuse(p.DivisionByZero(), node.operands[1].span)
    nonzero = (divisor < 0) | (Const(0) < divisor)
    if nonzero is not TRUE and not ev.ranges(frame).decide(nonzero):
        span = frame.call or node.span
        text = f"a divisor other than 0 in `{node.operator}`"
        ev.demand(Requirement(nonzero, text, frame.pattern or "this", span, node.span))


def _power(a: Expr, b: Expr, node: syntax.Binary, frame: Frame) -> Expr:
    match b:
        case Const(int() as exponent) if exponent >= 0 and a.kind == "int":
            return apply("**", a, b)
    result = apply("**", apply("real", a), apply("real", b))
    return allow_kind(result, node.span, frame)


def compare(ev: Evaluator, node: syntax.Comparison, frame: Frame) -> Expr:
    """A chain of comparisons: every neighbouring pair must compare."""
    values = [ev.value(operand, frame) for operand in node.operands]
    exprs = [
        expr if isinstance(expr, Expr) and expr.kind == "bool" else ev.number(operand, frame, "a comparison")
        for expr, operand in zip(values, node.operands)
    ]
    links = [
        comparison(operator, a, b, node.span)
        for operator, a, b in zip(node.operators, exprs, exprs[1:])
    ]
    return apply("and", *links)


def comparison(operator: str, a: Expr, b: Expr, span: Span) -> Expr:
    """One comparison of two numbers, or equality of two conditions."""
    if a.kind == "bool" or b.kind == "bool":
        if a.kind != b.kind or operator not in ("==", "!="):
            remedy = "conditions compare with == and != to conditions only"
            refuse(p.WrongKind(f"`{operator}`", "two numbers", describe(a if a.kind == "bool" else b), remedy), span)
        same = (a & b) | (apply("not", a) & apply("not", b))
        return same if operator == "==" else apply("not", same)
    a, b = same_kind([a, b])
    match operator:
        case "<" | "<=" | "==":
            return apply(operator, a, b)
        case ">":
            return b < a
        case ">=":
            return b <= a
        case _:
            return apply("not", apply("==", a, b))


def choose(test: Expr, a: Expr, b: Expr, node: syntax.Choice) -> Expr:
    """`a if test else b`, of two conditions or two numbers."""
    if (a.kind == "bool") != (b.kind == "bool"):
        remedy = "both branches must be conditions, or both numbers"
        refuse(p.WrongKind("`if ... else`", describe(a), describe(b), remedy), node.b.span)
    a, b = same_kind([a, b])
    return apply("select", test, a, b)


def call_function(name: str, args: Sequence[Expr], call: syntax.Call, frame: Frame) -> Expr:
    """`min`, `max`, `clamp`, `abs`, `ispow2`, `exp`, ... of numbers."""
    spans = [argument.span for argument in call.arguments]
    for arg, span in zip(args, spans):
        expect_number(arg, span, f"`{name}`")
    if name == "clamp":
        _arity(call, 3, "x, low, high")
        value, low, high = same_kind(args)
        return apply("min", apply("max", value, low), high)
    function = FUNCTIONS[name]
    if function.arity is not None:
        _arity(call, function.arity, ", ".join("abc"[: function.arity]))
    elif not args:
        refuse(p.MissingArgument(f"`{name}`", "a", f"write {name}(a, b)"), call.span)
    if function.on == ("int",):
        args = [expect_integer(arg, span, f"`{name}`") for arg, span in zip(args, spans)]
    elif function.on == ("real",):
        args = [apply("real", arg) for arg in args]
    return allow_kind(apply(name, *same_kind(args)), call.span, frame)


def _arity(call: syntax.Call, expected: int, parameters: str) -> None:
    given = len(call.arguments)
    name = f"`{call.function.name}`"
    if given > expected:
        problem = p.TooManyArguments(name, expected, given, parameters)
        refuse(problem, call.arguments[expected].span)
    if given < expected:
        missing = parameters.split(", ")[given]
        refuse(p.MissingArgument(name, missing, f"write {call.function.name}({parameters})"), call.span)


def pick(ev: Evaluator, items: tuple[Expr, ...], index: Expr, node: syntax.Index, frame: Frame) -> Expr:
    """An item of a tuple; the index may vary but must stay inside."""
    count = len(items)
    span = ev.ranges(frame).of(index)
    if span is None or span[0] < 0 or span[1] >= count:
        where = f"{span[0]} to {span[1]}" if span and span[0] != span[1] else str(span[0] if span else "unknown")
        refuse(p.TupleIndex(count, where, count - 1), node.coords[0].span)
    match index:
        case Const(int() as at):
            return items[at]
    exprs = same_kind(items)
    chosen = exprs[-1]
    for at in reversed(range(count - 1)):
        chosen = apply("select", apply("==", index, at), exprs[at], chosen)
    return chosen

