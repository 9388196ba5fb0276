"""A syntax error as the parser sees it: a token that has no place, and its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lark import Token

from attndsl.language.layout import BOUNDARIES


@dataclass(frozen=True)
class Mishap:
    """A token that the grammar has no place for.

    Attributes:
        tokens: all tokens of the file.
        index: which one it is; `len(tokens)` at the end of the file.
        token: the token itself.
        expected: terminals that could stand there.
    """

    tokens: Sequence[Token]
    index: int
    token: Token
    expected: frozenset[str]
    file: str

    @property
    def start(self) -> int:
        """Where the statement, or outside of bodies the line, begins."""
        at = self.index
        while at > 0 and self.tokens[at - 1].type not in BOUNDARIES:
            at -= 1
        return at

    @property
    def first(self) -> Token:
        """The first token of the statement."""
        return self.tokens[self.start] if self.start < len(self.tokens) else self.token

    @property
    def before(self) -> Token | None:
        """The token before, if it belongs to the same statement."""
        return self.tokens[self.index - 1] if self.index > self.start else None

    def back(self, steps: int) -> str:
        """The type of a token of the same statement, so many before this one; "" if there is none."""
        at = self.index - steps
        return self.tokens[at].type if self.start <= at < len(self.tokens) else ""

    @property
    def touches(self) -> bool:
        """Whether no space separates the token from the one before."""
        return self.before is not None and self.before.end_pos == self.token.start_pos

    @property
    def bracketed(self) -> bool:
        """Whether a ( or [ of the statement is open."""
        kinds = [token.type for token in self.tokens[self.start : self.index]]
        return sum(k in ("LPAR", "LSQB") for k in kinds) > sum(k in ("RPAR", "RSQB") for k in kinds)
