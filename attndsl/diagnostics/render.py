"""Prints diagnostics: source line, caret, label, notes, help. Plain text; the CLI adds colour."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from attndsl.diagnostics.diagnostic import Diagnostic, Note
from attndsl.ir.problem import Span

TAB = "    "
MAX_LINE = 100
"""Longer source lines are cut around the place that matters."""
CUT = "..."


def render(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    """The diagnostic as text.

    Args:
        diagnostic: what to print.
        sources: the text of each file, by the name used in spans.
    """
    problem = diagnostic.problem
    lines = [f"{problem.severity}[{problem.code}]: {_visible(diagnostic.title)}"]
    spans = [diagnostic.span, *(note.span for note in diagnostic.notes)]
    width = max((len(str(span.line)) for span in spans if span is not None), default=1)
    if diagnostic.span is not None:
        lines += _excerpt(diagnostic.span, "-->", "^", diagnostic.label, sources, width)
    for note in diagnostic.notes:
        lines += _note(note, sources, width)
    if diagnostic.help:
        lines.append(f"{' ' * width} = help: {_visible(diagnostic.help)}")
    return "\n".join(lines)


def _note(note: Note, sources: Mapping[str, str], width: int) -> list[str]:
    if note.span is None:
        return [f"{' ' * width} = note: {_visible(note.message)}"]
    return _excerpt(note.span, ":::", "-", note.message, sources, width)


def _excerpt(
    span: Span, arrow: str, mark: str, label: str, sources: Mapping[str, str], width: int
) -> list[str]:
    pad = " " * width
    lines = [f"{pad}{arrow} {span.file}:{span.line}:{span.column}"]
    text = sources.get(span.file, "").split("\n")
    if span.line > len(text):
        return lines
    before, marked, after = _cut(text[span.line - 1].rstrip(), span)
    return [
        *lines,
        f"{pad} |",
        f"{span.line:>{width}} | {before}{marked}{after}".rstrip(),
        f"{pad} | {' ' * _columns(before)}{mark * max(_columns(marked), 1)} {_visible(label)}".rstrip(),
    ]


def _cut(line: str, span: Span) -> tuple[str, str, str]:
    """The line before, in and after the span; only what fits of a very long line."""
    start = span.column - 1
    end = max(start, span.end_column - 1 if span.end_line == span.line else len(line))
    before, marked, after = (_visible(part) for part in (line[:start], line[start:end], line[end:]))
    if len(before) + len(marked) + len(after) <= MAX_LINE:
        return before, marked, after
    if len(before) > MAX_LINE // 2:
        before = CUT + before[-MAX_LINE // 2 + len(CUT) :]
    if len(marked) > MAX_LINE // 2:
        marked, after = marked[: MAX_LINE // 2 - len(CUT)] + CUT, ""
    room = MAX_LINE - len(before) - len(marked)
    return before, marked, after if len(after) <= room else after[: room - len(CUT)] + CUT


def _visible(text: str) -> str:
    """Tabs widened; control, bidirectional and other invisible characters as a replacement character."""
    widened = text.replace("\t", TAB)
    if widened.isprintable():
        return widened
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] in "CZ" and c != " " else c for c in widened
    )


def _columns(text: str) -> int:
    """How wide a terminal shows a text."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)
