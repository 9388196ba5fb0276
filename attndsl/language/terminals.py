"""The grammar's terminals in the words a user would choose."""

from __future__ import annotations

from collections.abc import Iterable

from lark import Token

from attndsl.language.layout import ITEMS, STATEMENTS

_SYMBOLS = {
    "EQUAL": "`=`", "LPAR": "`(`", "LSQB": "`[`", "LBRACE": "`{`", "COMMA": "`,`", "COLON": "`:`",
    "ELSE": "`else`", "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`",
}  # fmt: skip
_OPERATORS = frozenset(
    {"PLUS", "MINUS", "TIMES", "POWER", "SLASH", "FLOOR", "PERCENT", "COMPARISON", "AND", "OR"}
)
_AFTER_OPERAND = _OPERATORS | {"IF", "DOT", "LPAR", "LSQB", "COLON"}
_EXPRESSION = frozenset({"NAME", "INTEGER", "REAL", "LPAR", "MINUS", "PLUS", "NOT", "TRUE", "FALSE"})
_LINE_END = frozenset({"_NL", "SEMICOLON", "RBRACE", "$END"})


def found_words(token: Token) -> str:
    """A token as found: "end of the line", "`)`", "name `foo`"."""
    match token.type:
        case "_NL" | "SEMICOLON":
            return "end of the line" if token.type == "_NL" else "`;`"
        case "$END":
            return "end of the file"
        case "NAME":
            return f"name `{token}`"
        case "INTEGER" | "REAL":
            return f"number {token[:40]}"
        case "STRING":
            return f"string {token[:40]}"
        case _:
            return f"`{token}`"


def expected_words(terminals: Iterable[str]) -> str:
    """What could stand here, from general to particular: "an expression or `)`"."""
    left = set(terminals)
    if left >= ITEMS:
        return "`attention`, `pattern` or `use`"
    if left >= STATEMENTS:
        return "a statement or `}`" if "RBRACE" in left else "a statement"
    words: list[str] = []
    if left >= {"NAME", "INTEGER", "LPAR"}:
        words.append("an expression")
        left -= _EXPRESSION
    if len(left & _OPERATORS) > 2:
        words.append("an operator")
        left -= _AFTER_OPERAND
    if "NAME" in left:
        words.append("a name")
    if "STRING" in left:
        words.append("a string in double quotes")
    words += [word for name, word in _SYMBOLS.items() if name in left - _LINE_END]
    if "_NL" in left:
        words.append("the end of the line")
    elif "RBRACE" in left:
        words.append("`}`")
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
