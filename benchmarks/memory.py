"""Memory and time of programs whose formulas allow little of both, each run in a process of its own.

    python benchmarks/memory.py            # writes benchmarks/results/memory.json and memory.md
    python benchmarks/memory.py --quick    # small sizes, writes nothing

Tensor attention has n² keys and n³ scores, yet may hold few of them at a time. The others must take memory in
proportion to the tokens. The exit code is 1 if one takes more than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from common import ROOT, environment, environment_text, seconds_text
from measure_memory import TENSOR, Case, Measured
from rich.console import Console
from rich.table import Table

RESULTS = ROOT / "benchmarks" / "results"
MEASURE = Path(__file__).with_name("measure_memory.py")

TENSOR_BYTES = 300 << 20
"""What tensor attention may take over its inputs."""
GROWTH = 2.2
"""How much more memory twice the tokens may take."""
LINEAR = "linear", "linear, causal", "agent", "codebook", "codebook, causal"


def cases(quick: bool) -> Iterator[Case]:
    """Tensor attention at two sizes, the others at sizes that double; or all at a small one."""
    for n in (384,) if quick else (512, 2048):
        yield Case(TENSOR, (n,), heads=1)
    for program in LINEAR:
        for n in (16_384,) if quick else (16_384, 32_768, 65_536):
            side = 1 << (n.bit_length() // 2)  # of an image as square as possible
            extents = (n // side, side) if program == "agent" else (n,)
            yield Case(program, extents, heads=2 if quick else 4)


@dataclass(frozen=True)
class Row:
    """A case, what was measured, and how memory grew since half the tokens."""

    case: Case
    found: Measured
    growth: float | None

    @property
    def fault(self) -> str | None:
        """What is not as it must be."""
        if self.case.program == TENSOR:
            return "more than 300 MB" if self.found.total_bytes > TENSOR_BYTES else None
        many = self.growth is not None and self.growth > GROWTH
        return f"{self.growth:.2f} times the memory for twice the tokens" if many else None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON data."""
        return {**asdict(self.case), **asdict(self.found), "growth": self.growth, "fault": self.fault}


def run(quick: bool) -> Iterator[Row]:
    """Measures every case."""
    last: Row | None = None
    for case in cases(quick):
        found = in_own_process(case)
        same = last is not None and last.case.program == case.program != TENSOR
        last = Row(case, found, found.total_bytes / last.found.total_bytes if same and last else None)
        yield last


def in_own_process(case: Case) -> Measured:
    """One measurement in a fresh process.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, str(MEASURE), json.dumps(asdict(case))]
    options = {"OMP_NUM_THREADS": "1"}  # several wait for each other where other work runs beside them
    if case.program != TENSOR:  # growth is that of tensors alone if the allocator keeps nothing back
        options["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **options})
    if done.returncode:
        raise RuntimeError(f"{case.program} failed at {case.extents} tokens:\n{done.stderr}")
    return Measured(**json.loads(done.stdout))


# --- Reporting ------------------------------------------------------------------------------------

COLUMNS = (
    "program",
    "tokens",
    "heads",
    "inputs",
    "forward",
    "forward + backward",
    "growth",
    "bytes/token",
    "forward time",
    "forward + backward time",
)


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row, for the terminal and for the page."""
    case, found = row.case, row.found
    return (
        case.program,
        "×".join(f"{extent:,}" for extent in case.extents),
        str(case.heads),
        *(f"{size / 2**20:,.0f} MB" for size in (found.input_bytes, found.forward_bytes, found.total_bytes)),
        "–" if row.growth is None else f"{row.growth:.2f}×",
        f"{found.total_bytes / prod(case.extents):,.0f}",
        f"{seconds_text(found.forward_seconds)} ({seconds_text(found.forward_cpu_seconds)})",
        f"{seconds_text(found.total_seconds)} ({seconds_text(found.total_cpu_seconds)})",
    )


def print_rows(rows: Sequence[Row]) -> None:
    """The table on the terminal, and what is wrong."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=180)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if at else "left")
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    for fault in all_faults(rows):
        console.print(fault, style="bold red")


def all_faults(rows: Sequence[Row]) -> list[str]:
    """What is wrong, with the case it is about."""
    return [f"{row.case.program}, {row.case.extents} tokens: {row.fault}" for row in rows if row.fault]


PAGE = """\
# Memory

How far the memory of a fresh process rises above the inputs, for a forward pass without gradients, and for a
forward and backward pass: outputs, gradients and everything saved are included. Width 64, float32, one batch
element. Tensor attention of n tokens has n² keys; those of 2,048 would take 1 GB, and their scores 34 GB. In
all other programs memory must grow with the tokens: `growth` is since half as many, and glibc's allocator is
told to give freed tensors back at once. Times are of one call on one thread: on the clock, and in parentheses
of the processor; they differ where other work ran beside it.

    python benchmarks/memory.py

{where}

{table}
"""


def page(rows: Sequence[Row], where: str) -> str:
    """The results as Markdown."""
    ruler = ["---:" if at else "---" for at in range(len(COLUMNS))]
    lines = ["| " + " | ".join(line) + " |" for line in (COLUMNS, ruler, *map(cells, rows))]
    text = PAGE.format(where=where, table="\n".join(lines))
    missed = "".join(f"- {fault}\n" for fault in all_faults(rows))
    return f"{text}\nMissed:\n\n{missed}" if missed else text


def write(rows: Sequence[Row]) -> None:
    """The committed results."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    where = environment()
    document = {"environment": where, "rows": [row.to_dict() for row in rows]}
    (RESULTS / "memory.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "memory.md").write_text(page(rows, environment_text(where)), encoding="utf-8")


def main() -> int:
    """Measures everything and reports."""
    parser = argparse.ArgumentParser(description="Memory and time of programs, forward and backward.")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    args = parser.parse_args()
    rows = list(run(args.quick))
    if args.json:
        print(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        print_rows(rows)
    if not args.quick:
        write(rows)
    return 1 if all_faults(rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
