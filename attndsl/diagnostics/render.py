"""Prints diagnostics: source line, caret, label, notes, help. Plain text; the CLI adds colour."""

from __future__ import annotations

from collections.abc import Mapping

from attndsl.diagnostics.diagnostic import Diagnostic, Note
from attndsl.ir.problem import Span

TAB = "    "
MAX_LINE = 160
"""Longer source lines are cut around the place that matters."""


def render(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    """The diagnostic as text.

    Args:
        sources: the text of each file, by the name used in spans.
    """
    problem = diagnostic.problem
    lines = [f"{problem.severity}[{problem.code}]: {diagnostic.title}"]
    spans = [diagnostic.span, *(note.span for note in diagnostic.notes)]
    width = max((len(str(span.line)) for span in spans if span is not None), default=1)
    if diagnostic.span is not None:
        lines += _excerpt(diagnostic.span, "-->", "^", diagnostic.label, sources, width)
    for note in diagnostic.notes:
        lines += _note(note, sources, width)
    if diagnostic.help:
        lines.append(f"{' ' * width} = help: {diagnostic.help}")
    return "\n".join(lines)


def _note(note: Note, sources: Mapping[str, str], width: int) -> list[str]:
    if note.span is None:
        return [f"{' ' * width} = note: {note.message}"]
    return _excerpt(note.span, ":::", "-", note.message, sources, width)


def _excerpt(
    span: Span, arrow: str, mark: str, label: str, sources: Mapping[str, str], width: int
) -> list[str]:
    pad = " " * width
    lines = [f"{pad}{arrow} {span.file}:{span.line}:{span.column}"]
    text = sources.get(span.file, "").splitlines()
    if span.line > len(text):
        return lines
    before, marked, after = _cut(text[span.line - 1], span)
    carets = mark * max(len(marked), 1)
    return [
        *lines,
        f"{pad} |",
        f"{span.line:>{width}} | {before}{marked}{after}".rstrip(),
        f"{pad} | {' ' * len(before)}{carets} {label}".rstrip(),
    ]


def _cut(line: str, span: Span) -> tuple[str, str, str]:
    """The line before, in and after the span; tabs widened; only what fits of a very long line."""
    start = span.column - 1
    end = span.end_column - 1 if span.end_line == span.line else len(line.rstrip())
    parts = line[:start], line[start : max(end, start)], line[max(end, start) :]
    before, marked, after = (part.replace("\t", TAB) for part in parts)
    if len(before) + len(marked) + len(after) <= MAX_LINE:
        return before, marked, after
    if len(before) > MAX_LINE // 3:
        before = "..." + before[-MAX_LINE // 3 :]
    marked = marked[: MAX_LINE // 2]
    return before, marked, after[: max(0, MAX_LINE - len(before) - len(marked))]
