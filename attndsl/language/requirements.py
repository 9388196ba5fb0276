"""`require`, and what lookups and divisions require without saying so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from attndsl.diagnostics import fail
from attndsl.ir.index import Const, Expr, Load, Var
from attndsl.ir.problem import Problem, Span
from attndsl.ir.requirement import Requirement, Side
from attndsl.ir.walk import postorder, variables
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import Evaluator, each
from attndsl.language.kinds import comparison
from attndsl.language.scope import Frame


@dataclass(frozen=True)
class NonZero(Requirement):
    """A divisor is not zero at the sizes in force."""

    def broken(self, sizes: Mapping[str, int]) -> Problem:
        """What to say where the divisor is zero."""
        return p.DivisionByZero(f"the divisor `{self.text}` is zero")


@dataclass(frozen=True, kw_only=True)
class InsideField(Requirement):
    """A field is looked up at its own tokens only, at the sizes in force."""

    problem: p.MayBeOutside

    def broken(self, sizes: Mapping[str, int]) -> Problem:
        """What to say where a coordinate may be outside."""
        return self.problem


def require(ev: Evaluator, node: syntax.Expression, frame: Frame, subject: str) -> None:
    """States each conjunct and each link of a chain as a requirement of its own."""
    if frame.pair is not None:
        frame = replace(frame, pair=replace(frame.pair, integral=True))
    match node:
        case syntax.Binary(operator="and", operands=operands):
            each(lambda operand: require(ev, operand, frame, subject), operands)
        case syntax.Comparison(operands=operands, operators=operators):
            links = zip(operands, operators, operands[1:])
            each(lambda link: _compare(ev, link, frame, subject), links)
        case _:
            condition = ev.condition(node, frame, "`require`")
            ev.demand(_requirement(condition, node.span, frame, subject), frame)


def _compare(
    ev: Evaluator, link: tuple[syntax.Expression, str, syntax.Expression], frame: Frame, subject: str
) -> None:
    a, operator, b = link
    left, right = each(lambda node: ev.numeric(node, frame, "a comparison"), (a, b))
    span = a.span.to(b.span)
    requirement = _requirement(comparison(operator, left, right, (a.span, b.span)), span, frame, subject)
    if "bool" not in (left.kind, right.kind):
        sides = _side(a, left, frame), _side(b, right, frame)
        requirement = replace(requirement, left=sides[0], operator=operator, right=sides[1])
    ev.demand(requirement, frame)


def _requirement(condition: Expr, span: Span, frame: Frame, subject: str) -> Requirement:
    for node in postorder([condition]):
        match node:
            case Load(field):
                remedy = "what fields hold is known at run time only; put the condition in `where`"
                expected, found = "parameters, extents and coordinates", f"the field `{field}`"
                raise fail(p.WrongValue("`require`", expected, found, remedy), span)
            case Var("s"):
                raise fail(p.NoPair("s", "score", "scores are known at run time only"), span)
    return Requirement(
        condition,
        frame.module.excerpt(span),
        frame.site.pattern if frame.site is not None and frame.module.is_library else subject,
        frame.site.span if frame.site is not None else span,
        span,
        coordinates=coordinate_extents(variables(condition), frame),
    )


def _side(node: syntax.Expression, expr: Expr, frame: Frame) -> Side:
    match node:
        case syntax.Name(name="extent") if frame.axis and frame.pair is not None:
            return Side(expr, axis=frame.axis, tokens=frame.pair.key.name)
        case syntax.Number():
            return Side(expr)
        case syntax.Name(name=name):
            return Side(expr, name=name)
        case _:
            return Side(expr, name=f"`{frame.module.excerpt(node.span)}` =")


def coordinate_extents(names: set[str], frame: Frame) -> tuple[tuple[str, Expr], ...]:
    """The extents of the coordinate variables among `names`."""
    found: list[tuple[str, Expr]] = [("head", Var("heads"))] if "head" in names else []
    if frame.pair is not None:
        for role, tokens in (("i", frame.pair.query), ("j", frame.pair.key)):
            for axis in tokens.axes:
                variable = tokens.coordinate(role, axis.name)
                if variable.name in names:
                    found.append((variable.name, axis.extent))
    return tuple(found)


def require_divisor(ev: Evaluator, divisor: Expr, node: syntax.Expression, frame: Frame) -> None:
    """A divisor that depends on tokens must be seen to differ from zero; one of extents is checked later."""
    text = frame.module.excerpt(node.span)
    if divisor in (Const(0), Const(0.0)):
        raise fail(p.DivisionByZero(), node.span)
    nonzero = (divisor < 0) | (Const(0) < divisor)
    if ev.proves(nonzero, frame):
        return
    names = variables(divisor)
    loads = [load for load in postorder([divisor]) if isinstance(load, Load)]
    if loads or coordinate_extents(names, frame):
        raise fail(p.DivisionByZero(f"the divisor `{text}` may be zero"), node.span)
    ev.demand(NonZero(nonzero, text, frame.pattern, frame.blamed(node.span), node.span), frame)
