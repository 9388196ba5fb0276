"""The same attention with other values of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from attndsl.diagnostics import fail
from attndsl.ir.program import Program
from attndsl.language import load_text
from attndsl.simulation.problems import BadOption


def with_parameters(program: Program, changes: Mapping[str, Any]) -> Program:
    """The program with some parameters changed; a single number for a tuple sets all of its entries.

    Raises:
        AttnError: a value does not fit.
    """
    given = {name: value for name, value in program.parameters.items() if _plain(value)}
    for name, value in changes.items():
        default = given.get(name)
        spread = isinstance(default, tuple) and not isinstance(value, tuple)
        given[name] = (value,) * len(default) if spread and default is not None else value
    return load_text(program.spec, program.name, program.name, given)


def _plain(value: Any) -> bool:
    return value is not None and not (isinstance(value, tuple) and None in value)


def known_name(program: Program, option: str, name: str) -> str:
    """What a name stands for: `extent` for a symbol or token set, `parameter` for a parameter.

    Raises:
        AttnError: it is neither.
    """
    if name in program.symbols or name in {tokens.name for tokens in program.token_sets if tokens.symbols}:
        return "extent"
    if name in program.parameters:
        return "parameter"
    known = [*program.symbols, *program.parameters]
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    remedy = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known) or 'nothing'}"
    raise fail(BadOption(option, name, "there is no extent or parameter of this name", remedy))
