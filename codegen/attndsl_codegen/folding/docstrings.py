"""Docstrings that describe parameters which are gone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.walk import Kinds

_SECTION = re.compile(r"^(\s*)(Args|Attributes):$")
_ENTRY = re.compile(r"^(\s*)(\*?\w+(?:, \*?\w+)*): (.*)$")


@dataclass(frozen=True)
class Docstrings:
    """Entries of parameters that were dropped from a definition.

    With `steps` dropped:

        tile: the sides of a tile.           ->    tile: the sides of a tile.
        steps, offset: of the grid.          ->    offset: of the grid.
    """

    names: frozenset[str]
    kinds: ClassVar[Kinds] = (cst.SimpleStatementLine,)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A docstring without these entries; other nodes as they are."""
        match node:
            case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString(value=text) as string)]):
                if text.startswith('"""') and (new := without_entries(text, self.names)) != text:
                    return node.with_changes(body=[cst.Expr(string.with_changes(value=new))])
        return node


def without_entries(text: str, names: Iterable[str]) -> str:
    """A docstring without the entries of some parameters, and without sections that have none left."""
    gone = set(names)
    kept: list[str] = []
    section: int | None = None  # the indentation of the section at hand
    dropping = False
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if match := _SECTION.match(line):
            section, dropping = len(match[1]), False
        elif section is not None and line.strip() and indent <= section:
            section, dropping = None, False
        elif section is not None and indent == section + 4 and (match := _ENTRY.match(line)):
            left = [name for name in match[2].split(", ") if name.lstrip("*") not in gone]
            dropping = not left
            line = f"{match[1]}{', '.join(left)}: {match[3]}"
        kept += [] if dropping and line.strip() and line.strip() != '"""' else [line]
    return _tidy(kept)


def _tidy(lines: list[str]) -> str:
    """Without empty sections, and on one line where one is left."""
    found: list[str] = []
    for at, line in enumerate(lines):
        following = next((later for later in lines[at + 1 :] if later.strip()), "")
        empty = _SECTION.match(line) and len(following) - len(following.lstrip()) <= len(line) - len(
            line.lstrip()
        )
        found += [] if empty else [line]
    while len(found) > 2 and not found[-2].strip():
        del found[-2]
    compact = [line for at, line in enumerate(found) if line.strip() or (at and found[at - 1].strip())]
    if len(compact) == 2 and compact[1].strip() == '"""':
        return compact[0] + '"""'
    return "\n".join(compact)
