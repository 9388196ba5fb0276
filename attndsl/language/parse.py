"""From text to a syntax tree, or to every syntax error of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedToken, VisitError

from attndsl.diagnostics import AttnError, Diagnostic
from attndsl.language import syntax
from attndsl.language.build_tree import TreeBuilder
from attndsl.language.layout import BOUNDARIES, ITEMS, arrange
from attndsl.language.lexer import bad_names, tokenize
from attndsl.language.limits import MAX_ERRORS
from attndsl.language.mishap import Mishap
from attndsl.language.syntax_errors import explain
from attndsl.language.tables import parser


def parse(text: str, file: str) -> syntax.File:
    """The syntax tree of a file.

    Raises:
        AttnError: with all syntax errors found; after each, parsing goes on behind the statement.
    """
    try:
        tokens, found = arrange(tokenize(text, file), file)
        found += bad_names(tokens, file)
        reader = _Reader(tokens, file)
        tree = reader.read()
        found += reader.found
        if not found:
            builder = TreeBuilder(file)
            built = builder.transform(tree)
            if not builder.found:
                return built
            found = builder.found
    except VisitError as error:
        if isinstance(error.orig_exc, AttnError):
            raise AttnError(error.orig_exc.diagnostics, {file: text}) from None
        raise
    except AttnError as error:
        raise AttnError(error.diagnostics, {file: text}) from None
    raise AttnError(_one_per_line(found), {file: text})


class _Reader:
    """Feeds tokens to the parser. After an error it goes back to the start of the statement (outside of
    bodies: of the item) and on with the next one.
    """

    def __init__(self, tokens: Sequence[Token], file: str) -> None:
        self.found: list[Diagnostic] = []
        self._tokens = tokens
        self._file = file
        self._parser = parser().parse_interactive()
        self._depth = 0
        self._statement = self._item = self._stacks()
        self._item_index = 0

    def read(self) -> Any:
        """The tree of the whole file; None if there are errors."""
        index = 0
        while index < len(self._tokens) and len(self.found) < MAX_ERRORS:
            try:
                self._feed(index)
            except UnexpectedToken:
                index = self._recover(index)
            else:
                index += 1
        last = self._tokens[-1] if self._tokens else Token("_NL", "", 0, 1, 1, 1, 1, 0)
        try:
            return self._parser.feed_eof(last)
        except UnexpectedToken as error:
            self._report(len(self._tokens), error.token)
            return None

    def _feed(self, index: int) -> None:
        token = self._tokens[index]
        if self._depth == 0 and token.type in ITEMS:
            self._item, self._item_index = self._stacks(), index
        self._parser.feed_token(token)
        self._depth += (token.type == "LBRACE") - (token.type == "RBRACE")
        if self._depth > 0 and token.type in BOUNDARIES:
            self._statement = self._stacks()

    def _recover(self, index: int) -> int:
        """Reports the error at a token; where to go on."""
        self._report(index, self._tokens[index])
        state = self._parser.parser_state
        if self._depth > 0:
            state.state_stack[:], state.value_stack[:] = self._statement
            return _next(self._tokens, index, BOUNDARIES)
        state.state_stack[:], state.value_stack[:] = self._item
        return _next(self._tokens, max(index, self._item_index + 1), ITEMS)

    def _report(self, index: int, token: Token) -> None:
        expected = frozenset(self._parser.accepts())
        self.found.append(explain(Mishap(self._tokens, index, token, expected, self._file)))

    def _stacks(self) -> tuple[list[Any], list[Any]]:
        """The parser's state, to come back to."""
        state = self._parser.parser_state
        return list(state.state_stack), list(state.value_stack)


def _one_per_line(found: list[Diagnostic]) -> list[Diagnostic]:
    """What follows an error on the same line is usually an echo."""
    kept: dict[int, Diagnostic] = {}
    for diagnostic in sorted(found, key=lambda d: d.span.line if d.span else 0):
        kept.setdefault(diagnostic.span.line if diagnostic.span else 0, diagnostic)
    return list(kept.values())


def _next(tokens: Sequence[Token], index: int, kinds: frozenset[str]) -> int:
    """Where the next token of some kinds stands, or the end. A body in { } is passed over as a whole."""
    depth = 0
    for at in range(index, len(tokens)):
        kind = tokens[at].type
        if kind in kinds and depth == 0 and kind != "LBRACE":
            return at
        depth += (kind == "LBRACE") - (kind == "RBRACE")
    return len(tokens)
