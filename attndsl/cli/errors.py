"""How errors and warnings reach the user: in colour or as JSON; internal errors as an apology and a log."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attndsl import __version__
from attndsl.diagnostics import AttnError, Diagnostic, Note, render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from attndsl.ir.program import Program


def print_error(error: AttnError, as_json: bool) -> None:
    """Prints all diagnostics: on stderr, or with `--json` as the one document on stdout."""
    if as_json:
        print(json.dumps({"errors": [diagnostic.to_dict() for diagnostic in error.diagnostics]}, indent=2))
        return
    count = len(error.diagnostics)
    _print_blocks([*str(error).split("\n\n"), *([f"{count} errors"] if count > 1 else [])])


def print_warnings(program: Program) -> None:
    """Prints what a spec says and probably does not mean, on stderr."""
    found = warnings_of(program)
    if found:
        _print_blocks(render(warning, program.sources) for warning in found)


def with_warnings(document: dict[str, Any], program: Program) -> dict[str, Any]:
    """A JSON document with the warnings in it."""
    return {**document, "warnings": [warning.to_dict() for warning in warnings_of(program)]}


def warnings_of(program: Program) -> list[Diagnostic]:
    """The warnings of a program as diagnostics."""
    return [
        Diagnostic(found.problem, found.span, tuple(Note(words, span) for words, span in found.notes))
        for found in program.warnings
    ]


def _print_blocks(blocks: Iterable[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for at, block in enumerate(blocks):
        if at:
            console.print()
        for line in block.splitlines():
            console.print(Text(line, style=_style(line)))


def _style(line: str) -> str:
    stripped = line.lstrip()
    if line.startswith("error["):
        return "bold red"
    if line.startswith("warning["):
        return "bold yellow"
    if stripped.startswith(("= help", "= note")):
        return "cyan"
    if stripped.startswith("|") and "^" in stripped:
        return "red"
    return ""


def print_internal(error: Exception) -> None:
    """An apology, where the details are, and how to report them."""
    import platform
    import tempfile
    import traceback

    details = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile("w", prefix="attndsl-error-", suffix=".log", delete=False) as log:
        log.write(f"attndsl {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
        log.write(f"command: {' '.join(sys.argv)}\n\n{details}")
    print(
        f"internal error: {type(error).__name__}: {error}\n"
        "This is a bug in attndsl, not in your spec; we are sorry.\n"
        f"Details are in {Path(log.name)}. Please report it with that file and the spec.",
        file=sys.stderr,
    )
