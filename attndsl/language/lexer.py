"""From text to tokens. What is no token becomes one of type UNKNOWN, so that one error says so and the
rest is still checked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from lark import Token
from lark.exceptions import UnexpectedCharacters
from lark.lexer import BasicLexer, LexerThread

from attndsl.diagnostics import AttnError, Diagnostic
from attndsl.ir.problem import Problem, Span
from attndsl.language import problems as p
from attndsl.language.limits import MAX_ERRORS, MAX_NAME, MAX_SOURCE
from attndsl.language.tables import parser

UNKNOWN = "UNKNOWN"
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\r\t]|\r(?!\n)")
_QUOTED = re.compile(r"""(["'`]).*?\1""")
_FOREIGN_OPERATORS = {
    "&&": "write `and`",
    "||": "write `or`",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, and `!=` for inequality",
    "~": "write `not`",
    "^": "a power is written `**`",
    "@": "dot products are part of attend; change the score with `score` or `bias`",
    "\\": "a line goes on after an operator and inside brackets; no `\\` is needed",
    "?": "a choice is written: a if condition else b",
    "$": "names are written without `$`",
    "≤": "write `<=`",
    "≥": "write `>=`",
    "≠": "write `!=`",
    "−": "this is a typographic minus; write `-`",
    "–": "this is a dash; write `-`",
    "×": "write `*`",
    "·": "write `*`",
    "÷": "write `//`",
    "∧": "write `and`",
    "∨": "write `or`",
    "¬": "write `not`",
}


@cache
def _lexer() -> BasicLexer:
    return BasicLexer(parser().lexer_conf)


def tokenize(text: str, file: str) -> list[Token]:
    """The tokens of a text, newlines included.

    Raises:
        AttnError: the text is too large or contains invisible characters.
    """
    _refuse_hostile(text, file)
    tokens: list[Token] = []
    thread = LexerThread.from_text(_lexer(), text)
    state = thread.state
    assert state is not None
    while True:
        try:
            tokens.extend(thread.lex(None))
        except UnexpectedCharacters as error:
            tokens.append(_unknown(text, error))
            state.line_ctr.feed(tokens[-1])
        else:
            return tokens


def unknown_token(token: Token) -> Problem:
    """What is wrong with an UNKNOWN token."""
    match str(token):
        case operator if operator in _FOREIGN_OPERATORS:
            return p.ForeignOperator(operator, _FOREIGN_OPERATORS[operator])
        case text if text[0] in "\"'“”‘’„«»`":
            return p.UnexpectedCharacter(text[0], 'only `use` takes a string, on one line: use "masks.attn"')
        case text if text.isalnum():
            return p.UnexpectedCharacter(text, "names consist of the letters a to z, digits and `_`")
        case text:
            return p.UnexpectedCharacter(text)


def bad_names(tokens: Iterable[Token], file: str) -> Iterator[Diagnostic]:
    """Names that cannot stand in generated code."""
    for token in tokens:
        if token.type == "NAME" and len(token) > MAX_NAME:
            problem = p.BadName(f"{token[:20]}...", f"{len(token)} characters", MAX_NAME)
            yield Diagnostic(problem, span_of(token, file))
        elif token.type == "NAME" and token.startswith("__"):
            yield Diagnostic(
                p.BadName(str(token), "begins with two underscores", MAX_NAME), span_of(token, file)
            )


def span_of(token: Token, file: str) -> Span:
    """The place of a token."""
    return Span(file, token.line or 1, token.column or 1, token.end_line or 1, token.end_column or 1)


def span_at(text: str, position: int, file: str, length: int = 1) -> Span:
    """The place of some characters of one line."""
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Span(file, line, column, line, column + length)


def _unknown(text: str, error: UnexpectedCharacters) -> Token:
    at = error.pos_in_stream or 0
    length = 2 if text[at : at + 2] in _FOREIGN_OPERATORS else 1
    if quoted := _QUOTED.match(text, at):
        length = len(quoted[0])
    end = error.column + length
    return Token(UNKNOWN, text[at : at + length], at, error.line, error.column, error.line, end, at + length)


def _refuse_hostile(text: str, file: str) -> None:
    """Size and invisible characters, before any real work is done."""
    if len(text) > MAX_SOURCE:
        raise AttnError([Diagnostic(p.FileTooLarge(file, MAX_SOURCE // 1024))])
    found: list[Diagnostic] = []
    for match in _UNUSUAL.finditer(text):
        if unicodedata.category(match[0])[0] in "CZ" and len(found) < MAX_ERRORS:
            found.append(Diagnostic(_invisible(match[0]), span_at(text, match.start(), file)))
    if found:
        raise AttnError(found, {file: text})


def _invisible(char: str) -> Problem:
    name = f"U+{ord(char):04X}"
    if words := unicodedata.name(char, "").lower():
        name += f" ({words})"
    if unicodedata.category(char) == "Zs":
        return p.InvisibleCharacter(name, "replace it by an ordinary space")
    remedy = "remove it; specs contain visible characters, spaces, tabs and newlines only"
    return p.InvisibleCharacter(name, remedy)
