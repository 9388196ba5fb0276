"""`attndsl list`: the installed examples and the standard patterns."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(args: argparse.Namespace) -> int:
    """Prints the lists."""
    from attndsl.examples import example_files
    from attndsl.language.modules import Loader

    examples = {name: _summary(path) for name, path in example_files().items()}
    patterns = {
        name: ", ".join(parameter.name.name for parameter in pattern.parameters)
        for name, pattern in Loader().library().patterns.items()
    }
    if args.json:
        print(json.dumps({"examples": examples, "patterns": patterns}, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("example", "what it is", title="Examples", title_justify="left", box=None, pad_edge=False)
    for name, summary in examples.items():
        table.add_row(name, summary)
    console = Console()
    console.print(table)
    calls = [f"{name}({parameters})" if parameters else name for name, parameters in patterns.items()]
    console.print(f"\nStandard patterns: {', '.join(calls)}", highlight=False)
    return 0


def _summary(path: Path) -> str:
    """The first comment line of a spec."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").rstrip()
