"""Linear-time programs on this machine: beside their formulas in plain PyTorch, dense SDPA, and themselves.

    python benchmarks/linear.py            # writes benchmarks/results/linear.json and linear.md
    python benchmarks/linear.py --quick    # small sizes, two rounds, writes nothing

Every program runs in a process of its own and is compared with its formula first, forward and backward. The
exit code is 1 if they disagree; targets that are missed are said in the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from common import ROOT, environment, environment_text, paired_ratio
from measure_linear import AGREEMENT, DENSE, FORMULA, LONG, OURS
from rich.console import Console
from transcriptions import TRANSCRIPTIONS

RESULTS = ROOT / "benchmarks" / "results"
MEASURE = Path(__file__).with_name("measure_linear.py")
LENGTHS, QUICK = (4_096, 16_384), (1_024, 4_096)
MOST_GROWTH, LEAST_FORMULA, LEAST_DENSE = 5.0, 0.95, 1.0
"""Targets, forward: time at four times the tokens; speed over the formula, and over dense SDPA."""
ABOUT = (
    "`python benchmarks/linear.py`; 8 heads, width 64, float32, batch 1. Ratios are medians over rounds in",
    "which the calls take turns. `formula` is the program in plain PyTorch (`benchmarks/transcriptions.py`),",
    "`growth` the time at 16,384 tokens over that at 4,096, `dense` SDPA of 16,384 tokens. Targets, forward:",
    f"growth ≤ {MOST_GROWTH:g}, formula ≥ {LEAST_FORMULA:g}, dense ≥ {LEAST_DENSE:g}. Large tensors are",
    "mapped anew by every call, which is why time can grow faster than the tokens.",
)


@dataclass(frozen=True)
class Row:
    """One program: what was measured in its process."""

    program: str
    found: dict[str, Any]

    @property
    def agrees(self) -> bool:
        """Whether it computes what the formula says."""
        return max(self.found["errors"].values()) <= AGREEMENT

    def ratio(self, part: str, slow: str, fast: str) -> float:
        """How many times longer `slow` takes."""
        return paired_ratio(self.found[part][slow], self.found[part][fast])

    def cells(self) -> Iterator[str]:
        """The cells of its row; missed targets are marked."""
        yield self.program
        for part in ("forward", "both"):
            judged = part == "forward"
            times = self.found[part]
            yield f"{median(times[OURS]) * 1e3:.1f}"
            yield marked(self.ratio(part, FORMULA, OURS), at_least=LEAST_FORMULA if judged else None)
            yield f"{median(times[LONG]) * 1e3:.1f}"
            growth = median(times[LONG]) / median(times[OURS])
            yield marked(growth, at_most=MOST_GROWTH if judged else None)
        yield marked(self.ratio("against", DENSE, LONG), at_least=LEAST_DENSE)


def marked(value: float, at_least: float | None = None, at_most: float | None = None) -> str:
    """A ratio, with a mark where it misses its target."""
    missed = (at_least is not None and value < at_least) or (at_most is not None and value > at_most)
    return f"{value:.2f}×{' **missed**' if missed else ''}"


COLUMNS = ("program", *("ms, 4,096", "formula", "ms, 16,384", "growth") * 2, "dense")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The results as Markdown: four columns forward, four forward + backward."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|---|{'---:|' * (len(COLUMNS) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row.cells())} |" if row.agrees else f"| {row.program} | **wrong** |"


def run(program: str, lengths: tuple[int, int], rounds: int) -> Row:
    """Measures one program in a fresh process.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, str(MEASURE), program, *map(str, lengths), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stderr}")
    return Row(program, json.loads(done.stdout))


def main() -> int:
    """Measures all programs and reports."""
    parser = argparse.ArgumentParser(description="Linear-time programs beside their formulas.")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    lengths, rounds = (QUICK, 2) if args.quick else (LENGTHS, args.rounds)
    console = Console(highlight=False)
    rows = []
    for program in TRANSCRIPTIONS:
        rows.append(run(program, lengths, rounds))
        console.print(f"{program}: done", markup=False)
    lines = list(table(rows))
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if not args.quick:
        where = environment()
        document = {"environment": where, "rows": [{"program": r.program, **r.found} for r in rows]}
        (RESULTS / "linear.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        text = ["# Linear-time programs on a CPU", "", environment_text(where), "", *ABOUT, "", *lines]
        text += ["", "The first four figures are of a forward pass, the next four of forward + backward."]
        (RESULTS / "linear.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
