"""Simulates a program at tiles that are chosen by simulated time, or asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attndsl.diagnostics import fail
from attndsl.ir.program import Program
from attndsl.ir.text import show
from attndsl.planning.growth import complexity, crossover_tokens, formula_error
from attndsl.planning.host import plan_on_host
from attndsl.planning.layouts import Forced, compiled_tiling, plan_attend
from attndsl.planning.plan import sample_fields, sizes_near
from attndsl.planning.relations import refuse_relations
from attndsl.planning.sizes import check_sizes
from attndsl.simulation.counts import Fields
from attndsl.simulation.decode import last_queries
from attndsl.simulation.problems import BadOption, CannotDecode
from attndsl.simulation.program import simulate_program
from attndsl.simulation.report import Report
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiling import Planned, counted

EXTENTS = {1: 16384, 2: 128, 3: 32}
"""Extents where none are given, by the number of axes."""
MOST_TOKENS = 1 << 23


def default_extents(program: Program, heads: int) -> dict[str, int]:
    """Extents near `EXTENTS` at which the program is defined."""
    return sizes_near(program, EXTENTS, heads=heads) if program.symbols else {}


def simulate(
    program: Program, extents: Mapping[str, int], setting: Setting, forced: Forced | None = None
) -> Report:
    """The report of a program at concrete extents.

    Raises:
        AttnError: the program has no kernel, the extents or the tiles do not fit.
    """
    refuse_relations(program)
    check_sizes(program, {**extents, "heads": setting.heads})
    sizes = setting.sizes(program, extents)
    _check_tokens(program, sizes)
    if setting.queries is not None:
        program = _decoding(program, sizes, setting.queries)
    fields = sample_fields(program, sizes, heads=setting.heads)
    planned = _planned(program, sizes, setting, fields, forced)
    return simulate_program(program, sizes, setting, planned, fields)


def _planned(
    program: Program, sizes: Mapping[str, int], setting: Setting, fields: Fields, forced: Forced | None
) -> dict[str, Planned]:
    if setting.device.host is not None:
        return plan_on_host(program, sizes, setting, fields, forced)
    compiled = {} if forced is None else forced.compiled
    return {
        value.name: counted(compiled_tiling(value.op, compiled[value.name]), sizes, setting, fields)
        if value.name in compiled
        else plan_attend(value.op, sizes, setting, fields, forced)
        for value in program.attends
    }


def _check_tokens(program: Program, sizes: Mapping[str, int]) -> None:
    """Refuses extents whose query tiles are too many to go through one by one.

    Raises:
        AttnError: a set that attends work on has too many tokens.
    """
    for value in program.attends:
        tokens = value.op.query_tokens
        if tokens.count(sizes) > MOST_TOKENS:
            reason = f"{tokens.count(sizes):,} tokens; a simulation goes through at most {MOST_TOKENS:,}"
            raise fail(BadOption("--shape", str(tokens), reason, "simulate a shorter sequence"))


def simulate_in_full(
    program: Program, extents: Mapping[str, int], setting: Setting, forced: Forced | None = None
) -> Report:
    """As `simulate`, with the operations as a formula and the length from which the program is faster."""
    report = simulate(program, extents, setting, forced)
    formula = complexity(program)
    crossover = crossover_tokens(program, extents, setting, report)
    return replace(
        report,
        complexity=show(formula.total),
        leading=show(formula.leading),
        complexity_error=formula_error(formula.total, program, extents, report),
        crossover=crossover,
    )


def _decoding(program: Program, sizes: Mapping[str, int], queries: int) -> Program:
    """The program with the last queries of its attends alone.

    Raises:
        AttnError: other operators look along the tokens, so their results of the last tokens are not known.
    """
    from attndsl.ir.incremental import why_not_incremental

    reason = why_not_incremental(program)
    if reason:
        raise fail(CannotDecode(reason))
    attends = {value.name: last_queries(value.op, sizes, queries) for value in program.attends}
    values = tuple(
        replace(value, op=attends[value.name]) if value.name in attends else value for value in program.values
    )
    return replace(program, values=values)
