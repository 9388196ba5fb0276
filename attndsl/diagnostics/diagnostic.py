"""A problem at a place in a source file."""

from __future__ import annotations

from dataclasses import dataclass

from attndsl.ir.problem import Problem, Span


@dataclass(frozen=True)
class Note:
    """A second place that matters, e.g. where a name was first declared."""

    message: str
    span: Span | None = None


@dataclass(frozen=True)
class Diagnostic:
    """A problem, its place (None if it is not in a file), further places and remarks."""

    problem: Problem
    span: Span | None = None
    notes: tuple[Note, ...] = ()

    @property
    def title(self) -> str:
        """The problem in one line."""
        return self.problem.words(self.problem.title)

    @property
    def label(self) -> str:
        """What stands beside the caret."""
        return self.problem.words(self.problem.label)

    @property
    def help(self) -> str:
        """What to do about it; may be empty."""
        return self.problem.words(self.problem.help)

    def to_dict(self) -> dict[str, object]:
        """The diagnostic as JSON data."""
        return {
            "code": self.problem.code,
            "severity": self.problem.severity,
            "message": self.title,
            "label": self.label,
            "help": self.help,
            "span": _span_dict(self.span),
            "notes": [{"message": note.message, "span": _span_dict(note.span)} for note in self.notes],
        }


def _span_dict(span: Span | None) -> dict[str, object] | None:
    if span is None:
        return None
    names = ("file", "line", "column", "end_line", "end_column")
    return {name: getattr(span, name) for name in names}
