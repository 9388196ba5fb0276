"""Warns of keys that one `joint` may count twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations

from attndsl.ir.ops import Attend, Joint
from attndsl.ir.problem import Finding
from attndsl.ir.program import Value
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.language import problems as p
from attndsl.language.disjoint import Effort, exclude
from attndsl.language.scope import Pair
from attndsl.language.workspace import Workspace

_Part = Value[Attend]


def overlaps(values: Sequence[Value], work: Workspace) -> Iterator[Finding]:
    """A finding for each `joint` of which two parts may show one key."""
    by_name = {value.name: value for value in values}
    inner = {part for value in values if isinstance(value.op, Joint) for part in value.op.parts}
    effort = Effort()
    for value in values:
        if not isinstance(value.op, Joint) or value.name in inner:
            continue  # parts of a further joint are parts of that one
        together: dict[tuple[str, TokenSet], list[_Part]] = {}
        for part in _parts(value, by_name):
            together.setdefault((_keys(part.op), part.op.key_tokens), []).append(part)
        pairs = chain.from_iterable(combinations(parts, 2) for parts in together.values())
        overlapping = next((pair for pair in pairs if _may_overlap(*pair, work, effort)), None)
        if overlapping is not None:
            yield _finding(value, *overlapping, work)


def _parts(value: Value, by_name: Mapping[str, Value]) -> Iterator[_Part]:
    """The attends that a joint is made of, through further joints."""
    match value.op:
        case Joint(parts=parts):
            for part in parts:
                yield from _parts(by_name[part], by_name)
        case Attend() as op:
            yield Value(value.name, op, value.span)


def _keys(op: Attend) -> str:
    return op.v if op.k is None else op.k


def _may_overlap(first: _Part, second: _Part, work: Workspace, effort: Effort) -> bool:
    a, b = first.op, second.op
    tokens = ((QUERY, a.query_tokens), (KEY, a.key_tokens))
    ranges = work.expressions.knowledge.ranges(Pair(a.query_tokens, a.key_tokens))
    return not exclude(a.where, b.where, tokens, ranges, effort)


def _finding(value: Value, first: _Part, second: _Part, work: Workspace) -> Finding:
    name = _keys(first.op)
    keys = f"keys of `{name}`" if name in work.frame.names else "some keys"
    places = dict.fromkeys([first.span, second.span])
    words = ("this part sees them", "this one may see the same ones")
    if len(places) == 1:
        words = ("this part occurs twice",)
    return Finding(p.Overlapping(keys), value.span, tuple(zip(words, places)))
