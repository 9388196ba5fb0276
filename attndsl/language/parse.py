"""From text to a syntax tree, or to every syntax error of the file."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token
from lark.exceptions import UnexpectedToken, VisitError

from attndsl.diagnostics import AttnError, Diagnostic
from attndsl.language import syntax
from attndsl.language.build_tree import TreeBuilder
from attndsl.language.layout import BOUNDARIES, ITEMS, arrange
from attndsl.language.lexer import bad_names, parser, tokenize
from attndsl.language.limits import MAX_ERRORS
from attndsl.language.mishap import Mishap
from attndsl.language.syntax_errors import explain


def parse(text: str, file: str) -> syntax.File:
    """The syntax tree of a file.

    Raises:
        AttnError: with all syntax errors found; after each, parsing goes on behind the statement.
    """
    sources = {file: text}
    try:
        tokens, found = arrange(tokenize(text, file), file)
        found += bad_names(tokens, file)
        while len(found) < MAX_ERRORS:
            try:
                tree = parser().parse(tokens)  # type: ignore[arg-type]
            except UnexpectedToken as error:
                mishap = _mishap(error, tokens, file)
                found.append(explain(mishap))
                tokens = _without_statement(tokens, mishap.index)
            else:
                builder = TreeBuilder(file)
                built = builder.transform(tree)
                found += builder.found
                if not found:
                    return built
                break
    except VisitError as error:
        if isinstance(error.orig_exc, AttnError):
            raise AttnError(error.orig_exc.diagnostics, sources) from None
        raise
    except AttnError as error:
        raise AttnError(error.diagnostics, sources) from None
    raise AttnError(_one_per_line(found), sources)


def _mishap(error: UnexpectedToken, tokens: Sequence[Token], file: str) -> Mishap:
    token = error.token
    index = next((at for at, other in enumerate(tokens) if other is token), len(tokens))
    return Mishap(tokens, index, token, frozenset(error.accepts or error.expected), file)


def _one_per_line(found: list[Diagnostic]) -> list[Diagnostic]:
    """What follows an error on the same line is usually an echo."""
    kept: dict[int, Diagnostic] = {}
    for diagnostic in sorted(found, key=lambda d: d.span.line if d.span else 0):
        kept.setdefault(diagnostic.span.line if diagnostic.span else 0, diagnostic)
    return list(kept.values())


def _without_statement(tokens: Sequence[Token], index: int) -> list[Token]:
    """The tokens without the statement around one of them; outside of bodies, without the whole item."""
    depth = start = item = 0
    for at, token in enumerate(tokens[:index]):
        depth += (token.type == "LBRACE") - (token.type == "RBRACE")
        if depth == 0 and token.type in ITEMS:
            item = at
        if token.type in BOUNDARIES:
            start = at + 1
    if depth > 0:
        return [*tokens[:start], *tokens[_next(tokens, index, BOUNDARIES) :]]
    return [*tokens[:item], *tokens[_next(tokens, max(index, item + 1), ITEMS) :]]


def _next(tokens: Sequence[Token], index: int, kinds: frozenset[str]) -> int:
    """Where the next token of some kinds stands, or the end. A body in { } is passed over as a whole."""
    depth = 0
    for at in range(index, len(tokens)):
        kind = tokens[at].type
        if kind in kinds and depth == 0 and kind != "LBRACE":
            return at
        depth += (kind == "LBRACE") - (kind == "RBRACE")
    return len(tokens)
