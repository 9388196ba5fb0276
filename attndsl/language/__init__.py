"""From the text of a spec to a checked program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic
from attndsl.ir.program import Program
from attndsl.language.check import ProgramChecker
from attndsl.language.limits import MAX_ERRORS
from attndsl.language.modules import Loader, Module, single_attention
from attndsl.language.static import check_patterns

__all__ = ["load_file", "load_text"]


def load_text(
    text: str, name: str = "<text>", attention: str | None = None, given: Mapping[str, Any] | None = None
) -> Program:
    """The program of an attention in a text; see `load_file`."""
    loader = Loader()
    return _load(loader, lambda: loader.load_text(text, name), attention, given or {})


def load_file(path: Path, attention: str | None = None, given: Mapping[str, Any] | None = None) -> Program:
    """The program of an attention in a file.

    Args:
        path: the file; `use` finds other files in its folder.
        attention: its name, if the file has several.
        given: values of parameters; text is read as the language's literals.

    Raises:
        AttnError: with every problem found, at most twenty.
    """
    loader = Loader()
    return _load(loader, lambda: loader.load_file(path), attention, given or {})


def _load(
    loader: Loader, load: Callable[[], Module], attention: str | None, given: Mapping[str, Any]
) -> Program:
    found: list[Diagnostic] = []
    try:
        module = load()
        for loaded in loader.modules:
            check_patterns(loaded)
            found += loaded.problems
        program = ProgramChecker(module, single_attention(module, attention), given).run()
    except AttnError as error:
        raise AttnError(_in_order([*found, *error.diagnostics], loader), loader.sources) from None
    if found:
        raise AttnError(_in_order(found, loader), loader.sources)
    return replace(program, sources=dict(loader.sources))


def _in_order(found: list[Diagnostic], loader: Loader) -> list[Diagnostic]:
    """Each problem once, in the order of the files and lines."""
    files = list(loader.sources)

    def place(diagnostic: Diagnostic) -> tuple[int, int, int]:
        span = diagnostic.span
        return (files.index(span.file), span.line, span.column) if span else (-1, 0, 0)

    distinct: dict[object, Diagnostic] = {}
    for diagnostic in found:
        distinct.setdefault((diagnostic.problem, diagnostic.span), diagnostic)
    return sorted(distinct.values(), key=place)[:MAX_ERRORS]
