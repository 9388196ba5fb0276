"""What can be wrong, and where. A `Problem` is a frozen class per kind of error: its fields carry the
data, its class variables the words. How problems are printed is the business of `attndsl.diagnostics`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a source file; lines and columns count from 1, in characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of the other."""
        return Span(self.file, self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True)
class Problem:
    """Base of all problems. The templates are filled from the fields of the subclass.

    The docstring of a subclass is what `attndsl explain CODE` prints.
    """

    code: ClassVar[str] = ""
    severity: ClassVar[str] = "error"
    title: ClassVar[str] = ""
    label: ClassVar[str] = ""
    help: ClassVar[str] = ""

    registry: ClassVar[dict[str, type[Problem]]] = {}

    def __init_subclass__(cls) -> None:
        if cls.code:
            if cls.code in Problem.registry:
                raise ValueError(f"{cls.code} is taken by {Problem.registry[cls.code].__name__}")
            Problem.registry[cls.code] = cls

    def words(self, template: str) -> str:
        """A template with the fields filled in."""
        return template.format(**{field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True)
class Finding:
    """A problem that does not stop the compiler, where it is, and the places that it is about."""

    problem: Problem
    span: Span
    notes: tuple[tuple[str, Span], ...] = ()
