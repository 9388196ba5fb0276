"""E6: files. E7: sizes and options from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class CannotRead(Problem):
    """A file is missing, is not UTF-8 text, or may not be read."""

    code: ClassVar[str] = "E601"
    title: ClassVar[str] = "cannot read {file}: {reason}"
    label: ClassVar[str] = "used here"
    help: ClassVar[str] = "{remedy}"
    file: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class UseOutside(Problem):
    """`use` reaches .attn files of the same folder only. A spec is data, not a path into a disk.

    The standard library needs no `use`.
    """

    code: ClassVar[str] = "E602"
    title: ClassVar[str] = "`use` cannot reach `{path}`"
    label: ClassVar[str] = "{reason}"
    help: ClassVar[str] = 'name a file of the same folder, e.g. use "masks.attn"'
    path: str
    reason: str
