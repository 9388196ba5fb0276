"""`tokens` and `input`: token sets, their axes, and the tensors that live on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic, Note, fail
from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.ops import Input, Learn
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.requirement import Requirement, Side
from attndsl.ir.rewrite import Ranges
from attndsl.ir.tokens import MAX_EXTENT, SINGLE, Axis, BadExtent, TokenSet
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import variables
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import each
from attndsl.language.patterns import bind_local
from attndsl.language.scope import Binding, describe
from attndsl.language.values import Feature
from attndsl.language.vocabulary import RESERVED, suggest
from attndsl.language.workspace import Workspace

MODIFIERS: Mapping[str, Mapping[str, Any]] = {
    "scalar": {"width": None},
    "int": {"kind": "int", "width": None, "heads": None},
    "bool": {"kind": "bool", "width": None, "heads": None},
    "flat": {"heads": None},
}
"""What each modifier of an input changes about its type."""
LEARNED: Mapping[str, Mapping[str, Any]] = {
    "scalar": {"width": None},
    "shared": {"heads": None},
}
"""What each modifier of a learned tensor changes: tables are per head unless `shared`."""


def declare_tokens(work: Workspace, statement: syntax.Tokens) -> None:
    """`tokens x[h, w = 16]`."""
    name = statement.name
    axes = each(lambda item: _axis(work, item[1], item[0], name.name), list(enumerate(statement.axes)))
    for at, axis in enumerate(axes):
        if axis.name in {earlier.name for earlier in axes[:at]}:
            raise fail(p.Redeclared(axis.name), statement.axes[at].span)
    tokens = TokenSet(name.name, tuple(axes))
    bind_local(work.frame, name, Binding(tokens, name.span))
    work.token_sets.append(tokens)


def _axis(work: Workspace, axis: syntax.Axis, position: int, tokens: str) -> Axis:
    match axis:
        case syntax.Axis(value=syntax.Name() as name, extent=None):
            return Axis(name.name, _symbol(work, name, tokens))
        case syntax.Axis(value=syntax.Name() as name, extent=extent) if extent is not None:
            if name.name in RESERVED:
                raise fail(p.Reserved(name.name, RESERVED[name.name]), name.span)
            work.axes.setdefault(name.name, tokens)
            return _derived_axis(work, name.name, _extent(work, extent, name.name, tokens))
        case syntax.Axis(
            value=syntax.Comparison(operands=(syntax.Name() as name, bound), operators=("<=",)), extent=None
        ):
            return Axis(name.name, _symbol(work, name, tokens), _bound(work, bound, name, tokens))
        case syntax.Axis(value=syntax.Comparison(operands=(syntax.Name(name=name), _), operators=("==",))):
            remedy = f"`==` compares; write: {name} = ..."
        case syntax.Axis(extent=None) if not isinstance(axis.value, syntax.Comparison):
            return _derived_axis(work, str(position), _extent(work, axis.value, str(position), tokens))
        case _:
            remedy = "an axis is a name, name = extent, name <= bound, or an expression for its extent"
    raise fail(p.WrongValue("`tokens`", "an axis", "a condition", remedy), axis.span)


def _symbol(work: Workspace, name: syntax.Name, tokens: str) -> Expr:
    """A bare axis name is an extent known by that name, or a new symbol."""
    binding = work.frame.names.get(name.name)
    if binding is None:
        bind_local(work.frame, name, Binding(Var(name.name), name.span))
        work.expressions.knowledge.add_symbol(name.name)
    elif not isinstance(binding.value, Expr):
        notes = (Note("first declared here", binding.span),) if binding.span else ()
        raise fail(p.Redeclared(name.name), name.span, *notes)
    work.axes.setdefault(name.name, tokens)
    return _extent(work, name, name.name, tokens)


def _extent(work: Workspace, node: syntax.Expression, axis: str, tokens: str) -> Expr:
    extent = work.expressions.integer(node, work.frame, "an extent")
    work.expressions.keep(extent, "", node.span)
    match extent:
        case Const(value) if not 1 <= value <= MAX_EXTENT:
            raise fail(BadExtent(tokens, axis, str(value)), node.span)
    return extent


def _bound(work: Workspace, node: syntax.Expression, axis: syntax.Name, tokens: str) -> int:
    """`n <= 4096`: the largest extent, which is required of every call."""
    match work.expressions.integer(node, work.frame, "a bound"):
        case Const(int() as bound) if 1 <= bound <= MAX_EXTENT:
            symbol, span = Var(axis.name), axis.span.to(node.span)
            side, other = Side(symbol, axis=axis.name, tokens=tokens), Side(Const(bound))
            text = work.module.excerpt(span)
            needed = Requirement(symbol <= bound, text, "tokens", span, span, side, "<=", other)
            work.expressions.demand(needed, work.frame)
            return bound
        case Const(value):
            raise fail(BadExtent(tokens, axis.name, str(value)), node.span)
    remedy = f"a bound is an integer from 1 to 2**40, e.g. {axis.name} <= 4096"
    raise fail(p.WrongValue("a bound", "a constant", "an expression of extents", remedy), node.span)


def declare_input(work: Workspace, statement: syntax.Input) -> None:
    """`input q, k, v : x`, `input label : x int`."""
    tokens = _token_set(work, statement.tokens, "input")
    changes = _modifiers(statement.modifiers, MODIFIERS)

    def declare(name: syntax.Name) -> None:
        type_ = replace(FeatureType(tokens, width=Var(f"{name.name}.width")), **changes)
        bind_local(work.frame, name, Binding(Feature(name.name, type_), name.span))
        work.values.append(ProgramValue(name.name, Input(type_), name.span))
        if type_.width is not None:
            work.expressions.knowledge.add_width(name.name)
            work.widths.append(type_.width)

    each(declare, statement.names)


def declare_learned(work: Workspace, statement: syntax.Learn) -> None:
    """`learn table : [13, 13] scalar`, `learn rk, rv : r`."""
    changes = _modifiers(statement.modifiers, LEARNED)
    if "width" not in changes and not work.widths:
        remedy = "declare the inputs first, or add `scalar`"
        raise fail(p.BadModifier("no input has a width that this could share", remedy), statement.span)
    width = work.widths[0] if work.widths else None

    def declare(name: syntax.Name) -> None:
        tokens = _learned_tokens(work, statement.tokens, name.name)
        type_ = replace(FeatureType(tokens, batch=False, width=width), **changes)
        bind_local(work.frame, name, Binding(Feature(name.name, type_), name.span))
        work.values.append(ProgramValue(name.name, Learn(type_), name.span))

    each(declare, statement.names)


def _learned_tokens(work: Workspace, node: syntax.Name | syntax.Tuple, name: str) -> TokenSet:
    """A set by name, or one of its own; extents must be known when the module is made."""
    match node:
        case syntax.Tuple(items=()):
            return SINGLE
        case syntax.Tuple(items=items):
            axes = [
                _derived_axis(work, str(at), _extent(work, item, str(at), name))
                for at, item in enumerate(items)
            ]
            tokens = TokenSet(name, tuple(axes))
        case _:
            tokens = _token_set(work, node, "learn")
    for axis in tokens.axes:
        if axis.largest is None:
            bounded = {extent.name for extent, _ in _bounds(work)}
            symbols = sorted(variables(axis.extent) - bounded)
            bounds = " and ".join(f"{symbol} <= 4096" for symbol in symbols)
            remedy = f"bound it where it is declared: {bounds}"
            if any(symbol not in work.frame.names for symbol in symbols):
                remedy = "make it a constant or a parameter of the attention"
            problem = p.UnboundedParameter(name, tokens.name, axis.name, remedy)
            raise fail(problem, node.span)
    return tokens


def _bounds(work: Workspace) -> Iterator[tuple[Var, int]]:
    """The symbols whose largest value the spec states."""
    for tokens in work.token_sets:
        for axis in tokens.axes:
            match axis:
                case Axis(extent=Var() as symbol, bound=int() as bound):
                    yield symbol, bound


def _derived_axis(work: Workspace, name: str, extent: Expr) -> Axis:
    """An axis whose extent is an expression, bounded where all its symbols are."""
    known = {symbol.name: (1, bound) for symbol, bound in _bounds(work)}
    span = Ranges(known).of(extent) if variables(extent) else None
    return Axis(name, extent, None if span is None or not 1 <= span[1] <= MAX_EXTENT else span[1])


def unseen_extents(work: Workspace) -> Iterator[Diagnostic]:
    """A problem for each symbol that is not the length of an axis of some input."""
    inputs = [value.type.tokens for value in work.values if isinstance(value.op, Input)]
    seen = {axis.extent for tokens in inputs if tokens is not None for axis in tokens.axes}
    symbols = {name for tokens in work.token_sets for name in tokens.symbols}
    for name, binding in work.frame.names.items():
        if name in symbols and Var(name) not in seen:
            yield Diagnostic(p.UnseenExtent(name), binding.span)


def _modifiers(modifiers: tuple[syntax.Name, ...], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for at, modifier in enumerate(modifiers):
        name = modifier.name
        if name not in known:
            problem = p.BadModifier(f"unknown modifier `{name}`", suggest(name, known))
            raise fail(problem, modifier.span)
        clash = next((other.name for other in modifiers[:at] if not _compatible(name, other.name)), None)
        if clash is not None:
            what = f"`{name}` does not go together with `{clash}`"
            raise fail(p.BadModifier(what, "keep one of them"), modifier.span)
        changes |= known[name]
    return changes


def _compatible(a: str, b: str) -> bool:
    """Scalars may also be shared or flat; everything else stands alone."""
    return a != b and "scalar" in (a, b) and bool({"shared", "flat"} & {a, b})


def _token_set(work: Workspace, name: syntax.Name, keyword: str) -> TokenSet:
    binding = work.frame.names.get(name.name)
    if binding is not None and isinstance(binding.value, TokenSet):
        return binding.value
    if name.name in work.poisoned:
        raise AttnError([])  # its own declaration is reported
    known = [tokens.name for tokens in work.token_sets]
    if binding is not None:
        remedy = f"token sets are: {', '.join(known)}" if known else "declare one first: tokens x[n]"
        raise fail(p.WrongValue(f"`{keyword}`", "a token set", describe(binding.value), remedy), name.span)
    remedy = suggest(name.name, known) if known else f"declare it first: tokens {name.name}[n]"
    raise fail(p.UnknownName("token set", name.name, remedy), name.span)
