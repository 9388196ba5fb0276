"""From the text of a spec to a checked program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from attndsl.diagnostics import AttnError
from attndsl.ir.program import Program
from attndsl.language.check import ProgramChecker
from attndsl.language.modules import Loader, Module, single_attention

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
        attention: its name, if the file has several.
        given: values of parameters; text is read as the language's literals.

    Raises:
        AttnError: with every problem found.
    """
    loader = Loader()
    return _load(loader, lambda: loader.load_file(path), attention, given or {})


def _load(loader: Loader, module: Any, attention: str | None, given: Mapping[str, Any]) -> Program:
    try:
        loaded: Module = module()
        chosen = single_attention(loaded, attention, loaded.attentions)
        program = ProgramChecker(loaded, chosen, given).run()
    except AttnError as error:
        raise AttnError(error.diagnostics, {**loader.sources, **error.sources}) from None
    return replace(program, sources=dict(loader.sources))
