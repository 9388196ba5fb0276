"""The exception that carries all problems of a run to the user."""

from __future__ import annotations

from collections.abc import Sequence

from attndsl.diagnostics.diagnostic import Diagnostic, Note
from attndsl.diagnostics.render import render
from attndsl.ir.problem import Problem, Span


class AttnError(Exception):
    """Something is wrong with a spec, its parameters or its inputs. Prints as the compiler does.

    Attributes:
        diagnostics: every problem found, in the order of the source.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], sources: dict[str, str] | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources or {})
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n\n".join(render(diagnostic, self.sources) for diagnostic in self.diagnostics)


def fail(problem: Problem, span: Span | None = None, *notes: Note) -> AttnError:
    """The exception for one problem, to be raised by the caller."""
    return AttnError([Diagnostic(problem, span, notes)])
