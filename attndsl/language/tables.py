"""The parser, from tables made in advance: to build them from the grammar takes a quarter of a second."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from functools import cache
from typing import Any

import lark
from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from attndsl_grammar import grammar, tables


@cache
def parser() -> Lark:
    """The parser of the grammar; built anew where the tables belong to another grammar or version of Lark."""
    known = json.loads(tables() or "{}")
    return _loaded(known) if known.get("of") == identity() else build()


def build() -> Lark:
    """The parser, from the text of the grammar."""
    return Lark(
        grammar(),
        parser="lalr",
        lexer="basic",
        start="file",
        propagate_positions=True,
        maybe_placeholders=True,
    )


def identity() -> str:
    """What tables belong to: the text of the grammar, and a version of Lark."""
    digest = hashlib.sha256(grammar().encode()).hexdigest()
    return f"{digest} lark {lark.__version__}"


def written() -> str:
    """The tables of a parser that is built now, as JSON: a line per state, rule and terminal."""
    data, memo = build().memo_serialize([TerminalDef, Rule])
    document = {"of": identity(), "data": data, "memo": memo}
    return json.dumps(document, separators=(",", ":")).replace('},"', '},\n"') + "\n"


def _loaded(known: dict[str, Any]) -> Lark:
    """Lark reads tables as a pickle only; in JSON, numbers that are keys have become texts."""
    data = known["data"]
    automaton = data["parser"]["parser"]
    automaton["tokens"] = _numbered(automaton["tokens"])
    automaton["states"] = {at: _numbered(row) for at, row in _numbered(automaton["states"]).items()}
    return Lark.load(io.BytesIO(pickle.dumps({"data": data, "memo": _numbered(known["memo"])})))


def _numbered(entries: dict[str, Any]) -> dict[int, Any]:
    return {int(number): value for number, value in entries.items()}
