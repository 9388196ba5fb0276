"""How errors reach the user: diagnostics in colour or as JSON; internal errors as an apology and a log."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import traceback
from pathlib import Path

from attndsl import __version__
from attndsl.diagnostics import AttnError


def print_error(error: AttnError, as_json: bool) -> None:
    """Prints all diagnostics: on stderr, or with `--json` as the one document on stdout."""
    if as_json:
        print(json.dumps({"errors": [diagnostic.to_dict() for diagnostic in error.diagnostics]}, indent=2))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for at, block in enumerate(str(error).split("\n\n")):
        if at:
            console.print()
        for line in block.splitlines():
            console.print(Text(line, style=_style(line)))
    count = len(error.diagnostics)
    if count > 1:
        console.print(f"\n{count} errors")


def _style(line: str) -> str:
    stripped = line.lstrip()
    if line.startswith("error["):
        return "bold red"
    if stripped.startswith(("= help", "= note")):
        return "cyan"
    if stripped.startswith("|") and "^" in stripped:
        return "red"
    return ""


def print_internal(error: Exception) -> None:
    """An apology, where the details are, and how to report them."""
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
