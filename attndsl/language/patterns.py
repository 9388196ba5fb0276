"""Calls of patterns: arguments, the defaults of `i`, `j` and `extent`, and the body's value."""

from __future__ import annotations

from dataclasses import replace

from attndsl.diagnostics import Note
from attndsl.ir.index import Expr, Var
from attndsl.ir.problem import Span
from attndsl.ir.requirement import Requirement, Side
from attndsl.ir.walk import variables
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import Evaluator, refuse
from attndsl.language.limits import MAX_CALL_DEPTH
from attndsl.language.scope import Binding, Frame, suggest
from attndsl.language.values import RESERVED, Extent, PatternRef, Position

IMPLICIT = ("i", "j", "extent")


def expand(
    ev: Evaluator, ref: PatternRef, arguments: tuple[syntax.Argument, ...], span: Span, frame: Frame
) -> Expr:
    """The condition that a call of a pattern stands for."""
    name = ref.syntax.name.name
    if frame.pair is None:
        remedy = "apply patterns in `where`, or bind them to a name that `where` uses"
        refuse(p.NoPair(name, "query and key", remedy), span)
    if (ref.module, name) in frame.callers or len(frame.callers) >= MAX_CALL_DEPTH:
        refuse(p.Recursive(name), span)
    names = _bind(ev, ref, arguments, span, frame)
    inner = replace(
        frame,
        module=ref.module,
        names=names,
        pattern=name,
        call=span if not frame.pattern else frame.call,
        callers=(*frame.callers, (ref.module, name)),
        axis=frame.axis if names["extent"].default or names["extent"] is frame.names.get("extent") else "",
        defaults_used={},
    )
    return _body(ev, ref.syntax, inner)


def _bind(
    ev: Evaluator, ref: PatternRef, arguments: tuple[syntax.Argument, ...], span: Span, frame: Frame
) -> dict[str, Binding]:
    pattern = ref.syntax
    callee = f"pattern `{pattern.name.name}`"
    parameters = [parameter.name.name for parameter in pattern.parameters]
    names = {name: frame.names[name] for name in IMPLICIT if name in frame.names}
    given: dict[str, Span] = {}
    positional = 0
    for argument in arguments:
        name = argument.name
        if name is None:
            if positional >= len(parameters):
                count = sum(a.name is None for a in arguments)
                listed = ", ".join(parameters) or "none"
                refuse(p.TooManyArguments(callee, len(parameters), count, listed), argument.span)
            name = parameters[positional]
            positional += 1
        elif name not in parameters and name not in IMPLICIT:
            remedy = suggest(name, [*parameters, *IMPLICIT])
            refuse(p.UnknownArgument(callee, name, remedy), argument.span)
        if name in given:
            refuse(p.RepeatedArgument(name), argument.span, Note("given before here", given[name]))
        given[name] = argument.span
        names[name] = Binding(ev.value(argument.value, frame), argument.span)
    _add_defaults(ev, ref, names, span, frame)
    return names


def _add_defaults(
    ev: Evaluator, ref: PatternRef, names: dict[str, Binding], span: Span, frame: Frame
) -> None:
    """Defaults may use the parameters before them, and nothing else of the caller."""
    for parameter in ref.syntax.parameters:
        name = parameter.name.name
        if name in names:
            continue
        if parameter.default is None:
            callee = f"pattern `{ref.syntax.name.name}`"
            signature = ", ".join(q.name.name for q in ref.syntax.parameters)
            remedy = f"write {ref.syntax.name.name}({signature})"
            refuse(p.MissingArgument(callee, name, remedy), span, Note("declared here", parameter.span))
        scope = replace(frame, module=ref.module, names=dict(names), defaults_used={})
        names[name] = Binding(ev.value(parameter.default, scope), parameter.span)


def lift(ev: Evaluator, node: syntax.Lift, frame: Frame) -> Expr:
    """`h: p(a)` is `p(a, i = i.h, j = j.h, extent = x.h)`."""
    axis = node.axis.name
    if frame.pair is None:
        remedy = "apply patterns in `where`, or bind them to a name that `where` uses"
        refuse(p.NoPair(f"{axis}:", "query and key", remedy), node.span)
    bound: dict[str, Binding] = {}
    for name in IMPLICIT:
        binding = frame.names[name]
        match binding.value:
            case Position(role, tokens) if tokens.axis(axis):
                bound[name] = replace(binding, value=tokens.coordinate(role, axis))
            case Extent(tokens) if (found := tokens.axis(axis)):
                bound[name] = replace(binding, value=found.extent)
            case Position(tokens=tokens) | Extent(tokens=tokens):
                remedy = suggest(axis, list(tokens.axis_names))
                refuse(p.NoSuchAxis(tokens.name, axis, remedy), node.axis.span)
            case _:
                refuse(p.NoSuchAxis(f"this `{name}`", axis, "lift before choosing coordinates"), node.axis.span)
    inner = replace(frame, names={**frame.names, **bound}, axis=axis)
    return ev.condition(node.body, inner, f"`{axis}:`")


def note_default_use(frame: Frame, name: str, span: Span) -> None:
    """A pattern that uses both default `i` and default `j` compares positions: the sets must agree."""
    if not frame.pattern or frame.pair is None or frame.pair.query == frame.pair.key:
        return
    frame.defaults_used[name] = span
    if "i" in frame.defaults_used and frame.defaults_used.keys() & {"j", "extent"}:
        problem = p.AcrossSets(frame.pattern, frame.pair.query.name, frame.pair.key.name)
        refuse(problem, frame.call or span)


def _body(ev: Evaluator, pattern: syntax.Pattern, frame: Frame) -> Expr:
    result: Expr | None = None
    for statement in pattern.body:
        match statement:
            case syntax.Require(condition=condition):
                require(ev, condition, frame, pattern.name.name)
            case syntax.Assign(names=(name,), value=value):
                bind_local(frame, name, Binding(ev.value(value, frame), name.span))
                ev.label(frame.names[name.name].value, name.name)
            case syntax.Bare(value=value):
                result = ev.condition(value, frame, f"pattern `{pattern.name.name}`")
            case _:
                what = "unpacking" if isinstance(statement, syntax.Assign) else "this statement"
                remedy = "a pattern consists of `require`, `name = expression` and a final condition"
                refuse(p.Misplaced(what, "in a pattern", remedy), statement.span)
    if result is None or not isinstance(pattern.body[-1], syntax.Bare):
        refuse(p.NoValue(pattern.name.name), pattern.name.span)
    return result


def bind_local(frame: Frame, name: syntax.Name, binding: Binding) -> None:
    """Binds a new name; names are bound once and reserved ones never."""
    if name.name in RESERVED:
        refuse(p.Reserved(name.name, RESERVED[name.name]), name.span)
    before = frame.names.get(name.name)
    if before is not None:
        notes = (Note("first declared here", before.span),) if before.span else ()
        refuse(p.Redeclared(name.name), name.span, *notes)
    frame.names[name.name] = binding


def require(ev: Evaluator, node: syntax.Expression, frame: Frame, subject: str) -> None:
    """States each conjunct and each link of a chain as a requirement of its own."""
    match node:
        case syntax.Binary(operator="and", operands=operands):
            for operand in operands:
                require(ev, operand, frame, subject)
        case syntax.Comparison(operands=operands, operators=operators):
            for a, operator, b in zip(operands, operators, operands[1:]):
                link = syntax.Comparison(a.span.to(b.span), node.depth, (a, b), (operator,))
                _state(ev, link, frame, subject)
        case _:
            _state(ev, node, frame, subject)


def _state(ev: Evaluator, node: syntax.Expression, frame: Frame, subject: str) -> None:
    condition = ev.condition(node, frame, "`require`")
    names = variables(condition)
    requirement = Requirement(
        condition,
        frame.module.excerpt(node.span),
        subject,
        frame.call or node.span,
        node.span,
        coordinates=tuple(coordinate_extents(names, frame)),
    )
    match node:
        case syntax.Comparison(operands=(a, b), operators=(operator,)):
            left, right = _side(ev, a, frame), _side(ev, b, frame)
            requirement = replace(requirement, left=left, operator=operator, right=right)
    ev.demand(requirement)


def coordinate_extents(names: set[str], frame: Frame) -> list[tuple[str, Expr]]:
    """The extents of the coordinate variables among `names`."""
    found: list[tuple[str, Expr]] = [("head", Var("heads"))] if "head" in names else []
    if frame.pair is not None:
        for role, tokens in (("i", frame.pair.query), ("j", frame.pair.key)):
            for axis in tokens.axes:
                variable = tokens.coordinate(role, axis.name)
                if variable.name in names:
                    found.append((variable.name, axis.extent))
    return found


def _side(ev: Evaluator, node: syntax.Expression, frame: Frame) -> Side:
    expr = ev.number(node, frame, "a comparison")
    match node:
        case syntax.Name(name="extent") if frame.axis and frame.pair is not None:
            return Side(expr, axis=frame.axis, tokens=frame.pair.key.name)
        case syntax.Number():
            return Side(expr)
        case syntax.Name(name=name):
            return Side(expr, name=name)
        case _:
            return Side(expr, name=f"`{frame.module.excerpt(node.span)}` =")

