"""A whole program: its attends at given tiles, its other operators, and dense attention beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attndsl.analysis.layout import Brick
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program, Value
from attndsl.simulation.attention import AttendWork, attend_time, with_direction
from attndsl.simulation.counts import Fields, count_tiles
from attndsl.simulation.dense import Dense, dense_attention
from attndsl.simulation.operators import (
    Work,
    contracted_work,
    count_of,
    operator_work,
    path_work,
    peak_bytes,
    stays_in_dense,
    unfused_work,
)
from attndsl.simulation.replaced import Replaced, replaced
from attndsl.simulation.report import AttendReport, Report
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiling import Planned
from attndsl.simulation.waterfall import Bounds, Part, Waterfall, waterfall

BACKWARD_FLOPS = 2.5
"""Five products against two; what a kernel computes again does not count as useful."""


@dataclass(frozen=True)
class Prepared:
    """What a program does, independent of the pass.

    Attributes:
        attends: the work of every attend that goes tile by tile.
        others: everything else; `kept` are those of it that a dense layer has too.
    """

    attends: Mapping[str, AttendWork]
    others: Sequence[Work]
    kept: Sequence[Work]
    dense: Dense


def simulate_program(
    program: Program,
    sizes: Mapping[str, int],
    setting: Setting,
    planned: Mapping[str, Planned],
    fields: Fields,
) -> Report:
    """Simulates a program.

    Args:
        sizes: values of all symbols, as `Setting.sizes` gives them.
        planned: the tiles of every attend, counted.
        fields: sample values of run-time labels, of one batch element.
    """
    prepared = _prepare(program, sizes, setting, planned)
    parts = [
        Part(directed, attend_time(directed, setting.device, setting.kernel))
        for work in prepared.attends.values()
        for directed in _directions(work, setting)
    ]
    dense_parts = [
        attend_time(work, setting.device, setting.dense_kernel)
        for work in _directions(prepared.dense.work, setting)
    ]
    kept = _seconds(prepared.kept, setting)
    dense_seconds = sum(part.total for part in dense_parts) + kept
    other, arithmetic = _seconds(prepared.others, setting), _arithmetic(prepared.others, setting)
    on_host = setting.device.host is not None
    bounds = _bounds(prepared, setting, program)
    fall = waterfall(bounds, dense_seconds, parts, arithmetic, other, on_host)
    seconds = sum(part.time.total for part in parts) + other
    by_name = dict(zip(prepared.attends, parts[:: len(setting.passes)]))
    attends = tuple(
        AttendReport(
            v.name,
            planned[v.name].tiling,
            by_name.get(v.name),
            _pairs(v, by_name, sizes, fields),
            _replaced(prepared.attends.get(v.name), setting),
        )
        for v in program.attends
    )
    return _report(program, sizes, setting, prepared, attends, fall, dense_seconds, seconds, fields)


def _prepare(
    program: Program,
    sizes: Mapping[str, int],
    setting: Setting,
    planned: Mapping[str, Planned],
) -> Prepared:
    attends: dict[str, AttendWork] = {}
    others: list[Work] = []
    kept: list[Work] = []
    for value in program.computed:
        match value.op:
            case Attend() as op:
                work = planned[value.name].work
                if work is not None:
                    attends[value.name] = work
                    continue
                work_of = contracted_work if op.contracts else path_work if op.paths else unfused_work
                others.append(work_of(_attend(value), sizes, setting.batch, setting.dtype))
            case _:
                work = operator_work(program, value, sizes, setting.batch, setting.dtype)
                others.append(work)
                if stays_in_dense(program, value):
                    kept.append(work)
    return Prepared(attends, others, kept, dense_attention(program, sizes, setting))


def _attend(value: Value) -> Value[Attend]:
    return Value(value.name, value.op, value.span)


def _directions(work: AttendWork, setting: Setting) -> list[AttendWork]:
    return [with_direction(work, direction == "bwd") for direction in setting.passes]


def _replaced(work: AttendWork | None, setting: Setting) -> tuple[Replaced, ...]:
    ways = [] if work is None else _directions(work, setting)
    return tuple(found for way in ways for found in replaced(way, setting))


def _seconds(works: Sequence[Work], setting: Setting) -> float:
    return sum(work.seconds(setting.device, setting.dtype, way) for work in works for way in setting.passes)


def _arithmetic(works: Sequence[Work], setting: Setting) -> float:
    """Seconds at the peak, without memory traffic and launches."""
    rate = setting.device.product_rate(setting.dtype) * setting.device.units
    flops = sum(work.flops for work in works) * len(setting.passes)
    return setting.device.seconds(flops / rate)


def pass_factor(setting: Setting) -> float:
    """Operations of the passes asked for over those of the forward pass."""
    return sum(BACKWARD_FLOPS if way == "bwd" else 1.0 for way in setting.passes)


def _bounds(prepared: Prepared, setting: Setting, program: Program) -> Bounds:
    """Operations of attends and others; the dense tile pairs are those at the program's own tile shape."""
    works = list(prepared.attends.values())
    others = sum(work.flops for work in prepared.others)
    kept = sum(work.flops for work in prepared.kept)
    dense = prepared.dense.work
    dense_tiles = dense.tile_flops
    if len(works) == 1 and works[0].counts.tokens == dense.counts.tokens:
        counts = works[0].counts
        dense_tiles = 2 * works[0].batch * counts.total * counts.slots * works[0].kind.widths.both
    return Bounds(
        dense.flops + kept,
        sum(work.flops for work in works) + others,
        dense_tiles + kept,
        sum(work.tile_flops for work in works) + others,
        sum(work.worst_flops for work in works) + others,
    )


def _pairs(value: Value[Attend], parts: Mapping[str, Part], sizes: Mapping[str, int], fields: Fields) -> int:
    """Visible pairs over all heads; those of contracted attends, too, which need no tiles."""
    if value.name in parts:
        return parts[value.name].work.counts.pairs
    op = value.op
    query, key = (
        Brick(tokens.extents(sizes), tokens.extents(sizes)) for tokens in (op.query_tokens, op.key_tokens)
    )
    heads = count_of(op.type.heads, sizes)
    if op.causal:
        count = op.query_tokens.count(sizes)
        return heads * count * (count + 1) // 2
    return count_tiles(op, sizes, query, key, heads, fields).pairs


def _report(
    program: Program,
    sizes: Mapping[str, int],
    setting: Setting,
    prepared: Prepared,
    attends: tuple[AttendReport, ...],
    fall: Waterfall,
    dense_seconds: float,
    seconds: float,
    fields: Fields,
) -> Report:
    factor = pass_factor(setting)
    works = prepared.attends.values()
    kept = sum(work.flops for work in prepared.kept)
    others = sum(work.flops for work in prepared.others)
    return Report(
        attention=program.name,
        setting=setting,
        shape={t.name: dict(zip(t.axis_names, t.extents(sizes))) for t in program.token_sets},
        waterfall=fall,
        attends=attends,
        dense_flops=round(factor * (prepared.dense.work.flops + kept)),
        flops=round(factor * (sum(work.flops for work in works) + others)),
        bytes=sum(work.bytes for work in works) + sum(work.bytes for work in prepared.others),
        peak_bytes=peak_bytes(program, sizes, setting.batch, setting.dtype),
        dense_seconds=dense_seconds,
        seconds=seconds,
        sampled=tuple(sorted(fields)),
    )
