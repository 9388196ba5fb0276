"""The grammar's terminals in the words a user would choose."""

from __future__ import annotations

from collections.abc import Iterable

from lark import Token

_SYMBOLS = {
    "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "LBRACE": "`{`", "RBRACE": "`}`",
    "EQUAL": "`=`", "COMMA": "`,`", "COLON": "`:`", "SEMICOLON": "`;`", "DOT": "`.`",
}  # fmt: skip
_OPERATORS = frozenset("PLUS MINUS TIMES POWER SLASH FLOOR PERCENT COMPARISON AND OR IF DOT".split())
_EXPRESSION = frozenset("NAME INTEGER REAL LPAR MINUS PLUS NOT TRUE FALSE".split())
_STATEMENTS = frozenset("TOKENS INPUT REQUIRE RETURN".split())
_ITEMS = frozenset("USE PATTERN ATTENTION".split())


def describe(token: Token) -> str:
    """A token as found: `the end of the line`, "`)`", "the name `foo`"."""
    match token.type:
        case "_NL":
            return "the end of the line"
        case "$END":
            return "the end of the file"
        case "NAME":
            return f"the name `{token}`"
        case "INTEGER" | "REAL":
            return f"the number {token}"
        case "STRING":
            return f"the string {token}"
        case _:
            return f"`{token}`"


def expected_words(terminals: Iterable[str]) -> str:
    """What could stand here, from general to particular: "an expression or `)`"."""
    left = set(terminals)
    words: list[str] = []
    if len(left & _ITEMS) > 1:
        words.append("`attention`, `pattern` or `use`")
        left -= _ITEMS
    if left >= _STATEMENTS:
        words.append("a statement")
        left -= _STATEMENTS | _EXPRESSION
    if left >= {"NAME", "INTEGER", "LPAR"}:
        words.append("an expression")
        left -= _EXPRESSION
    if len(left & _OPERATORS) > 2:
        words.append("an operator")
        left -= _OPERATORS | {"LPAR", "LSQB", "COLON"}
    if "NAME" in left:
        words.append("a name")
    if "STRING" in left:
        words.append("a string in quotes")
    words += [_SYMBOLS[name] for name in _SYMBOLS if name in left]
    if "_NL" in left and "`;`" in words:
        words[words.index("`;`")] = "a new line"
    words += [f"`{name.lower()}`" for name in sorted(left & (_STATEMENTS | _ITEMS | {"ELSE", "IF"}))]
    if not words:
        return "nothing more"
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
