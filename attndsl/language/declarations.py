"""`tokens` and `input`: token sets, their axes, and the tensors that live on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic, Note, fail
from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.ops import Input
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.tokens import MAX_EXTENT, Axis, BadExtent, TokenSet
from attndsl.ir.types import FeatureType, Heads
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
    "int": {"kind": "int", "width": None, "heads": Heads.NONE},
    "bool": {"kind": "bool", "width": None, "heads": Heads.NONE},
}
"""What each modifier of an input changes about its type."""


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
            return Axis(name.name, _extent(work, extent, name.name, tokens))
        case syntax.Axis(value=syntax.Comparison(operands=(syntax.Name(name=name), _), operators=("==",))):
            remedy = f"`==` compares; write: {name} = ..."
        case syntax.Axis(extent=None) if not isinstance(axis.value, syntax.Comparison):
            return Axis(str(position), _extent(work, axis.value, str(position), tokens))
        case _:
            remedy = "an axis is a name, name = extent, or an expression for its extent"
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


def declare_input(work: Workspace, statement: syntax.Input) -> None:
    """`input q, k, v : x`, `input label : x int`."""
    tokens = _token_set(work, statement.tokens)
    changes = _modifiers(statement)

    def declare(name: syntax.Name) -> None:
        type_ = replace(FeatureType(tokens, width=name.name), **changes)
        bind_local(work.frame, name, Binding(Feature(name.name, type_), name.span))
        work.values.append(ProgramValue(name.name, Input(name.name, type_), name.span))
        if type_.width:
            work.expressions.knowledge.add_width(name.name)

    each(declare, statement.names)


def unseen_extents(work: Workspace) -> Iterator[Diagnostic]:
    """A problem for each symbol that is not the length of an axis of some input."""
    inputs = [value.type.tokens for value in work.values if isinstance(value.op, Input)]
    seen = {axis.extent for tokens in inputs if tokens is not None for axis in tokens.axes}
    symbols = {name for tokens in work.token_sets for name in tokens.symbols}
    for name, binding in work.frame.names.items():
        if name in symbols and Var(name) not in seen:
            yield Diagnostic(p.UnseenExtent(name), binding.span)


def _modifiers(statement: syntax.Input) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for at, modifier in enumerate(statement.modifiers):
        name = modifier.name
        if name not in MODIFIERS:
            problem = p.BadModifier(f"unknown modifier `{name}`", suggest(name, MODIFIERS))
            raise fail(problem, modifier.span)
        if at > 0:
            what = f"`{name}` does not go together with `{statement.modifiers[0].name}`"
            raise fail(p.BadModifier(what, "keep one of them"), modifier.span)
        changes |= MODIFIERS[name]
    return changes


def _token_set(work: Workspace, name: syntax.Name) -> TokenSet:
    binding = work.frame.names.get(name.name)
    if binding is not None and isinstance(binding.value, TokenSet):
        return binding.value
    if name.name in work.poisoned:
        raise AttnError([])  # its own declaration is reported
    known = [tokens.name for tokens in work.token_sets]
    if binding is not None:
        remedy = f"token sets are: {', '.join(known)}" if known else "declare one first: tokens x[n]"
        raise fail(p.WrongValue("`input`", "a token set", describe(binding.value), remedy), name.span)
    remedy = suggest(name.name, known) if known else f"declare it first: tokens {name.name}[n]"
    raise fail(p.UnknownName("token set", name.name, remedy), name.span)
