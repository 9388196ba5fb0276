"""Breaks lines of Python that are too long: between the items of the last bracket, or between terms."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

WIDTH = 104
"""Longer lines are broken."""
_INDENT = "    "
_OPEN, _CLOSE = "([{", ")]}"
_OPERATORS = ((" + ", " - "), (" * ", " / ", " @ "))
"""Where terms are separated, weakest first."""


def wrapped(line: str, width: int = WIDTH) -> list[str]:
    """A line as several, none longer than `width` if its brackets and terms allow it.

    Items stay on one line if they fit, and get a line each if they do not.
    """
    if len(line) <= width:
        return [line]
    if (start := _last_bracket(line)) is not None and line[start + 1 :].strip(_CLOSE + ","):
        end = line.rindex(_partner(line[start]))
        return _broken(line[: start + 1], line[start + 1 : end], line[end:], width)
    head, value = _parts(line)
    pieces = _terms(value) if head else []
    if len(pieces) > 1:
        lines = [line for piece in pieces for line in _indented(piece, width)]
        return [f"{head}(", *lines, ")"]
    return [line]


def fitted(lines: Iterable[str]) -> list[str]:
    """Lines of a file, the long ones broken where they stand."""
    result: list[str] = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        result += [indent + part for part in wrapped(line.lstrip(), WIDTH - len(indent))] if line else [line]
    return result


def _parts(line: str) -> tuple[str, str]:
    """`total = ` or `return ` and the expression behind it."""
    if line.startswith("return "):
        return "return ", line.removeprefix("return ")
    head, equals, value = line.partition(" = ")
    return head + equals if equals else "", value


def _broken(head: str, inner: str, tail: str, width: int) -> list[str]:
    """A bracket opened on a line of its own."""
    if (cut := _comprehension(inner)) is not None:
        lines = [*_indented(inner[:cut].strip(), width), *_indented(inner[cut:].strip(), width)]
        return [head, *lines, tail]
    items = _split(inner, ",")
    if len(items) == 1 and not inner.rstrip().endswith(","):
        return [head, *_indented(inner.strip(), width), tail]
    together = _INDENT + ", ".join(items)
    if len(together) <= width and not inner.rstrip().endswith(","):
        return [head, together, tail]
    lines = [line for item in items for line in _indented(f"{item},", width)]
    return [head, *lines, tail]


def _indented(text: str, width: int) -> list[str]:
    return [_INDENT + line for line in wrapped(text, width - len(_INDENT))]


def _partner(bracket: str) -> str:
    return _CLOSE[_OPEN.index(bracket)]


def _last_bracket(line: str) -> int | None:
    """Where the bracket opens that ends the line, a comma aside; a term before it rules it out."""
    body = line.removesuffix(",")
    if not body or body[-1] not in _CLOSE:
        return None
    head, value = _parts(body)
    if head and len(_terms(value)) > 1:
        return None
    depths = _depths(body)
    level = depths[-1]
    return max(at for at, char in enumerate(body[:-1]) if char in _OPEN and depths[at] == level)


def _depths(text: str) -> list[int]:
    """How many brackets enclose each character; brackets belong to the outside, strings to no level."""
    depths: list[int] = []
    depth, quote = 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
            depths.append(1 << 16)
            continue
        if char in "\"'":
            quote = char
            depths.append(1 << 16)
            continue
        depth -= char in _CLOSE
        depths.append(depth)
        depth += char in _OPEN
    return depths


def _comprehension(text: str) -> int | None:
    """Where `for` stands, if there is one outside all brackets."""
    depths = _depths(text)
    return next((at for at in range(len(text)) if text.startswith(" for ", at) and depths[at] == 0), None)


def _split(text: str, separator: str) -> list[str]:
    """The items between separators outside all brackets."""
    depths = _depths(text)
    cuts = [at for at, char in enumerate(text) if char == separator and depths[at] == 0]
    edges = [-1, *cuts, len(text)]
    items = [text[a + 1 : b].strip() for a, b in pairwise(edges)]
    return [item for item in items if item]


def _terms(text: str) -> list[str]:
    """The terms of a sum, or the factors of a product, each led by its operator."""
    depths = _depths(text)
    for operators in _OPERATORS:
        cuts = [at for at in range(1, len(text) - 2) if text[at : at + 3] in operators and depths[at] == 0]
        if cuts:
            edges = [0, *cuts, len(text)]
            return [text[a:b].strip() for a, b in pairwise(edges)]
    return [text]
