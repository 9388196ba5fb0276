"""Refuses what has a meaning but no kernel yet."""

from __future__ import annotations

from attndsl.diagnostics import AttnError, Diagnostic
from attndsl.ir.program import Program
from attndsl.ir.tokens import Relation
from attndsl.planning.problems import ExactOnly


def refuse_relations(program: Program) -> None:
    """Values on pairs of a query and a key are computed by the exact definition alone.

    Raises:
        AttnError: pointing at every call that makes one.
    """
    found: dict[Diagnostic, None] = {}
    for value in program.values:
        match value.type.tokens.origin:
            case Relation(query, key):
                keyword = value.op.keyword
                if keyword:
                    what = f"a value for every query of {query.name} and key of {key.name}"
                    found[Diagnostic(ExactOnly(what), value.span)] = None
    if found:
        raise AttnError(list(found), dict(program.sources))
