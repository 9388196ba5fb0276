"""Puts a checked attention together: its program, its names for subexpressions, its text."""

from __future__ import annotations

from dataclasses import replace

from attndsl.ir.index import Expr
from attndsl.ir.ops import Input
from attndsl.ir.program import Program
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.rewrite import simplify
from attndsl.ir.types import Heads
from attndsl.language.modules import LIBRARY
from attndsl.language.parameters import plain
from attndsl.language.scope import Pair
from attndsl.language.workspace import Workspace


def assemble(work: Workspace) -> Program:
    """The program of an attention in which nothing is wrong."""
    names = work.frame.names
    return Program(
        name=work.attention.name.name,
        parameters={q.name.name: plain(names[q.name.name].value) for q in work.attention.parameters},
        token_sets=tuple(work.token_sets),
        values=tuple(_with_head_kinds(work.values)),
        results=tuple(work.results),
        requirements=tuple(work.expressions.requirements.values()),
        labels=_labels(work),
        spec=_spec(work),
    )


def _labels(work: Workspace) -> dict[Expr, str]:
    """The spec's names for subexpressions, which occur in the program in simplified form."""
    labels: dict[Expr, str] = {}
    ops = [value.op for value in work.values]
    pairs = [Pair(op.query_tokens, op.key_tokens) for op in ops if not isinstance(op, Input)]
    for pair in dict.fromkeys(pairs):
        ranges = work.expressions.knowledge.ranges(pair)
        for expr, name in work.expressions.labels.items():
            labels.setdefault(simplify(expr, ranges), name)
    return labels


def _with_head_kinds(values: list[ProgramValue]) -> list[ProgramValue]:
    """Inputs used as keys or values only may have fewer heads than the queries (GQA)."""
    queries = {value.op.q for value in values if not isinstance(value.op, Input)}
    keys = {name for value in values if not isinstance(value.op, Input) for name in (value.op.k, value.op.v)}
    result = []
    for value in values:
        op = value.op
        if isinstance(op, Input) and value.name in keys - queries and op.type.heads is Heads.QUERY:
            op = replace(op, type=op.type.with_heads(Heads.KV))
        result.append(replace(value, op=op))
    return result


def _spec(work: Workspace) -> str:
    """What was written: the whole file if it is about this attention alone, else the parts it needs."""
    module = work.module
    expanded = work.expressions.expanded
    used = [item for (file, _), item in expanded.items() if file == module.name]
    foreign = {file for file, _ in expanded} - {module.name, LIBRARY}
    if len(module.attentions) == 1 and not foreign:
        return module.text.strip() + "\n"
    lines = module.text.split("\n")
    spans = sorted([item.span for item in used] + [work.attention.span], key=lambda span: span.line)
    parts = ["\n".join(lines[span.line - 1 : span.end_line]) for span in spans]
    notes = [f"# uses patterns of {file}" for file in sorted(foreign)]
    return "\n\n".join([*notes, *parts]) + "\n"
