"""What to do about a syntax error, by what stands where."""

from __future__ import annotations

from collections.abc import Callable

from attndsl.language.layout import BOUNDARIES, ITEMS, STATEMENTS
from attndsl.language.mishap import Mishap

CHOICE = "a choice is an expression: a if condition else b"

_NUMBERS = frozenset({"INTEGER", "REAL"})
_OPERANDS = _NUMBERS | {"NAME", "TRUE", "FALSE"}
_SIGNS = frozenset({"PLUS", "MINUS", "TIMES", "SLASH", "FLOOR", "PERCENT", "POWER"})
_ENDS = BOUNDARIES | {"$END"}


def remedy(mishap: Mishap) -> str:
    """What to do; empty if that is not clear."""
    words = next((words for words, applies in _REMEDIES if applies(mishap)), "")
    return words if isinstance(words, str) else words(mishap)


def _is_in_number(m: Mishap) -> bool:
    return m.back(1) in _NUMBERS and m.touches and m.token.type == "NAME"


def _lacks_comma(m: Mishap) -> bool:
    ends = m.back(1) in _OPERANDS | {"RPAR", "RSQB"}
    listed = m.bracketed or m.first.type != "NAME"
    return ends and listed and m.token.type in _OPERANDS and "COMMA" in m.expected


def _comma(m: Mishap) -> str:
    if m.back(1) in _OPERANDS:
        return f"separate them with a comma: {m.before}, {m.token}"
    return f"put a comma before `{m.token}`"


def _lacks_equals(m: Mishap) -> bool:
    return "EQUAL" in m.expected and m.index == m.start + 1 and m.token.type in _OPERANDS


def _lacks_axes(m: Mishap) -> bool:
    return m.first.type == "TOKENS" and "LSQB" in m.expected and "PLUS" not in m.expected


def _lacks_tokens(m: Mishap) -> bool:
    return m.first.type == "INPUT" and "COLON" in m.expected and m.token.type in _ENDS


def _is_lifted(m: Mishap) -> bool:
    return m.back(1) == "COLON" and m.first.type not in ITEMS | {"INPUT"}


_REMEDIES: tuple[tuple[str | Callable[[Mishap], str], Callable[[Mishap], bool]], ...] = (
    (
        "statements stand in the body of an attention: attention name { ... }",
        lambda m: m.expected >= ITEMS and m.token.type in STATEMENTS | {"NAME"},
    ),
    ("numbers are written without `_`", lambda m: _is_in_number(m) and m.token.startswith("_")),
    ("a name cannot begin with a digit; a product is written with `*`", _is_in_number),
    ("a real number is written 0.5", lambda m: m.token.type == "DOT" and m.back(1) not in _OPERANDS),
    ("a real number is written 5.0", lambda m: m.back(1) == "DOT" and m.back(2) in _NUMBERS),
    ("comments start with #", lambda m: m.token.type in ("FLOOR", "SLASH") and m.before is None),
    ('only `use` takes a string: use "masks.attn"', lambda m: m.token.type == "STRING"),
    (CHOICE, lambda m: m.token.type == "IF" or "ELSE" in m.expected),
    (
        "inputs are declared with `:`, as in: input q, k, v : x",
        lambda m: m.token.type == "EQUAL" and m.first.type == "INPUT",
    ),
    (
        lambda m: f"there is no `{m.before}=`: every name is bound once",
        lambda m: m.token.type == "EQUAL" and m.touches and m.back(1) in _SIGNS,
    ),
    (
        "`=` binds a name or names an argument; equality is written `==`",
        lambda m: m.token.type == "EQUAL",
    ),
    ("`==` compares; write `=`", lambda m: m.token == "==" and "EQUAL" in m.expected),
    ("put what is lifted in parentheses, as in h: (i == j)", _is_lifted),
    ("put it in parentheses: (not ...)", lambda m: m.token.type == "NOT"),
    ("tuples stand in ( ), as in (7, 7)", lambda m: m.token.type == "LSQB" and "INTEGER" in m.expected),
    (
        'put the file name in double quotes: use "masks.attn"',
        lambda m: m.first.type == "USE" and "STRING" in m.expected,
    ),
    (
        "statements on one line are separated by `;`",
        lambda m: m.token.type in STATEMENTS and "_NL" in m.expected,
    ),
    ("a body stands in { }", lambda m: m.token.type == "COLON" and m.first.type in ITEMS),
    ("before a body in { } stands no `=`", lambda m: m.token.type == "LBRACE" and m.back(1) == "EQUAL"),
    ("remove the comma before `:`", lambda m: m.token.type == "COLON" and m.back(1) == "COMMA"),
    (
        "`:` lifts a pattern to an axis, as in h: window(7)",
        lambda m: m.token.type == "COLON" and m.first.type not in ("TOKENS", "INPUT"),
    ),
    ("axes stand in [ ], as in: tokens x[h, w]", _lacks_axes),
    ("say on which tokens they live, as in: input q, k, v : x", _lacks_tokens),
    (_comma, _lacks_comma),
    (lambda m: f"to bind a name, write: {m.before} = ...", _lacks_equals),
)
"""Words, and where they apply; the first that do are shown."""
