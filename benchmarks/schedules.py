"""Tile schedules and exact counts, beside PyTorch's `create_block_mask`, each in a process of its own.

    python benchmarks/schedules.py            # writes benchmarks/results/schedules.json and schedules.md
    python benchmarks/schedules.py --quick    # small sizes, writes nothing

`create_block_mask` asks the mask about every pair; attndsl decides boxes of queries and keys. Where both
can run, every single tile must get the same verdict: empty, partial or full. The exit code is 1 if one does
not, if an exact count is wrong, or if a stated limit is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from common import ROOT, environment, environment_text, seconds_text
from measure_schedule import ATTNDSL, FLEX, Case, Measured
from rich.console import Console
from rich.table import Table

RESULTS = ROOT / "benchmarks" / "results"
MEASURE = Path(__file__).with_name("measure_schedule.py")

LARGE = (
    Case((1 << 20,), 4096, (128,), peer=False, max_seconds=1.0, max_bytes=500 << 20),
    Case((1024, 1024), 63, (8, 8), peer=False, max_seconds=3.0),
    Case((1024, 1024), 63, (128,), peer=False, max_seconds=3.0),
)
COMMON = (
    *(Case((n,), n // 4, (128,)) for n in (4096, 8192, 16384)),
    *(Case(extents, 13, (128,)) for extents in ((64, 64), (64, 128), (128, 128))),
    *(Case(extents, 13, (8, 8)) for extents in ((64, 64), (64, 128), (128, 128))),
)
QUICK = (Case((1024,), 256, (128,)), Case((32, 32), 7, (128,)), Case((32, 32), 7, (8, 8)))


@dataclass(frozen=True)
class Row:
    """A case with the medians of its processes, and what is wrong with it."""

    case: Case
    found: dict[str, Measured]
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON data."""
        measured = {side: asdict(found) for side, found in self.found.items()}
        return {"case": asdict(self.case), "mask": self.case.mask, **measured, "faults": list(self.faults)}


def run(cases: Sequence[Case], rounds: int) -> Iterator[Row]:
    """Measures every case in fresh processes, the two sides taking turns."""
    for case in cases:
        sides = [ATTNDSL, FLEX] if case.peer else [ATTNDSL]
        turns = [(side, in_own_process(case, side)) for _ in range(rounds) for side in sides]
        found = {side: summary([measured for name, measured in turns if name == side]) for side in sides}
        yield Row(case, found, tuple(faults(case, found)))


def in_own_process(case: Case, side: str) -> Measured:
    """One measurement in a fresh process.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, str(MEASURE), side, json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed on {case.mask}, {case.tokens} tokens:\n{done.stderr}")
    return Measured(**json.loads(done.stdout))


def summary(runs: list[Measured]) -> Measured:
    """The median time and the largest memory; everything else does not vary."""
    seconds, peak = median(run.seconds for run in runs), max(run.peak_bytes for run in runs)
    return replace(runs[0], seconds=seconds, peak_bytes=peak)


def faults(case: Case, found: dict[str, Measured]) -> Iterator[str]:
    """Everything that is not as it must be."""
    ours = found[ATTNDSL]
    if ours.pairs != case.pairs:
        yield f"{ours.pairs:,} visible pairs counted, but there are {case.pairs:,}"
    if FLEX in found and ours.digest != found[FLEX].digest:
        yield f"{tile_text(ours)} tiles, but {tile_text(found[FLEX])} or others in create_block_mask"
    if case.max_seconds is not None and ours.seconds > case.max_seconds:
        yield f"took {ours.seconds:.2f} s, more than {case.max_seconds:g} s"
    if case.max_bytes is not None and ours.peak_bytes > case.max_bytes:
        yield f"took {ours.peak_bytes >> 20} MB, more than {case.max_bytes >> 20} MB"


# --- Reporting ------------------------------------------------------------------------------------

COLUMNS = ("mask", "tokens", "tiles", "full + partial tiles", ATTNDSL, FLEX, "faster", "tiles agree")
LEFT = 3
"""Columns of words; the others hold numbers."""


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, for the terminal and for the page."""
    ours, peer = row.found[ATTNDSL], row.found.get(FLEX)
    case = row.case
    head = (case.mask, case.tokens, case.tiles, tile_text(ours), cost_text(ours))
    if peer is None:
        pairs = f"{prod(case.extents) ** 2:.1e}".replace("e+", "·10^")
        return (*head, f"{pairs} pairs", "–", "–")
    return (
        *head,
        cost_text(peer),
        f"{peer.seconds / ours.seconds:.0f}×",
        "all" if ours.digest == peer.digest else "NO",
    )


def tile_text(found: Measured) -> str:
    """Visited tile pairs."""
    return f"{found.full:,} + {found.partial:,}"


def cost_text(found: Measured) -> str:
    """Time and memory."""
    return f"{seconds_text(found.seconds)}, {found.peak_bytes / 2**20:,.0f} MB"


def print_rows(rows: Sequence[Row]) -> None:
    """The table on the terminal, and what is wrong."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=140)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if at < LEFT else "right")
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    for fault in all_faults(rows):
        console.print(fault, style="bold red")


def all_faults(rows: Sequence[Row]) -> list[str]:
    """What is wrong, with the case it is about."""
    return [
        f"{row.case.mask}, {row.case.tokens} tokens, {row.case.tiles}: {f}"
        for row in rows
        for f in row.faults
    ]


def write(rows: Sequence[Row], rounds: int) -> None:
    """The committed results."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    where = environment()
    document = {"environment": where, "rounds": rounds, "rows": [row.to_dict() for row in rows]}
    (RESULTS / "schedules.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "schedules.md").write_text(page(rows, rounds, environment_text(where)), encoding="utf-8")


PAGE = """\
# Schedules

Which tiles of a mask must be visited, which of them are full, and how many pairs are visible, exactly:
attndsl's analysis beside PyTorch's `create_block_mask`, which evaluates every pair and does not count them.
Median time of {rounds} fresh processes each, without imports; memory is the largest rise of the peak. Where
both ran, the verdict on every tile pair (empty, partial, full) was compared; visible pairs were compared with
a closed form throughout. A number of pairs stands where `create_block_mask` would run out of memory.

    python benchmarks/schedules.py

{where}

{table}
"""


def page(rows: Sequence[Row], rounds: int, where: str) -> str:
    """The results as Markdown."""
    ruler = ["---" if at < LEFT else "---:" for at in range(len(COLUMNS))]
    lines = ["| " + " | ".join(line) + " |" for line in (COLUMNS, ruler, *map(cells, rows))]
    text = PAGE.format(rounds=rounds, where=where, table="\n".join(lines))
    missed = "".join(f"- {fault}\n" for fault in all_faults(rows))
    return f"{text}\nMissed:\n\n{missed}" if missed else text


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tile schedules beside torch's create_block_mask.")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, nothing is written")
    parser.add_argument("--rounds", type=int, default=3, help="processes per measurement (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    return parser.parse_args()


def main() -> int:
    """Measures everything and reports."""
    args = parse()
    rounds = 1 if args.quick else args.rounds
    rows = list(run(QUICK if args.quick else LARGE + COMMON, rounds))
    if args.json:
        print(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        print_rows(rows)
    if not args.quick:
        write(rows, rounds)
    return 1 if all_faults(rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
