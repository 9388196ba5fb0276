"""What a syntax error most likely is, in the user's terms."""

from __future__ import annotations

from difflib import get_close_matches

from attndsl.diagnostics import Diagnostic
from attndsl.ir.problem import Span
from attndsl.language import problems as p
from attndsl.language.layout import BOUNDARIES, ITEMS, STATEMENTS
from attndsl.language.lexer import UNKNOWN, span_of, unknown_token
from attndsl.language.mishap import Mishap
from attndsl.language.remedies import CHOICE, remedy
from attndsl.language.terminals import expected_words, found_words

_NO_LOOPS = "there are no loops: a pattern is evaluated for every query i and key j"
_FOREIGN_WORDS = {
    "for": _NO_LOOPS,
    "while": _NO_LOOPS,
    "lambda": "name the predicate: pattern name(parameters) = ...",
    "def": "a predicate is defined with: pattern name(parameters) = ...",
    "fn": "a predicate is defined with: pattern name(parameters) = ...",
    "class": "an attention is defined with: attention name { ... }",
    "import": 'patterns of another file are imported with: use "other.attn"',
    "from": 'patterns of another file are imported with: use "other.attn"',
    "let": "a name is bound with: name = expression",
    "var": "a name is bound with: name = expression",
    "const": "a name is bound with: name = expression",
    "elif": CHOICE,
    "assert": "a condition on parameters and extents is stated with: require condition",
}
_FOREIGN_OPERATORS = {
    "is": "write `==`",
    "in": "compare with both ends: first <= j and j < last",
    "xor": "write `!=` between conditions",
    "mod": "write `%`",
    "div": "write `//`",
    "then": CHOICE,
}
_OPERANDS = frozenset({"NAME", "TRUE", "FALSE", "INTEGER", "REAL"})
_WORDS = STATEMENTS | ITEMS | {"AND", "OR", "NOT", "IN", "IF", "ELSE", "TRUE", "FALSE"}


def explain(mishap: Mishap) -> Diagnostic:
    """The diagnostic for a syntax error."""
    token = mishap.token
    place = span_of(token, mishap.file)
    if token.type == UNKNOWN:
        return Diagnostic(unknown_token(token), place)
    if (word := _foreign_word(mishap)) is not None:
        return word
    if token.type in ("NAME", "IN") and str(token) in _FOREIGN_OPERATORS and mishap.before is not None:
        return Diagnostic(p.ForeignOperator(str(token), _FOREIGN_OPERATORS[token]), place)
    if token.type in BOUNDARIES | {"$END"} and (ended := _early_end(mishap)) is not None:
        return ended
    expected = expected_words(mishap.expected)
    if _is_keyword_as_name(mishap):
        return Diagnostic(p.KeywordAsName(str(token), expected), place)
    return Diagnostic(p.UnexpectedToken(found_words(token), expected, remedy(mishap)), place)


def _foreign_word(mishap: Mishap) -> Diagnostic | None:
    """A statement or item that begins with a word of another language, or with a misspelt keyword."""
    first = mishap.first
    if first.type != "NAME":
        return None
    word = str(first)
    if word in _FOREIGN_WORDS and mishap.index - mishap.start <= 3:
        return Diagnostic(p.ForeignWord(word, _FOREIGN_WORDS[word]), span_of(first, mishap.file))
    is_item = mishap.expected >= ITEMS
    if is_item or (mishap.index == mishap.start + 1 and mishap.token.type in _OPERANDS):
        keywords = [name.lower() for name in (ITEMS if is_item else STATEMENTS)]
        close = get_close_matches(word.lower(), sorted(keywords), n=1, cutoff=0.7)
        if close:
            problem = p.ForeignWord(word, f"did you mean `{close[0]}`?")
            return Diagnostic(problem, span_of(first, mishap.file))
    return None


def _early_end(mishap: Mishap) -> Diagnostic | None:
    """The statement or file ends where something is missing: the place is behind the last token."""
    if mishap.token.type in ("LBRACE", "SEMICOLON"):
        return None
    last = mishap.tokens[mishap.index - 1] if mishap.index else mishap.token
    if mishap.token.type == "RBRACE" and last.type in BOUNDARIES:
        return None
    line, column = last.end_line or 1, last.end_column or 1
    span = Span(mishap.file, line, column, line, column + 1)
    expected = expected_words(mishap.expected)
    if mishap.token.type == "$END":
        return Diagnostic(p.UnexpectedEnd(expected), span)
    return Diagnostic(p.UnexpectedToken(found_words(mishap.token), expected, remedy(mishap)), span)


def _is_keyword_as_name(mishap: Mishap) -> bool:
    """A statement's keyword among operands, or any keyword where a name is declared."""
    if mishap.before is None or "NAME" not in mishap.expected:
        return False
    is_declared = "INTEGER" not in mishap.expected and "LPAR" not in mishap.expected
    return mishap.token.type in STATEMENTS | ITEMS or (is_declared and mishap.token.type in _WORDS)
