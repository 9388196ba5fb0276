"""Breaks lines of Python that are too long: between the items of the last bracket, or between terms."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

WIDTH = 110
"""Longer lines are broken."""
_INDENT = "    "
_OPEN, _CLOSE = "([{", ")]}"
_OPERATORS = (
    (" if ", " else "),
    (" and ", " or "),
    (" == ", " != ", " <= ", " >= ", " < ", " > ", " not in ", " is not ", " in ", " is "),
    (" | ",),
    (" & ",),
    (" + ", " - "),
    (" * ", " / ", " // ", " % ", " @ "),
)
"""Where terms are separated, weakest first."""


def wrapped(line: str, width: int = WIDTH) -> list[str]:
    """A line as several, none longer than `width` if its brackets and terms allow it.

    Items stay on one line if they fit, and get a line each if they do not.
    """
    if len(line) <= width:
        return [line]
    head, value = _parts(line)
    terms = _terms(value) if head else []
    last = _last_bracket(line, width)
    if last is not None and (len(terms) < 2 or (len(terms) == 2 and last < width)):
        return _opened(line, last, width)
    return [f"{head}(", *_content(value, width), ")"] if len(terms) > 1 else [line]


def unbracketed(line: str) -> str:
    """A statement without brackets around all of its value, which only held several lines together."""
    head, value = _parts(line)
    if not head or not value.startswith("(") or not value.endswith(")"):
        return line
    depths = _depths(value)
    inner = value[1:-1]
    if 0 in depths[1:-1] or not inner or len(_split(inner, ",")) > 1 or inner.rstrip().endswith(","):
        return line
    return line if _comprehension(inner) is not None or inner.startswith("yield") else head + inner


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


def _opened(line: str, start: int, width: int) -> list[str]:
    """A line with the bracket at `start` opened: what stands in it on lines of its own."""
    depths = _depths(line)
    close = _partner(line[start])
    end = next(at for at in range(start + 1, len(line)) if line[at] == close and depths[at] == depths[start])
    return _broken(line[: start + 1], line[start + 1 : end], line[end:], width)


def _broken(head: str, inner: str, tail: str, width: int) -> list[str]:
    """A bracket opened on a line of its own."""
    items = _split(inner, ",")
    if _comprehension(inner) is not None or (len(items) == 1 and not inner.rstrip().endswith(",")):
        return [head, *_content(inner.strip(), width), tail]
    together = _INDENT + ", ".join(items)
    if len(together) <= width and not inner.rstrip().endswith(",") and _calls(head):
        return [head, together, tail]
    lines = [line for item in items for line in _broken_terms(f"{item},", width - len(_INDENT))]
    return [head, *(_INDENT + line for line in lines), tail]


def _calls(head: str) -> bool:
    """Whether the bracket at the end belongs to a call (or a subscript); others get a line for every item."""
    return len(head) > 1 and (head[-2].isalnum() or head[-2] in "_)]")


def _content(text: str, width: int) -> list[str]:
    """What stands in a bracket, on one line or broken between its terms."""
    if len(_INDENT + text) <= width:
        return [_INDENT + text]
    cuts = _clauses(text)
    if not cuts:
        return [_INDENT + line for line in _broken_terms(text, width - len(_INDENT))]
    pieces = [text[a:b].strip() for a, b in pairwise([0, *cuts, len(text)])]
    return [line for piece in pieces for line in _indented(piece, width)]


def _broken_terms(text: str, width: int) -> list[str]:
    """Terms on a line each; those that are too long are broken at their own operators, or open a bracket."""
    if len(text) <= width:
        return [text]
    lead = next((o.lstrip() for group in _OPERATORS for o in group if text.startswith(o.lstrip())), "")
    terms = _terms(text.removeprefix(lead))
    if len(terms) == 1:
        return wrapped(text, width)
    terms[0] = lead + terms[0]
    return [line for term in terms for line in _broken_terms(term, width)]


def _indented(text: str, width: int) -> list[str]:
    return [_INDENT + line for line in wrapped(text, width - len(_INDENT))]


def _partner(bracket: str) -> str:
    return _CLOSE[_OPEN.index(bracket)]


def _last_bracket(line: str, width: int) -> int | None:
    """Where the bracket opens that is opened first: the last one of the line, or one before it in a chain of
    calls where that one would leave too much in front of it."""
    body = line.removesuffix(",")
    if not body or body[-1] not in _CLOSE:
        return None
    depths = _depths(body)
    found = [at for at, char in enumerate(body) if char in _OPEN and depths[at] == depths[-1]]
    filled = [at for at in found if body[at + 1] not in _CLOSE]
    short = [at for at in filled if at < width]
    return (short or filled or [None])[-1]


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


def _clauses(text: str) -> list[int]:
    """Where the clauses of a comprehension begin; none if it is no comprehension."""
    first, depths = _comprehension(text), _depths(text)
    if first is None:
        return []
    return [
        at for at in range(first, len(text)) if text.startswith((" for ", " if "), at) and depths[at] == 0
    ]


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
        cuts = [
            at
            for at in range(1, len(text) - 2)
            if text.startswith(operators, at)
            and depths[at] == 0
            and not text.endswith((" not", " is"), 0, at)
        ]
        if cuts:
            edges = [0, *cuts, len(text)]
            return [text[a:b].strip() for a, b in pairwise(edges)]
    return [text]
