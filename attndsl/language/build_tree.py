"""Builds the syntax tree: one method per rule of the grammar, without recursion, from the leaves up."""

from __future__ import annotations

from typing import Any

from lark import Token, v_args
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive

from attndsl.diagnostics import fail
from attndsl.ir.index import MAX_INTEGER
from attndsl.ir.problem import Span
from attndsl.language import syntax as s
from attndsl.language.limits import MAX_DEPTH
from attndsl.language.problems import NestedTooDeeply, NumberTooLarge


def span_of(token: Token | Meta, file: str) -> Span:
    """The place of a token or rule."""
    return Span(file, token.line or 1, token.column or 1, token.end_line or 1, token.end_column or 1)


@v_args(meta=True)
class TreeBuilder(Transformer_NonRecursive[Token, s.File]):
    """Turns the rules of `attn.lark` into nodes of `syntax`."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file

    def _make(self, kind: type[Any], meta: Meta, *values: Any) -> Any:
        span = span_of(meta, self._file) if not meta.empty else Span(self._file, 1, 1, 1, 1)
        nodes = [n for v in values for n in (v if isinstance(v, tuple) else (v,)) if isinstance(n, s.Node)]
        depth = 1 + max((node.depth for node in nodes), default=0)
        if depth > MAX_DEPTH:
            raise fail(NestedTooDeeply(MAX_DEPTH), span)
        return kind(span, depth, *values)

    def _name(self, token: Token) -> s.Name:
        return s.Name(span_of(token, self._file), 1, str(token))

    def _names(self, tokens: list[Token]) -> tuple[s.Name, ...]:
        return tuple(self._name(token) for token in tokens)

    def file(self, meta: Meta, items: list[Any]) -> s.File:
        return self._make(s.File, meta, tuple(items))

    def use(self, meta: Meta, parts: list[Token]) -> s.Use:
        return self._make(s.Use, meta, str(parts[0])[1:-1])

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
        text = str(parts[0])
        if len(text) > 20 or int(text) >= MAX_INTEGER:
            raise fail(NumberTooLarge(), span_of(parts[0], self._file))
        return self._make(s.Number, meta, int(text))

    def real(self, meta: Meta, parts: list[Token]) -> s.Number:
        value = float(parts[0])
        if value == float("inf"):
            raise fail(NumberTooLarge(), span_of(parts[0], self._file))
        return self._make(s.Number, meta, value)

    def true(self, meta: Meta, parts: list[Token]) -> s.Number:
        return self._make(s.Number, meta, True)

    def false(self, meta: Meta, parts: list[Token]) -> s.Number:
        return self._make(s.Number, meta, False)

    def items(self, meta: Meta, parts: list[Any]) -> s.Tuple:
        return self._make(s.Tuple, meta, tuple(part for part in parts if part is not None))
