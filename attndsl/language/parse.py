"""From text to a syntax tree, or to every syntax error of the file in the user's terms."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from attndsl.diagnostics import AttnError, Diagnostic, Note
from attndsl.ir.problem import Problem, Span
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.build_tree import TreeBuilder, span_of
from attndsl.language.limits import MAX_DEPTH, MAX_ERRORS, MAX_SOURCE
from attndsl.language.newlines import Newlines
from attndsl.language.terminals import describe, expected_words
from attndsl_grammar import grammar

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_CLOSERS = frozenset(("$END", "RBRACE", "RPAR", "RSQB", "_NL"))
_STARTERS = frozenset("RETURN TOKENS INPUT REQUIRE PATTERN ATTENTION USE".split())


@cache
def _parser() -> Lark:
    return Lark(
        grammar(),
        parser="lalr",
        lexer="basic",
        start="file",
        postlex=Newlines(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


def parse(text: str, file: str) -> syntax.File:
    """The syntax tree of a file.

    Raises:
        AttnError: with all syntax errors found; after each, parsing goes on behind the statement.
    """
    sources = {file: text}
    _refuse_hostile(text, file)
    found: list[Diagnostic] = []
    rest = text
    while len(found) < MAX_ERRORS:
        try:
            tree = TreeBuilder(file).transform(_parser().parse(rest))
        except UnexpectedInput as error:
            found.append(_translate(error, rest, file))
            shorter = _without_statement(rest, error.pos_in_stream or 0)
            if shorter == rest or isinstance(found[-1].problem, p.Unclosed | p.UnexpectedEnd):
                break
            rest = shorter
        except AttnError as error:
            raise AttnError([*found, *error.diagnostics], sources) from None
        except VisitError as error:
            inner = error.orig_exc
            if not isinstance(inner, AttnError):
                raise inner from None
            raise AttnError([*found, *inner.diagnostics], sources) from None
        else:
            if not found:
                return tree
            break
    raise AttnError(_without_cascades(found), sources)


def _without_cascades(found: list[Diagnostic]) -> list[Diagnostic]:
    """One error per line: what follows on the same line is usually an echo."""
    kept: dict[int, Diagnostic] = {}
    for diagnostic in found:
        kept.setdefault(diagnostic.span.line if diagnostic.span else 0, diagnostic)
    return sorted(kept.values(), key=lambda d: d.span.line if d.span else 0)


def _at(text: str, position: int, file: str, length: int = 1) -> Span:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return Span(file, line, column, line, column + length)


def _refuse_hostile(text: str, file: str) -> None:
    """Size, invisible characters and bracket depth, before any real work is done."""
    if len(text) > MAX_SOURCE:
        raise AttnError([Diagnostic(p.FileTooLarge(MAX_SOURCE // 1024), _at(text, 0, file))])
    for position, char in enumerate(text):
        if char not in "\n\r\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            problem = p.InvisibleCharacter(f"U+{ord(char):04X}")
            raise AttnError([Diagnostic(problem, _at(text, position, file))], {file: text})
    depth = 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_DEPTH:
            problem = p.NestedTooDeeply(MAX_DEPTH)
            raise AttnError([Diagnostic(problem, _at(text, position, file))], {file: text})


def _translate(error: UnexpectedInput, text: str, file: str) -> Diagnostic:
    match error:
        case UnexpectedCharacters():
            char = text[error.pos_in_stream or 0]
            span = _at(text, error.pos_in_stream or 0, file)
            return Diagnostic(_bad_character(char), span)
        case UnexpectedToken(token=token):
            return _bad_token(token, error, text, file)
    raise error


def _bad_character(char: str) -> Problem:
    if char in p.CHARACTER_HELP:
        return p.ForeignOperator(char, p.CHARACTER_HELP[char])
    return p.UnexpectedCharacter(char)


def _bad_token(token: Token, error: UnexpectedToken, text: str, file: str) -> Diagnostic:
    if token.type in _CLOSERS | _STARTERS:
        unclosed = _unclosed(text if token.type in _CLOSERS else text[: token.start_pos], token.type in _STARTERS)
        if unclosed is not None:
            opened = _at(text, unclosed, file)
            return Diagnostic(p.Unclosed(text[unclosed], _BRACKETS[text[unclosed]]), opened)
    if token.type == "$END":
        end = len(text.rstrip())
        return Diagnostic(p.UnexpectedEnd(expected_words(error.accepts or error.expected)), _at(text, end, file))
    span = span_of(token, file)
    if token.type == "_NL":
        span = Span(file, span.line, span.column, span.line, span.column + 1)
    previous = _previous_token(text, token.start_pos or 0)
    if token.type == "NAME" and str(token) in p.WORD_HELP:
        return Diagnostic(p.ForeignWord(str(token), p.WORD_HELP[str(token)]), span)
    if previous is not None and previous.type == "NAME" and str(previous) in p.WORD_HELP:
        problem = p.ForeignWord(str(previous), p.WORD_HELP[str(previous)])
        return Diagnostic(problem, span_of(previous, file))
    problem = p.UnexpectedToken(describe(token), expected_words(error.accepts or error.expected))
    notes = (Note(f"it follows {describe(previous)}"),) if previous is not None and token.type == "_NL" else ()
    return Diagnostic(problem, span, notes)


def _previous_token(text: str, position: int) -> Token | None:
    last = None
    for token in _lex(text):
        if (token.start_pos or 0) >= position:
            break
        if token.type != "_NL":
            last = token
    return last


def _lex(text: str) -> Iterator[Token]:
    """The tokens up to the first character that is none."""
    try:
        yield from _parser().lex(text, dont_ignore=False)
    except UnexpectedInput:
        return


def _unclosed(text: str, only_within_statement: bool) -> int | None:
    """Where the innermost bracket opens that does not close with its own kind."""
    stack: list[tuple[str, int]] = []
    for token in _lex(text):
        if token in ("(", "[", "{"):
            stack.append((str(token), token.start_pos or 0))
        elif token in (")", "]", "}"):
            if not stack:
                return None
            opened, position = stack.pop()
            if _BRACKETS[opened] != token:
                return position
    if only_within_statement:
        stack = [(opened, position) for opened, position in stack if opened != "{"]
    return stack[-1][1] if stack else None


def _without_statement(text: str, position: int) -> str:
    """The text with the statement (or, outside braces, the whole item) around `position` blanked."""
    start, end = _statement_range(list(_lex(text)), position, len(text))
    blank = "".join("\n" if char == "\n" else " " for char in text[start:end])
    return text[:start] + blank + text[end:]


def _statement_range(tokens: Iterable[Token], position: int, length: int) -> tuple[int, int]:
    """From behind the last boundary before `position` to the next boundary after it."""
    braces = 0
    start, item_start = 0, 0
    inside = False
    for token in tokens:
        at = token.start_pos or 0
        boundary = token.type in ("_NL", "SEMICOLON", "LBRACE", "RBRACE")
        if at > position and (boundary if inside else token.type in ("PATTERN", "ATTENTION", "USE")):
            return (start if inside else item_start), at
        if at <= position:
            if token.type in ("PATTERN", "ATTENTION", "USE") and braces == 0:
                item_start = at
            braces += (token.type == "LBRACE") - (token.type == "RBRACE")
            inside = braces > 0
            if boundary and at < position:
                start = token.end_pos or at
    return (start if inside else item_start), length
