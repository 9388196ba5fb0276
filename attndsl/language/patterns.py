"""Calls of patterns: arguments, the defaults of `i`, `j` and `extent`, and the body's value."""

from __future__ import annotations

from dataclasses import replace

from attndsl.diagnostics import AttnError, Diagnostic, Note, fail
from attndsl.ir.index import Expr
from attndsl.ir.problem import Span
from attndsl.ir.tokens import Pooled
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.calls import Signature
from attndsl.language.evaluator import Evaluator, each
from attndsl.language.modules import LIBRARY, Module, library
from attndsl.language.requirements import require
from attndsl.language.scope import Binding, CallSite, Frame, describe
from attndsl.language.values import Extent, Position
from attndsl.language.vocabulary import IMPLICIT, RESERVED, suggest

_NO_PAIR = "patterns have a value in `where`, `bias` and `score` of attend, and in names used there"
_MAX_NOTES = 3


def expand(
    ev: Evaluator,
    found: tuple[syntax.Pattern, Module],
    given: tuple[syntax.Argument, ...],
    span: Span,
    frame: Frame,
) -> Expr:
    """The condition that a call of a pattern stands for."""
    pattern, module = found
    name = pattern.name.name
    if frame.pair is None:
        raise fail(p.NoPair(name, "query and key", _NO_PAIR), span)
    if (module, name) in frame.callers:
        raise fail(p.Recursive(name), span)
    if name in module.broken:
        raise AttnError([])  # reported where it is declared
    names = _bind(ev, pattern, given, frame)
    site = frame.site
    if not frame.module.is_library:
        site = CallSite(name, span, frame.module.excerpt(span))
    inner = replace(frame, module=module, names=names, site=site, callers=(*frame.callers, (module, name)))
    try:
        _add_defaults(ev, pattern, span, inner)
        own_extent = names["extent"].default or names["extent"] is frame.names.get("extent")
        return _body(ev, pattern, replace(inner, axis=frame.axis if own_extent else "", defaults_used={}))
    except AttnError as error:
        raise AttnError([_blame(diagnostic, inner, span) for diagnostic in error.diagnostics]) from None


def _bind(
    ev: Evaluator, pattern: syntax.Pattern, given: tuple[syntax.Argument, ...], frame: Frame
) -> dict[str, Binding]:
    """The arguments of a call by parameter, evaluated where the call stands."""
    parameters = [parameter.name.name for parameter in pattern.parameters]
    remedy = f"its parameters are: {', '.join(parameters)}" if parameters else "leave the arguments out"
    signature = Signature(f"pattern `{pattern.name.name}`", parameters, (*parameters, *IMPLICIT), remedy)
    matched = signature.match(given, frame.names.__contains__)
    values = each(lambda argument: ev.value(argument.value, frame), matched.values())
    bound = {name: Binding(value, matched[name].span) for name, value in zip(matched, values)}
    return {name: frame.names[name] for name in IMPLICIT if name in frame.names} | bound


def _add_defaults(ev: Evaluator, pattern: syntax.Pattern, span: Span, frame: Frame) -> None:
    """Defaults may use the parameters before them, and nothing else of the caller."""
    for parameter in pattern.parameters:
        name = parameter.name.name
        if name in frame.names:
            continue
        if parameter.default is None:
            signature = ", ".join(q.name.name for q in pattern.parameters)
            remedy = f"write {pattern.name.name}({signature})"
            note = Note("declared here", parameter.span)
            raise fail(p.MissingArgument(f"pattern `{pattern.name.name}`", name, remedy), span, note)
        scope = replace(frame, names=dict(frame.names), defaults_used={})
        frame.names[name] = Binding(ev.value(parameter.default, scope), parameter.span)


def _blame(diagnostic: Diagnostic, frame: Frame, span: Span) -> Diagnostic:
    """Errors in the library are the caller's: they point at the argument or call. Others say who called."""
    if diagnostic.span is None:
        return diagnostic
    if diagnostic.span.file == LIBRARY:
        binding = frame.names.get(library().excerpt(diagnostic.span))
        place = binding.span if binding is not None and binding.span is not None else span
        return replace(diagnostic, span=span if place.file == LIBRARY else place)
    if span.file == LIBRARY or diagnostic.span == span or len(diagnostic.notes) >= _MAX_NOTES:
        return diagnostic
    return replace(diagnostic, notes=(*diagnostic.notes, Note("in this call", span)))


def _body(ev: Evaluator, pattern: syntax.Pattern, frame: Frame) -> Expr:
    """The value of a body whose form `static` has checked."""
    for statement in pattern.body:
        match statement:
            case syntax.Require(condition=condition):
                require(ev, condition, frame, pattern.name.name)
            case syntax.Assign(names=(name,), value=node):
                value = ev.value(node, frame)
                bind_local(frame, name, Binding(value, name.span))
                ev.keep(value, name.name, name.span)
            case syntax.Bare(value=node):
                return ev.condition(node, frame, f"pattern `{pattern.name.name}`")
    raise AssertionError(pattern.name.name)


def bind_local(frame: Frame, name: syntax.Name, binding: Binding) -> None:
    """Binds a new name; names are bound once and reserved ones never."""
    if name.name in RESERVED:
        raise fail(p.Reserved(name.name, RESERVED[name.name]), name.span)
    before = frame.names.get(name.name)
    if before is not None:
        notes = (Note("first declared here", before.span),) if before.span else ()
        raise fail(p.Redeclared(name.name), name.span, *notes)
    frame.names[name.name] = binding


def lift(ev: Evaluator, node: syntax.Lift, frame: Frame) -> Expr:
    """`h: p(a)` is `p(a, i = i.h, j = j.h, extent = x.h)`."""
    axis = node.axis.name
    if frame.pair is None:
        raise fail(p.NoPair(f"{axis}:", "query and key", _NO_PAIR), node.span)
    bound: dict[str, Binding] = {}
    for name in IMPLICIT:
        binding = frame.names.get(name)
        if binding is None:
            continue  # coordinates are asked for tokens, without a key
        match binding.value:
            case Position(role, tokens) if tokens.axis(axis):
                bound[name] = replace(binding, value=tokens.coordinate(role, axis))
            case Extent(tokens) if found := tokens.axis(axis):
                bound[name] = replace(binding, value=found.extent)
            case Position(tokens=tokens) | Extent(tokens=tokens):
                remedy = suggest(axis, tokens.axis_names)
                raise fail(p.NoSuchAxis(tokens.name, axis, remedy), node.axis.span)
            case _:
                remedy = "`i` and `j` stand for one axis here already: leave out the lift"
                raise fail(p.NoSuchAxis(f"`{name}`", axis, remedy), node.axis.span)
    value = ev.numeric(node.body, replace(frame, names={**frame.names, **bound}, axis=axis), f"`{axis}:`")
    if value.kind != "bool":
        remedy = f"a lift ends before an operator: put what it covers in parentheses, {axis}: (...)"
        raise fail(p.WrongKind(f"`{axis}:`", "a condition", describe(value), remedy), node.span)
    return value


def note_default_use(frame: Frame, name: str, span: Span) -> None:
    """A pattern that uses both default `i` and default `j` compares positions: the sets must agree."""
    if frame.site is None or frame.pair is None:
        return
    query, key = frame.pair.query, frame.pair.key
    unordered = query.matches(key) and not query.ordered
    if query == key and not unordered:
        return
    frame.defaults_used[name] = span
    if unordered and {"i", "j"} <= frame.defaults_used.keys():
        raise fail(p.NoOrder(frame.site.pattern, query.name), frame.site.span)
    if unordered:
        return
    if "i" in frame.defaults_used and frame.defaults_used.keys() & {"j", "extent"}:
        call = frame.site.text.removesuffix("()")
        key = frame.names.get("j")
        missing = "j" if key is None or key.default else "extent"
        pooled = (
            missing == "j" and isinstance(frame.pair.key.origin, Pooled) and len(frame.pair.key.axes) == 1
        )
        given = f"{missing} = {'last(j)' if pooled else '...'}"
        example = f"{call[:-1]}, {given})" if call.endswith(")") else f"{call}({given})"
        problem = p.AcrossSets(frame.site.pattern, frame.pair.query.name, frame.pair.key.name, example)
        raise fail(problem, frame.site.span)
