"""`attndsl bench`: the generated module beside dense SDPA and compiled FlexAttention, on this machine."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from attndsl.cli.options import add_sizes, add_spec, load_program, positive, read_sizes

if TYPE_CHECKING:
    from attndsl.bench.measure import Bench
    from attndsl.ir.program import Program

EXTENTS = {1: 4096, 2: 64, 3: 16}
"""Extents where `--shape` gives none, by the number of axes."""
DTYPES = ("float32", "bfloat16", "float16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    add_sizes(parser, heads=8)
    parser.add_argument("--dim", type=positive, default=64, help="width of a head (default 64)")
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="type of the tensors")
    parser.add_argument("--rounds", type=positive, default=5, help="how often each call is timed (default 5)")
    parser.add_argument(
        "--density", type=float, metavar="P", help="share of true values in bool inputs (default: stretches)"
    )
    parser.add_argument("--threads", type=positive, help="threads of PyTorch (default: its own choice)")
    parser.add_argument(
        "--no-flex", action="store_true", help="leave FlexAttention out; it compiles for a while"
    )
    parser.add_argument(
        "--forward", action="store_true", help="time no backward passes: dense ones take minutes at length"
    )


def main(args: argparse.Namespace) -> int:
    """Checks, measures, prints."""
    program = load_program(args)
    sizes = read_sizes(program, args, EXTENTS)
    from attndsl.bench.measure import Setting, measure

    options = args.dtype, args.rounds, not args.no_flex, args.density, args.threads, not args.forward
    setting = Setting(sizes, args.batch, args.dim, *options)
    found = measure(program, setting)
    if args.json:
        print(json.dumps({"attention": program.name, **found.to_dict()}, indent=2))
    else:
        _print(program, found)
    return 0


def _print(program: Program, found: Bench) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    sizes = ", ".join(f"{name} = {value}" for name, value in found.setting.sizes.items())
    console.print(
        f"[bold]{program.name}[/bold] at {sizes}, width {found.setting.dim}: checked against the definition"
    )
    table = Table("call", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("median", "quartiles", "times ours"):
        table.add_column(column, justify="right")
    for name, times in found.times.items():
        low, high = times.quartiles
        ratio = f"{found.ratios[name].median:.2f}" if name in found.ratios else ""
        table.add_row(name, _ms(times.median), f"{_ms(low)} – {_ms(high)}", ratio)
    console.print(table)
    console.print(f"first call, planning included: {_ms(found.first_call)}")
    for note in found.notes:
        console.print(note, markup=False)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"
