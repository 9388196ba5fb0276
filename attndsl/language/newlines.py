"""Which newlines end a statement: a filter between the lexer and the parser.

A newline is dropped inside ( ) and [ ], after an operator or comma, and before a token that cannot
begin a statement (`and`, `or`, `else`, a comparison...).
"""

from __future__ import annotations

from collections.abc import Iterator

from lark import Token

OPENING, CLOSING = ("LPAR", "LSQB"), ("RPAR", "RSQB")
_AFTER = frozenset(
    "EQUAL COMMA COLON COMPARISON PLUS MINUS TIMES POWER SLASH FLOOR PERCENT AND OR NOT IF ELSE DOT".split()
)
_BEFORE = frozenset("AND OR IF ELSE COMPARISON TIMES POWER SLASH FLOOR PERCENT EQUAL".split())


class Newlines:
    """A Lark post-lexer: yields the tokens that the grammar sees."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Drops the newlines that end nothing."""
        depth = 0
        last: Token | None = None
        pending: Token | None = None
        for token in stream:
            if token.type == "_NL":
                if depth == 0 and not (last is not None and last.type in _AFTER):
                    pending = pending or token
                continue
            if pending is not None and token.type not in _BEFORE:
                yield pending
            pending = None
            depth = max(0, depth + (token.type in OPENING) - (token.type in CLOSING))
            last = token
            yield token
        if pending is not None:
            yield pending
