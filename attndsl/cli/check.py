"""`attndsl check`: the generated code against the exact definition, and what can be proved of the mask."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import add_sizes, add_spec, load_program, positive, read_sizes

if TYPE_CHECKING:
    from attndsl.ir.program import Program
    from attndsl.verify import Outcome

SMALL, ODD, MEDIUM = {1: 1, 2: 1, 3: 1}, {1: 37, 2: 7, 3: 5}, {1: 150, 2: 15, 3: 7}
"""Extents that are tried, by the number of axes."""
MANY_PAIRS = 1 << 20
"""Extents are halved while an attend has more pairs than this: a definition should take seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    add_sizes(parser, heads=4)
    parser.add_argument("--kv-heads", type=positive, help="key/value heads (default: half the heads)")


def main(args: argparse.Namespace) -> int:
    """Runs the comparisons and prints a line each."""
    program = load_program(args)
    sizes = _sizes(program, args)
    from attndsl.verify import Verifier, cases

    verifier = Verifier(program)
    outcomes = [verifier.run(case) for case in cases(program, sizes, args.heads, args.kv_heads)]
    passed = all(outcome.passed for outcome in outcomes)
    if args.json:
        document = {"attention": program.name, "passed": passed, "cases": [o.to_dict() for o in outcomes]}
        print(json.dumps(with_warnings(document, program), indent=2))
    else:
        _print(program, outcomes, passed)
    return 0 if passed else 1


def _sizes(program: Program, args: argparse.Namespace) -> list[dict[str, int]]:
    """The size asked for, or the smallest possible, an odd and a medium one; two if all of these are one."""
    if args.shape or not program.symbols:
        return [read_sizes(program, args, ODD)]
    from attndsl.planning.plan import sizes_near

    found = [sizes_near(program, SMALL, heads=args.heads)]
    found += [_sizes_like(program, extents, args.heads) for extents in (ODD, MEDIUM)]
    if found[0] == found[1] == found[2]:
        odd = max(found[0].values()) + 3
        found.append(sizes_near(program, dict.fromkeys(ODD, odd), spread=2, heads=args.heads))
    return [size for at, size in enumerate(found) if size not in found[:at]]


def _sizes_like(program: Program, extents: dict[int, int], heads: int) -> dict[str, int]:
    """Sizes near some extents, or near a half or quarter of them where there are many pairs."""
    from attndsl.planning.plan import most_pairs, sizes_near

    found = sizes_near(program, extents, spread=2, heads=heads)
    while most_pairs(program, found) > MANY_PAIRS:
        extents = {axes: extent // 2 for axes, extent in extents.items()}
        smaller = sizes_near(program, extents, spread=2, heads=heads)
        if most_pairs(program, smaller) >= most_pairs(program, found):
            break
        found = smaller
    return found


def _print(program: Program, outcomes: list[Outcome], passed: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("case", "type", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("forward", "backward", "log-sum-exp", "allowed", ""):
        table.add_column(column, justify="right")
    from attndsl.verify import TOLERANCE

    for outcome in outcomes:
        errors = (f"{error:.1e}" for error in (outcome.forward, outcome.backward, outcome.lse))
        verdict = "[green]ok[/green]" if outcome.passed else "[bold red]FAILED[/bold red]"
        dtype = outcome.case.dtype
        table.add_row(outcome.case.label, str(dtype)[6:], *errors, f"{TOLERANCE[dtype]:.0e}", verdict)
    console = Console()
    console.print(f"[bold]{program.name}[/bold]: errors relative to the largest exact value")
    console.print(table)
    console.print("[green]passed[/green]" if passed else "[bold red]FAILED[/bold red]", highlight=False)
