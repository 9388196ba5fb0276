"""A simulated program in the terminal: bounds as bars, losses with their reasons, tiles of every attend."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from attndsl.picture.program import amount
from attndsl.simulation.report import AttendReport, Report
from attndsl.study.study import Study
from attndsl.study.sweep import Sweep

NOT_TUNED = "no parameter is declared `tune`; write e.g. tune stride in (1, 2, 4) in the attention"
BAR = 24
"""Characters of the longest bar."""


def print_report(console: Console, report: Report) -> None:
    """Prints a report."""
    for line in heading(report):
        console.print(line, markup=False, soft_wrap=True)
    console.print()
    console.print(_bars(report))
    if report.waterfall.losses:
        console.print()
        console.print(_losses(report))
    for attend in report.attends:
        console.print()
        for line in attend_lines(attend):
            console.print(line, markup=False, soft_wrap=True)
    console.print()
    for line in _closing(report):
        console.print(line, markup=False, soft_wrap=True)


def print_study(console: Console, study: Study) -> None:
    """Prints a report with the answers to further questions."""
    print_report(console, study.report)
    if study.whole is not None:
        whole = study.whole
        steps = f", {whole.dense_share:.0%} of the steps dense" if whole.dense_share else ""
        speed = f"{whole.speedup:.2f}x faster (at most {whole.limit:.2f}x)"
        console.print(f"whole model, {whole.share:.0%} of its time attention{steps}: {speed}")
    if study.advice is not None:
        console.print()
        console.print("[bold]advice[/bold]")
        for advice in study.advice:
            console.print(f"  {advice.words}", markup=False, soft_wrap=True)
        if not study.advice:
            tuned = "parameters declared `tune` are at their best" if study.tuned else NOT_TUNED
            console.print(f"  {tuned}", markup=False, soft_wrap=True)
    if study.sweep is not None:
        console.print()
        console.print(_sweep(study.sweep))


def _sweep(sweep: Sweep) -> Table:
    table = Table(sweep.name, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("flop bound", "tile bound", "predicted", "time", "dense", "memory"):
        table.add_column(column, justify="right")
    for point in sweep.points:
        report, fall = point.report, point.report.waterfall
        bounds = (times(bound) for bound in (fall.flop_bound, fall.tile_bound, fall.predicted))
        spent = (duration(seconds) for seconds in (report.seconds, report.dense_seconds))
        table.add_row(point.value, *bounds, *spent, f"{amount(report.peak_bytes)}B")
    return table


def heading(report: Report) -> Iterator[str]:
    """What was simulated."""
    setting = report.setting
    shape = ", ".join(
        f"{name} = {'x'.join(str(extent) for extent in extents.values())}"
        for name, extents in report.shape.items()
    )
    yield f"{report.attention} on {setting.device.title}"
    queries = f", the last {setting.queries} queries" if setting.queries is not None else ""
    passes = {"fwd": "forward", "bwd": "backward", "both": "forward and backward"}[setting.direction]
    yield (
        f"{shape}; batch {setting.batch}, {setting.heads} heads of width {setting.dim}, {setting.dtype}; "
        f"{passes}{queries}; kernel {setting.kernel.name}, dense by {setting.dense_kernel.name}"
    )


def steps(report: Report) -> list[tuple[str, float, str]]:
    """The bounds in order: name, speed-up over dense attention, what it means."""
    fall = report.waterfall
    return [
        ("flop bound", fall.flop_bound, "operations on visible pairs"),
        ("tile bound", fall.tile_bound, "every slot of visited tiles"),
        ("   at worst", fall.tile_bound_worst, "every query tile as the worst"),
        ("schedule bound", fall.schedule_bound, "cycles, waves and tails"),
        ("predicted", fall.predicted, "memory, launches, the rest"),
    ]


def _bars(report: Report) -> Table:
    table = Table("times dense", box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    every = steps(report)
    largest = max(value for _, value, _ in every)
    for name, value, words in every:
        filled = max(1, round(BAR * value / largest)) if largest else 0
        style = "bold green" if name == "predicted" else "blue"
        table.add_row(name, Text(times(value), justify="right"), Text("█" * filled, style=style), words)
    return table


def times(value: float) -> str:
    """A speed-up, e.g. `11.1x`."""
    return f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


def _losses(report: Report) -> Table:
    table = Table("step", "factor", "why", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for loss in report.waterfall.losses:
        words = f"{loss.factor:.2f}x slower" if loss.factor >= 1 else f"{1 / loss.factor:.2f}x faster"
        style = "red" if loss.factor >= 1.2 else "yellow" if loss.factor >= 1 else "green"
        table.add_row(loss.step, Text(words, style=style), loss.why)
    return table


def attend_lines(attend: AttendReport) -> Iterator[str]:
    """The tiles of an attend in words."""
    found = attend.tiling
    if attend.part is None:
        yield f"{attend.name}: {found.why}"
        return
    counts, time = attend.part.work.counts, attend.part.time
    tile = " against ".join("x".join(map(str, side)) for side in (found.query, found.key))
    yield f"{attend.name}: tiles of {tile} ({found.layout}): {found.why}"
    yield (
        f"  {attend.pairs:,} visible pairs in {counts.visited:,} of {counts.total:,} tiles "
        f"({counts.full:,} full, {counts.partial:,} partial), limited by {time.by}"
    )
    if found.compiled is not None:
        yield from machine_code_lines(attend)


def machine_code_lines(attend: AttendReport) -> Iterator[str]:
    """What compiled kernels are, and which numbers of the model they replace."""
    compiled = attend.tiling.compiled
    for kernel in compiled.kernels if compiled is not None else ():
        yield f"  {kernel.words}"
    for way in dict.fromkeys(found.way for found in attend.replaced):
        words = ", ".join(
            f"{found.name} {found.kernel:.4g} (model {found.model:.4g})"
            for found in attend.replaced
            if found.way == way
        )
        name = {"fwd": "forward", "bwd": "backward"}[way]
        yield f"  from the kernels, {name}, per score of a visited tile: {words}"


def _closing(report: Report) -> Iterator[str]:
    yield (
        f"dense {amount(report.dense_flops)} operations in {duration(report.dense_seconds)}, "
        f"program {amount(report.flops)} in {duration(report.seconds)}; "
        f"{amount(report.peak_bytes)}B of memory at most"
    )
    if report.complexity:
        words = f" ({report.complexity_words})" if report.complexity_words else ""
        yield f"operations: {report.complexity}{words}; leading order {report.leading}"
    if report.crossover is not None:
        yield f"faster than dense attention from {report.crossover:,} tokens"
    if report.sampled:
        yield f"run-time labels {', '.join(report.sampled)} have sample values here"


def duration(seconds: float) -> str:
    """A time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
