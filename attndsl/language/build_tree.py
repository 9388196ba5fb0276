"""Builds the syntax tree: one method per rule of the grammar, without recursion, from the leaves up."""

# ruff: noqa: D102 -- the methods are the rules of attn.lark

from __future__ import annotations

from dataclasses import replace
from math import isinf
from typing import Any

from lark import Token, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from attndsl.diagnostics import Diagnostic, fail
from attndsl.ir.index import MAX_INTEGER
from attndsl.ir.problem import Span
from attndsl.language import syntax as s
from attndsl.language.lexer import span_of
from attndsl.language.limits import MAX_DEPTH
from attndsl.language.problems import NestedTooDeeply, NumberTooLarge


@v_args(meta=True)
class TreeBuilder(Transformer_NonRecursive[Token, s.File]):
    """Turns the rules of `attn.lark` into nodes of `syntax`; `found` collects numbers out of range."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.found: list[Diagnostic] = []
        self._file = file

    def _make(self, kind: type[Any], meta: Meta, *values: Any) -> Any:
        span = Span(self._file, 1, 1, 1, 1)
        if not meta.empty:
            span = Span(self._file, meta.line, meta.column, meta.end_line, meta.end_column)
        nodes = [n for v in values for n in (v if isinstance(v, tuple) else (v,)) if isinstance(n, s.Node)]
        depth = 1 + max((node.depth for node in nodes), default=0)
        if depth > MAX_DEPTH:
            raise fail(
                NestedTooDeeply(MAX_DEPTH), replace(span, end_line=span.line, end_column=span.column + 1)
            )
        return kind(span, depth, *values)

    def _name(self, token: Token) -> s.Name:
        return s.Name(span_of(token, self._file), 1, str(token))

    def _names(self, tokens: list[Token]) -> tuple[s.Name, ...]:
        return tuple(self._name(token) for token in tokens)

    def file(self, meta: Meta, items: list[Any]) -> s.File:
        return self._make(s.File, meta, tuple(items))

    def use(self, meta: Meta, parts: list[Token]) -> s.Use:
        return s.Use(span_of(parts[0], self._file), 1, str(parts[0])[1:-1])

    def pattern(self, meta: Meta, parts: list[Any]) -> s.Pattern:
        name, parameters, body = parts
        if not isinstance(body, tuple):
            body = (s.Bare(body.span, body.depth + 1, body),)
        return self._make(s.Pattern, meta, self._name(name), parameters or (), body)

    def attention(self, meta: Meta, parts: list[Any]) -> s.Attention:
        name, parameters, body = parts
        return self._make(s.Attention, meta, self._name(name), parameters or (), body)

    def parameters(self, meta: Meta, parts: list[Any]) -> tuple[s.Parameter, ...]:
        return tuple(part for part in parts if part is not None)

    def parameter(self, meta: Meta, parts: list[Any]) -> s.Parameter:
        return self._make(s.Parameter, meta, self._name(parts[0]), parts[1])

    def body(self, meta: Meta, statements: list[Any]) -> tuple[s.Statement, ...]:
        return tuple(statement for statement in statements if statement is not None)

    def tokens(self, meta: Meta, parts: list[Any]) -> s.Tokens:
        return self._make(s.Tokens, meta, self._name(parts[0]), tuple(parts[1:]))

    def axis(self, meta: Meta, parts: list[Any]) -> s.Axis:
        return self._make(s.Axis, meta, *parts)

    def input(self, meta: Meta, parts: list[Any]) -> s.Input:
        names, tokens, *modifiers = parts
        return self._make(s.Input, meta, names, self._name(tokens), tuple(modifiers))

    def learn(self, meta: Meta, parts: list[Any]) -> s.Learn:
        names, tokens, *modifiers = parts
        if not isinstance(tokens, s.Tuple):
            tokens = self._name(tokens)
        return self._make(s.Learn, meta, names, tokens, tuple(modifiers))

    def shape(self, meta: Meta, parts: list[Any]) -> s.Tuple:
        return self._make(s.Tuple, meta, tuple(part for part in parts if part is not None))

    def tune(self, meta: Meta, parts: list[Any]) -> s.Tune:
        return self._make(s.Tune, meta, self._name(parts[0]), parts[1])

    def loss(self, meta: Meta, parts: list[Any]) -> s.Loss:
        return self._make(s.Loss, meta, self._name(parts[1]), parts[2])

    def modifier(self, meta: Meta, parts: list[Token]) -> s.Name:
        return self._name(parts[0])

    def names(self, meta: Meta, parts: list[Token]) -> tuple[s.Name, ...]:
        return self._names(parts)

    def require(self, meta: Meta, parts: list[Any]) -> s.Require:
        return self._make(s.Require, meta, parts[0])

    def assign(self, meta: Meta, parts: list[Any]) -> s.Assign:
        return self._make(s.Assign, meta, *parts)

    def result(self, meta: Meta, parts: list[Any]) -> s.Return:
        return self._make(s.Return, meta, tuple(parts))

    def bare(self, meta: Meta, parts: list[Any]) -> s.Bare:
        return self._make(s.Bare, meta, parts[0])

    def choice(self, meta: Meta, parts: list[Any]) -> s.Choice:
        a, test, b = parts
        return self._make(s.Choice, meta, test, a, b)

    def either(self, meta: Meta, parts: list[Any]) -> s.Binary:
        return self._make(s.Binary, meta, "or", tuple(parts))

    def both(self, meta: Meta, parts: list[Any]) -> s.Binary:
        return self._make(s.Binary, meta, "and", tuple(parts))

    def negation(self, meta: Meta, parts: list[Any]) -> s.Unary:
        return self._make(s.Unary, meta, "not", parts[0])

    def comparison(self, meta: Meta, parts: list[Any]) -> s.Comparison:
        return self._make(s.Comparison, meta, tuple(parts[::2]), tuple(str(op) for op in parts[1::2]))

    def binary(self, meta: Meta, parts: list[Any]) -> s.Binary:
        a, operator, b = parts
        return self._make(s.Binary, meta, str(operator), (a, b))

    def unary(self, meta: Meta, parts: list[Any]) -> s.Unary:
        return self._make(s.Unary, meta, str(parts[0]), parts[1])

    def call(self, meta: Meta, parts: list[Any]) -> s.Call:
        function, *arguments = parts
        return self._make(s.Call, meta, function, tuple(a for a in arguments if a is not None))

    def lifted_call(self, meta: Meta, parts: list[Any]) -> s.Call:
        name, *arguments = parts
        return self._make(s.Call, meta, self._name(name), tuple(a for a in arguments if a is not None))

    def argument(self, meta: Meta, parts: list[Any]) -> s.Argument:
        name, value = parts
        return self._make(s.Argument, meta, None if name is None else str(name), value)

    def index(self, meta: Meta, parts: list[Any]) -> s.Index:
        return self._make(s.Index, meta, parts[0], tuple(parts[1:]))

    def attribute(self, meta: Meta, parts: list[Any]) -> s.Attribute:
        return self._make(s.Attribute, meta, parts[0], str(parts[1]))

    def lift(self, meta: Meta, parts: list[Any]) -> s.Lift:
        return self._make(s.Lift, meta, self._name(parts[0]), parts[1])

    def name(self, meta: Meta, parts: list[Token]) -> s.Name:
        return self._name(parts[0])

    def integer(self, meta: Meta, parts: list[Token]) -> s.Number:
        digits = parts[0].lstrip("0") or "0"
        if len(digits) > 20 or int(digits) >= MAX_INTEGER:
            return self._too_large(parts[0], meta, "integers stay below 2**62")
        return self._make(s.Number, meta, int(digits))

    def real(self, meta: Meta, parts: list[Token]) -> s.Number:
        value = float(parts[0])
        if isinf(value):
            return self._too_large(parts[0], meta, "real numbers stay below 1.8e308")
        return self._make(s.Number, meta, value)

    def _too_large(self, token: Token, meta: Meta, limit: str) -> s.Number:
        self.found.append(Diagnostic(NumberTooLarge(limit), span_of(token, self._file)))
        return self._make(s.Number, meta, 0)

    def true(self, meta: Meta, parts: list[Token]) -> s.Number:
        return self._make(s.Number, meta, True)

    def false(self, meta: Meta, parts: list[Token]) -> s.Number:
        return self._make(s.Number, meta, False)

    def items(self, meta: Meta, parts: list[Any]) -> s.Tuple:
        return self._make(s.Tuple, meta, tuple(part for part in parts if part is not None))
