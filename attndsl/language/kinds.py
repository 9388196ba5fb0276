"""Kinds of expressions: which are allowed where, and how two of them meet."""

from __future__ import annotations

from collections.abc import Sequence

from attndsl.diagnostics import fail
from attndsl.ir.index import Expr, apply
from attndsl.ir.problem import Span
from attndsl.language import problems as p
from attndsl.language.scope import Frame, describe


def expect_number(expr: Expr, span: Span, place: str) -> Expr:
    """Refuses conditions."""
    if expr.kind == "bool":
        remedy = "turn a condition into a number with: 1 if condition else 0"
        raise fail(p.WrongKind(place, "a number", describe(expr), remedy), span)
    return expr


def expect_integer(expr: Expr, span: Span, place: str) -> Expr:
    """Refuses conditions and reals."""
    expect_number(expr, span, place)
    if expr.kind == "real":
        raise fail(
            p.WrongKind(place, "an integer", describe(expr), "use // instead of /, and integer constants"),
            span,
        )
    return expr


def expect_condition(expr: Expr, span: Span, place: str) -> Expr:
    """Refuses numbers."""
    if expr.kind != "bool":
        raise fail(p.WrongKind(place, "a condition", describe(expr), "compare it, e.g. ... == 0"), span)
    return expr


def allow_kind(expr: Expr, span: Span, frame: Frame) -> Expr:
    """Refuses reals inside `where`."""
    if expr.kind == "real" and frame.pair is not None and frame.pair.integral:
        raise fail(p.RealInWhere(), span)
    return expr


def same_kind(exprs: Sequence[Expr]) -> list[Expr]:
    """Numbers of one kind: integers become real where a real is among them."""
    if any(expr.kind == "real" for expr in exprs):
        return [apply("real", expr) for expr in exprs]
    return list(exprs)


def unmixed(exprs: Sequence[Expr], spans: Sequence[Span], place: str, parts: str) -> list[Expr]:
    """Conditions only or numbers only, of one kind."""
    for expr, span in zip(exprs, spans):
        if (expr.kind == "bool") != (exprs[0].kind == "bool"):
            expected = "a condition" if exprs[0].kind == "bool" else "a number"
            remedy = f"{parts} must be conditions or all numbers"
            raise fail(p.WrongKind(place, expected, describe(expr), remedy), span)
    return same_kind(exprs)


def comparison(operator: str, a: Expr, b: Expr, spans: tuple[Span, Span]) -> Expr:
    """One comparison of two numbers, or equality of two conditions."""
    if a.kind == "bool" or b.kind == "bool":
        if a.kind != b.kind or operator not in ("==", "!="):
            remedy = "conditions compare with == and != to conditions only"
            found, span = (a, spans[0]) if a.kind == "bool" else (b, spans[1])
            raise fail(p.WrongKind(f"`{operator}`", "two numbers", describe(found), remedy), span)
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
