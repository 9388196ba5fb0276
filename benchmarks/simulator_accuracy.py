"""How well the simulator predicts this machine: speed-ups over dense attention, predicted and measured.

    python benchmarks/simulator_accuracy.py            # writes results/simulator_accuracy.{md,json}
    python benchmarks/simulator_accuracy.py --quick    # small sizes, one round, writes nothing

A machine that others use is slow for a minute at a time: every round calibrates a little, as `attndsl
calibrate` does, and goes through all programs. The medians of all rounds make the device file, which
predicts; every turn of a program and dense attention is a ratio, and their median is what is measured. An
error is the larger of predicted over measured and measured over predicted, less one. Modules are checked at
the smaller size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch
from common import ROOT, cpu_model, environment, environment_text
from rich.console import Console

import attndsl
from attndsl.bench.calibrate import Turn, calibration, measured_turns
from attndsl.bench.measure import Calls, Setting, checked_calls
from attndsl.bench.timing import interleaved, ratio
from attndsl.planning.sizes import read_shape

MEDIAN, WORST = 0.15, 0.35
"""The errors that the simulator is to stay below."""
DENSE = "dense SDPA forward"
RESULTS = ROOT / "benchmarks" / "results"
HEADS, WIDTH = 8, 64
CALIBRATING = 8
"""Turns of what is calibrated in a round."""
VISIT, MOST_TURNS = 0.3, 4
"""Seconds that a program is measured in a round, and most turns in that time."""
CASES = (
    ("causal", "n=2048", "n=8192"),
    ("sliding", "n=4096", "n=8192"),
    ("streaming_llm", "n=4096", "n=8192"),
    ("longformer", "n=2048", "n=8192"),
    ("dilated", "n=2048", "n=8192"),
    ("packed", "n=2048", "n=8192"),
    ("alibi", "n=2048", "n=4096"),
    ("softcap", "n=1024", "n=4096"),
    ("head_mixture", "n=4096", "n=8192"),
    ("power_attention", "n=4096", "n=8192"),
    ("neighborhood2d", "x=48x48", "x=64x128"),
    ("neighborhood3d", "x=16x24x24", "x=24x24x24"),
    ("axial_rows", "x=48x48", "x=64x128"),
    ("swin", "x=56x56", "x=112x56"),
    ("agent", "x=32x32", "x=48x48"),
)
QUICK = (("sliding", "n=512", "n=1024"),)


@dataclass(frozen=True)
class Row:
    """One spec at one size: speed-ups over dense attention, and the time of the program."""

    spec: str
    shape: str
    predicted: float
    measured: float
    milliseconds: float

    @property
    def error(self) -> float:
        """Relative, the same in both directions."""
        return max(self.predicted / self.measured, self.measured / self.predicted) - 1


@dataclass
class Case:
    """A spec at one size: the calls, their times so far, and what is predicted."""

    spec: str
    shape: str
    calls: Calls
    predicted: float = 0.0
    ours: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Takes turns, after one that warms up, for a while."""
        with torch.no_grad():
            found = interleaved(self.calls.forward, 1)
            turns = round(VISIT / sum(times.median for times in found.values()))
            found = interleaved(self.calls.forward, max(1, min(MOST_TURNS, turns)))
        self.ours += found["forward"].seconds
        self.ratios += ratio(found[DENSE], found["forward"]).values

    def predict(self, device: str) -> None:
        """The simulator's speed-up, by what the device file says."""
        program = attndsl.load(self.spec)
        extents = read_shape(program, [self.shape])
        report = attndsl.simulate(program, device, shape=extents, heads=HEADS, dim=WIDTH)
        self.predicted = report.to_dict()["predicted_speedup"]

    @property
    def row(self) -> Row:
        """The medians."""
        return Row(self.spec, self.shape, self.predicted, median(self.ratios), 1e3 * median(self.ours))


def prepared(cases: Sequence[tuple[str, ...]]) -> Iterator[Case]:
    """The modules."""
    for spec, *shapes in cases:
        program = attndsl.load(spec)
        for at, shape in enumerate(shapes):
            setting = Setting({**read_shape(program, [shape]), "heads": HEADS}, dim=WIDTH)
            yield Case(spec, shape, checked_calls(program, setting, check=at == 0))


def table(found: Sequence[Row]) -> Iterator[str]:
    """The rows as Markdown, and the errors over all of them."""
    yield "| spec | shape | predicted | measured | error | ms |"
    yield "|---|---|---:|---:|---:|---:|"
    for row in found:
        figures = f"{row.predicted:.2f} | {row.measured:.2f} | {row.error:.0%} | {row.milliseconds:.1f}"
        yield f"| {row.spec} | {row.shape} | {figures} |"
    yield ""
    yield summary(found)


def summary(found: Sequence[Row]) -> str:
    """Median and worst error, and whether they are what they are to be."""
    middle, worst = median(row.error for row in found), max(row.error for row in found)
    verdicts = ["" if error <= most else ", **missed**" for error, most in ((middle, MEDIAN), (worst, WORST))]
    return (
        f"Median error {middle:.0%} (asked: at most {MEDIAN:.0%}{verdicts[0]}), "
        f"worst {worst:.0%} (at most {WORST:.0%}{verdicts[1]})."
    )


def main() -> int:
    """Calibrates, predicts, measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", help="a device file, instead of calibrating")
    args = parser.parse_args()
    console = Console(highlight=False)
    rounds = 1 if args.quick else args.rounds
    turns: list[Turn] = []
    cases = list(prepared(QUICK if args.quick else CASES))
    for _ in range(rounds):
        if not args.device:
            turns += measured_turns(3 if args.quick else CALIBRATING)
        for case in cases:
            case.measure()
    text = Path(args.device).read_text() if args.device else calibration(turns).to_toml(cpu_model())
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "here.toml"
        device.write_text(text)
        for case in cases:
            case.predict(str(device))
    found = [case.row for case in cases]
    for row in found:
        console.print(f"{row.spec} {row.shape}: {row.predicted:.2f} {row.measured:.2f} {row.error:.0%}")
    console.print(summary(found))
    if not args.quick:
        write(found, text, args.rounds)
    return 0


def write(found: Sequence[Row], device: str, rounds: int) -> None:
    """The results, with the device file that predicted them."""
    where = environment()
    lines = [
        "# Speed-ups that the simulator predicts on a CPU, and those that are measured",
        "",
        environment_text(where),
        "",
        f"`python benchmarks/simulator_accuracy.py`; forward, {HEADS} heads, width {WIDTH}, float32;",
        f"over dense SDPA, the median of the turns of both in {rounds} rounds through all programs.",
        "",
        *table(found),
        "",
        "The device file, measured in every round:",
        "",
        "```toml",
        device.rstrip(),
        "```",
    ]
    (RESULTS / "simulator_accuracy.md").write_text("\n".join(lines) + "\n")
    results = [{**asdict(row), "error": row.error} for row in found]
    document = {"environment": where, "device": device, "results": results}
    (RESULTS / "simulator_accuracy.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
