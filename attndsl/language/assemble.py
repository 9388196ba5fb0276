"""Puts a checked attention together: its program, its names for subexpressions, its text."""

from __future__ import annotations

from dataclasses import replace

from attndsl.ir.index import Expr
from attndsl.ir.ops import Attend, Input
from attndsl.ir.program import Program
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.rewrite import simplify
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.ir.walk import fields
from attndsl.language.modules import LIBRARY
from attndsl.language.overlaps import overlaps
from attndsl.language.parameters import plain
from attndsl.language.scope import Pair
from attndsl.language.workspace import Workspace


def assemble(work: Workspace) -> Program:
    """The program of an attention in which nothing is wrong."""
    names = work.frame.names
    values = tuple(_with_head_kinds(_reachable(work)))
    return Program(
        name=work.attention.name.name,
        parameters={q.name.name: plain(names[q.name.name].value) for q in work.attention.parameters},
        token_sets=tuple(work.token_sets),
        values=values,
        results=tuple(work.results),
        losses=dict(work.losses),
        tunable=dict(work.tunable),
        requirements=tuple(work.expressions.requirements.values()),
        warnings=tuple(overlaps(values, work)),
        labels=_labels(work),
        spec=_spec(work),
    )


def _labels(work: Workspace) -> dict[Expr, str]:
    """The spec's names for subexpressions, which occur in the program in simplified form."""
    labels: dict[Expr, str] = {}
    attends = [value.op for value in work.values if isinstance(value.op, Attend)]
    pairs = [Pair(op.query_tokens, op.key_tokens) for op in attends]
    for pair in dict.fromkeys(pairs):
        ranges = work.expressions.knowledge.ranges(pair)
        for expr, name in work.expressions.labels.items():
            labels.setdefault(simplify(expr, ranges), name)
    return labels


def _reachable(work: Workspace) -> list[ProgramValue]:
    """Inputs, what results and losses need, and the steps of the state that these read."""
    by_name = {value.name: value for value in work.values}
    wanted: set[str] = set()
    stack = [*work.results, *work.losses.values()]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += by_name[name].op.operands
    for value in work.values:
        if wanted & set(value.op.updates):
            wanted |= {value.name, *value.op.operands}
    return [value for value in work.values if isinstance(value.op, Input) or value.name in wanted]


def _with_head_kinds(values: list[ProgramValue]) -> list[ProgramValue]:
    """Inputs used as keys or values only may have fewer heads than the queries (GQA)."""
    inputs = {value.name for value in values if isinstance(value.op, Input)}
    served = {name for value in values if isinstance(value.op, Attend) for name in (value.op.k, value.op.v)}
    others: set[str] = set()
    for value in values:
        match value.op:
            case Attend(q=str() as q) as op:
                keys = {op.k, op.v}
                others |= {q} | set(op.operands) - keys if keys <= inputs else set(op.operands)
                others |= fields(*op.expressions.values())  # per query head, even those of keys
            case op:
                others |= set(op.operands)
    for value in reversed(values):
        match value.op:
            case Attend() as op if others & {op.k, op.v}:
                others |= {op.v} if op.k is None else {op.k, op.v}  # keys and values have equally many heads
            case _:
                pass
    result = []
    for value in values:
        op = value.op
        if isinstance(op, Input) and value.name in served - others and op.type.heads is HEADS:
            op = replace(op, type=replace(op.type, heads=KV_HEADS))
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
