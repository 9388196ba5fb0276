"""Lays out statements that folding has made shorter: on one line where they fit, as a formatter would."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from attndsl_codegen.printers.wrap import unbracketed, wrapped

WIDTH = 110
"""The kernels' line length."""
_SPACE_FOR_NOTHING = tokenize.NL, tokenize.INDENT, tokenize.DEDENT
_PRAGMA = re.compile(r"# (type|noqa|pragma)\b")
_COMPOUND = frozenset(("def", "class", "if", "elif", "else", "for", "while", "with", "match", "case", "try"))
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class Statement:
    """A logical line: from which physical line to which, and its tokens."""

    first: int
    last: int
    tokens: tuple[tokenize.TokenInfo, ...]

    @property
    def comment(self) -> str:
        """The comment at its end."""
        return self.tokens[-1].string if self.tokens[-1].type == tokenize.COMMENT else ""

    @property
    def code(self) -> tuple[tokenize.TokenInfo, ...]:
        """Its tokens without that comment."""
        return self.tokens[:-1] if self.comment else self.tokens

    @property
    def movable(self) -> bool:
        """Whether no comment and no string of several lines keeps its lines apart."""
        apart = all(t.type != tokenize.COMMENT and t.start[0] == t.end[0] for t in self.code)
        return apart and not any(a.type == b.type == tokenize.STRING for a, b in pairwise(self.code))


def statements(text: str) -> Iterator[Statement]:
    """The logical lines of a text."""
    tokens: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            yield Statement(tokens[0].start[0], token.start[0], tuple(tokens))
            tokens = []
        elif token.type not in _SPACE_FOR_NOTHING and (tokens or token.type != tokenize.COMMENT):
            tokens.append(token)


def joined(statement: Statement) -> str:
    """A statement on one line; commas at the end of brackets go, but where they make a tuple."""
    parts: list[str] = []
    before: tokenize.TokenInfo | None = None
    for at, token in enumerate(statement.code):
        following = statement.code[at + 1 : at + 2]
        closes = bool(following) and following[0].string in _CLOSE and following[0].start[0] > token.end[0]
        if token.string == "," and closes and not _makes_tuple(statement.code, at):
            continue
        space = "" if _power(statement.code, at) else _space(before, token)
        parts.append(space + token.string)
        before = token
    return unbracketed("".join(parts))


def _power(tokens: tuple[tokenize.TokenInfo, ...], at: int) -> bool:
    """Whether a token is `**` between names and numbers, or stands behind such a one: no space before it."""
    if tokens[at].string == "**":
        return _simple(tokens[:at][::-1], ()) and _simple(tokens[at + 1 :], ("(", "["))
    before = tokens[:at]
    return bool(before) and before[-1].string == "**" and _power(tokens, at - 1)


def _simple(tokens: Sequence[tokenize.TokenInfo], goes_on: tuple[str, ...]) -> bool:
    """Whether an operand, which begins (or ends, read backwards) the tokens, is a number or a path of names.

    Args:
        goes_on: what may not follow.
    """
    texts = [token.string for token in tokens]
    at = 1 if texts[0] == "-" else 0
    if tokens[at].type == tokenize.NUMBER:
        return True
    while tokens[at].type == tokenize.NAME and at + 1 < len(texts) and texts[at + 1] == ".":
        at += 2
    return tokens[at].type == tokenize.NAME and (at + 1 == len(texts) or texts[at + 1] not in goes_on)


def _space(before: tokenize.TokenInfo | None, token: tokenize.TokenInfo) -> str:
    if before is None:
        return ""
    if before.end[0] == token.start[0]:
        return " " * (token.start[1] - before.end[1])
    return "" if before.string in _OPEN or token.string in (*_CLOSE, ",") else " "


def _makes_tuple(tokens: tuple[tokenize.TokenInfo, ...], comma: int) -> bool:
    """Whether a comma before a closing bracket is the only one in round brackets that call nothing."""
    depth = 0
    for at in range(comma - 1, -1, -1):
        text = tokens[at].string
        depth += (text in _CLOSE) - (text in _OPEN)
        if depth < 0:
            calls = at > 0 and (tokens[at - 1].type == tokenize.NAME or tokens[at - 1].string in _CLOSE)
            return text == "(" and not (calls and tokens[at - 1].string not in ("in", "return", "for"))
        if depth == 0 and text in (",", "for"):
            return False
    return False


def _indent(statement: Statement) -> int:
    return statement.tokens[0].start[1]


def laid_out(text: str, original: str) -> str:
    """A definition whose changed statements are on one line where they fit, and broken where they do not.

    Args:
        original: the definition before it was folded; its statements are laid out well.
    """
    known = {(_indent(statement), joined(statement)) for statement in statements(original)}
    lines = text.split("\n")
    found: list[str] = []
    done = 0
    for statement in statements(text):
        plain = joined(statement)
        if (_indent(statement), plain) in known or not statement.movable:
            continue
        indent = lines[statement.first - 1][: statement.tokens[0].start[1]]
        comment = f"  {statement.comment}" if statement.comment else ""
        counted = "" if _PRAGMA.match(statement.comment) else comment
        if len(indent + plain + counted) <= WIDTH:
            new = [indent + plain + comment]
        elif not comment and statement.tokens[0].string not in _COMPOUND:
            new = [indent + line for line in wrapped(plain, WIDTH - len(indent))]
        else:
            continue
        found += [*lines[done : statement.first - 1], *new]
        done = statement.last
    return "\n".join([*found, *lines[done:]])
