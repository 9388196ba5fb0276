"""Between the lexer and the parser: which newlines end a statement, and whether brackets match.

A newline is dropped inside ( ) and [ ], after an operator or comma, and before a token that cannot
begin a statement (`and`, `or`, `else`, a comparison...). Behind this stage every bracket is closed by
its own kind: what was not is reported, and its statement dropped or its bracket closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from lark import Token

from attndsl.diagnostics import Diagnostic, Note, fail
from attndsl.ir.problem import Problem
from attndsl.language import problems as p
from attndsl.language.lexer import span_of
from attndsl.language.limits import MAX_DEPTH

BOUNDARIES = frozenset({"_NL", "SEMICOLON", "LBRACE", "RBRACE"})
"""What stands between statements."""
ITEMS = frozenset({"PATTERN", "ATTENTION", "USE"})
"""Keywords that begin the items of a file."""
STATEMENTS = frozenset({"TOKENS", "INPUT", "LEARN", "TUNE", "LOSS", "REQUIRE", "RETURN"})
"""Keywords that begin statements."""

_KEYWORDS = ITEMS | STATEMENTS
_CLOSING = {"LPAR": ("RPAR", ")"), "LSQB": ("RSQB", "]"), "LBRACE": ("RBRACE", "}")}
_OPENING = {"RPAR": ("LPAR", "("), "RSQB": ("LSQB", "["), "RBRACE": ("LBRACE", "{")}
_OPERATORS = frozenset({"COMPARISON", "TIMES", "POWER", "SLASH", "FLOOR", "PERCENT", "EQUAL", "AND", "OR"})
_AFTER = _OPERATORS | {"COMMA", "COLON", "PLUS", "MINUS", "NOT", "IF", "ELSE", "DOT"}
_BEFORE = _OPERATORS | {"IF", "ELSE", "LBRACE"}


def arrange(tokens: Sequence[Token], file: str) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens that the grammar sees, and what is wrong with the brackets."""
    layout = _Layout(file)
    for token, following in zip_longest(tokens, tokens[1:]):
        layout.add(token, following)
    layout.close_all()
    return layout.kept, layout.found


class _Layout:
    """The state of one pass over the tokens of a file."""

    def __init__(self, file: str) -> None:
        self.kept: list[Token] = []
        self.found: list[Diagnostic] = []
        self._file = file
        self._open: list[Token] = []
        self._newline: Token | None = None
        self._last: Token | None = None
        self._skipping = False

    def add(self, token: Token, following: Token | None) -> None:
        """Takes the next token, in view of the one that follows."""
        if token.type == "_NL":
            if not self._in_expression:
                self._newline = self._newline or token
                self._skipping = False
            return
        if token.type in _KEYWORDS:
            self._begin_statement(token)
        self._end_line(token, following)
        if self._skipping and token.type not in BOUNDARIES:
            return
        self._skipping = False
        self._last = token
        if token.type in _CLOSING:
            self._open_bracket(token)
        elif token.type in _OPENING:
            self._close_bracket(token)
        else:
            self.kept.append(token)

    @property
    def _goes_on(self) -> bool:
        """Whether the last token asks for more."""
        return self._last is not None and self._last.type in _AFTER

    def _end_line(self, token: Token, following: Token | None) -> None:
        """Keeps the newline before a token if it ends a statement."""
        if self._newline is not None:
            binds = token.type == "NAME" and following is not None and following.type == "EQUAL"
            begins = token.type in _KEYWORDS or token.type == "RBRACE" or binds
            if begins or not (self._goes_on or token.type in _BEFORE):
                self.kept.append(self._newline)
        self._newline = None

    def close_all(self) -> None:
        """The file ends."""
        if self._newline is not None and not self._goes_on:
            self.kept.append(self._newline)
        while self._open:
            self._report_open(self._open[-1])
            if self._in_expression:
                self._drop_statement()
            else:
                self._insert_closing()

    @property
    def _in_expression(self) -> bool:
        return bool(self._open) and self._open[-1].type != "LBRACE"

    def _begin_statement(self, token: Token) -> None:
        """A keyword that begins a statement on a line of its own ends every bracket of the one before."""
        new_line = self._last is None or self._last.line != token.line or self._last.type in BOUNDARIES
        if self._in_expression and new_line:
            self._report_open(self._open[-1])
            self._drop_statement()
        if token.type in ITEMS and new_line:
            while self._open:
                self._report_open(self._open[-1])
                self._insert_closing()

    def _open_bracket(self, token: Token) -> None:
        if token.type == "LBRACE":
            while self._in_expression:
                self._report_open(self._open[-1])
                self._insert_closing()
        self._open.append(token)
        self.kept.append(token)
        if len(self._open) > MAX_DEPTH:
            raise fail(p.NestedTooDeeply(MAX_DEPTH), span_of(token, self._file))

    def _close_bracket(self, token: Token) -> None:
        if token.type == "RBRACE" and self._in_expression:
            self._report_open(self._open[-1])
            self._drop_statement()
        kind, text = _OPENING[token.type]
        if not self._open or (self._open[-1].type == "LBRACE" and kind != "LBRACE"):
            self._report(p.StrayBracket(text, str(token)), token)
            if kind != "LBRACE":
                self._drop_statement()
                self._skipping = True
            return
        opened = self._open[-1]
        if opened.type != kind:
            self._report_open(opened, Note(f"`{token}` stands here instead", span_of(token, self._file)))
            self._insert_closing()
            return
        self._open.pop()
        self.kept.append(token)

    def _insert_closing(self) -> None:
        """Closes the innermost bracket where the reader is."""
        opened = self._open.pop()
        kind, text = _CLOSING[opened.type]
        self.kept.append(Token.new_borrow_pos(kind, text, self.kept[-1]))

    def _drop_statement(self) -> None:
        """Forgets the statement being read, with its open brackets."""
        while self.kept and self.kept[-1].type not in BOUNDARIES:
            self.kept.pop()
        while self._in_expression:
            self._open.pop()

    def _report_open(self, opened: Token, *notes: Note) -> None:
        self._report(p.Unclosed(str(opened), _CLOSING[opened.type][1]), opened, *notes)

    def _report(self, problem: Problem, token: Token, *notes: Note) -> None:
        self.found.append(Diagnostic(problem, span_of(token, self._file), notes))
