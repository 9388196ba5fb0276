"""Checks every pattern of a file where it is written, called or not: its form and the names it uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attndsl.diagnostics import Diagnostic, Note
from attndsl.ir.ops import OPS
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.limits import MAX_ERRORS
from attndsl.language.modules import Module
from attndsl.language.vocabulary import FUNCTION_NAMES, IMPLICIT, RESERVED, suggest


def check_patterns(module: Module) -> None:
    """Adds what is wrong with a module's patterns to its problems."""
    vocabulary = _Vocabulary(frozenset(module.pattern_names()), frozenset(_names_of_attentions(module)))
    for name, pattern in module.patterns.items():
        if len(module.problems) >= MAX_ERRORS:
            module.broken.add(name)  # not looked at, and not to be expanded
            continue
        found = [*_declarations(pattern), *_form(pattern), *_names(pattern, vocabulary)]
        if found:
            module.broken.add(name)
            module.problems += found


@dataclass(frozen=True)
class _Vocabulary:
    """What the patterns of a file can mention, and what they cannot see."""

    patterns: frozenset[str]
    of_attentions: frozenset[str]

    @property
    def callables(self) -> frozenset[str]:
        """Names that can be called."""
        return self.patterns | {*FUNCTION_NAMES, *OPS}


def continued_line(node: syntax.Expression) -> str:
    """The remedy for an expression that stands alone; it often is the rest of the line above."""
    match node:
        case syntax.Unary(operator="+" | "-" as sign):
            return f"to go on with the line above, end that line with `{sign}`"
        case syntax.Comparison(operators=("==", *_), operands=(syntax.Name(name=name), *_)):
            return f"`==` compares; to bind a name write: {name} = ..."
        case syntax.Binary(operands=(first, *_)):
            return continued_line(first)
        case _:
            return "bind it: name = ..."


def _declarations(pattern: syntax.Pattern) -> Iterator[Diagnostic]:
    """Names that cannot be declared, or are declared twice."""
    seen: dict[str, syntax.Name] = {}
    parameters = [parameter.name for parameter in pattern.parameters]
    for name in (
        *parameters,
        *(name for statement in pattern.body for name in syntax.bound_names(statement)),
    ):
        if name.name in RESERVED:
            remedy = "choose another name"
            if name.name in IMPLICIT and name in parameters:
                remedy = "leave it out: every pattern has this parameter already"
            yield Diagnostic(p.Reserved(name.name, RESERVED[name.name], remedy), name.span)
        first = seen.setdefault(name.name, name)
        if first is not name:
            yield Diagnostic(p.Redeclared(name.name), name.span, (Note("first declared here", first.span),))


def _form(pattern: syntax.Pattern) -> Iterator[Diagnostic]:
    """`require`, `name = expression`, and in the end a condition."""
    last = pattern.body[-1] if pattern.body else None
    for statement in pattern.body:
        match statement:
            case syntax.Require() | syntax.Assign(names=(_,)):
                continue
            case syntax.Bare(value=value):
                if statement is last:
                    continue
                what, remedy = "an expression on its own", continued_line(value)
            case syntax.Return():
                what, remedy = "`return`", "the last line of a pattern is its value: leave out `return`"
            case syntax.Assign():
                what, remedy = "unpacking", "bind one name at a time"
            case _:
                what = "`tokens`" if isinstance(statement, syntax.Tokens) else "`input`"
                remedy = "declare it in the attention and pass it as an argument"
        yield Diagnostic(p.Misplaced(what, "in a pattern", remedy), statement.span)
    if last is None or isinstance(last, syntax.Assign | syntax.Require):
        yield Diagnostic(p.NoValue(pattern.name.name), pattern.name.span)


def _names(pattern: syntax.Pattern, vocabulary: _Vocabulary) -> Iterator[Diagnostic]:
    """Unknown names; each once."""
    known = {*RESERVED, *(parameter.name.name for parameter in pattern.parameters)}
    used = [q.default for q in pattern.parameters if q.default is not None]
    for statement in pattern.body:
        known |= {name.name for name in syntax.bound_names(statement)}
        match statement:
            case syntax.Assign(value=value) | syntax.Require(condition=value) | syntax.Bare(value=value):
                used.append(value)
    callables = vocabulary.callables
    reported: set[str] = set()
    for name, called in (found for expression in used for found in names_in(expression)):
        if name.name in reported or name.name in known or name.name in callables:
            continue
        reported.add(name.name)
        what = "pattern or function" if called else "name"
        if name.name in vocabulary.of_attentions and not called:
            remedy = "a pattern sees its own parameters only: pass it as an argument"
        else:
            remedy = suggest(name.name, callables if called else known | vocabulary.patterns)
        yield Diagnostic(p.UnknownName(what, name.name, remedy), name.span)


def names_in(node: syntax.Expression) -> Iterator[tuple[syntax.Name, bool]]:
    """The names that an expression mentions, and whether they are called."""
    match node:
        case syntax.Name():
            yield node, False
        case syntax.Call(function=syntax.Name() as function):
            yield function, True
    for child in syntax.children(node):
        yield from names_in(child)


def _names_of_attentions(module: Module) -> set[str]:
    found: set[str] = set()
    for attention in module.attentions.values():
        found |= {parameter.name.name for parameter in attention.parameters}
        for statement in attention.body:
            found |= {name.name for name in syntax.bound_names(statement)}
    return found
