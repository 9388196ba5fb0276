"""Finds specs: files, and the examples that come with the package."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from attndsl.diagnostics import fail
from attndsl.language.problems import CannotRead

_PACKAGE = Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "installed_examples", _PACKAGE.parent / "examples")
"""Inside an installed wheel, and beside the package in a checkout."""


def example_files() -> dict[str, Path]:
    """The installed examples by name."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.attn"))}
    return {}


def find_spec(path_or_name: str | Path) -> Path:
    """The file for a path or the name of an example.

    Raises:
        AttnError: there is no such file or example.
    """
    path = Path(path_or_name)
    if path.suffix == ".attn" or path.exists():
        return path
    examples = example_files()
    if str(path_or_name) in examples:
        return examples[str(path_or_name)]
    close = get_close_matches(str(path_or_name), examples, n=1, cutoff=0.6)
    remedy = f"did you mean the example `{close[0]}`?" if close else "`attndsl list` names the examples"
    raise fail(CannotRead(str(path_or_name), "no such file or example", remedy))
