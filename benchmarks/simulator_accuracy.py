"""How well the simulator predicts this machine: speed-ups over dense attention, predicted and measured.

    python benchmarks/simulator_accuracy.py            # writes results/simulator_accuracy.{md,json}
    python benchmarks/simulator_accuracy.py --quick    # small sizes, one round, writes nothing

Calibrates first, as `attndsl calibrate` does, and predicts before it measures. An error is the larger of
predicted over measured and measured over predicted, less one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from common import ROOT, cpu_model, environment, environment_text
from rich.console import Console

import attndsl
from attndsl.bench.calibrate import calibrate
from attndsl.bench.measure import Setting, measure
from attndsl.planning.sizes import read_shape

MEDIAN, WORST = 0.15, 0.35
"""The errors that the simulator is to stay below."""
DENSE = "dense SDPA forward"
RESULTS = ROOT / "benchmarks" / "results"
HEADS, WIDTH = 8, 64
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


def rows(cases: Sequence[tuple[str, ...]], device: str, rounds: int) -> Iterator[Row]:
    """Predicts and measures, one spec at one size after another."""
    for spec, *shapes in cases:
        program = attndsl.load(spec)
        for shape in shapes:
            extents = read_shape(program, [shape])
            report = attndsl.simulate(program, device, shape=extents, heads=HEADS, dim=WIDTH)
            sizes = {**extents, "heads": HEADS}
            setting = Setting(sizes, dim=WIDTH, rounds=rounds, flex=False, backward=False)
            found = measure(program, setting)
            predicted = report.to_dict()["predicted_speedup"]
            seconds = found.times["forward"].median
            yield Row(spec, shape, predicted, found.ratios[DENSE].median, 1e3 * seconds)


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
    with tempfile.TemporaryDirectory() as folder:
        device = args.device or str(Path(folder) / "here.toml")
        if not args.device:
            Path(device).write_text(calibrate(3 if args.quick else 15).to_toml(cpu_model()))
        text = Path(device).read_text()
        found: list[Row] = []
        for row in rows(QUICK if args.quick else CASES, device, 1 if args.quick else args.rounds):
            found.append(row)
            console.print(f"{row.spec} {row.shape}: {row.predicted:.2f} {row.measured:.2f} {row.error:.0%}")
    console.print(summary(found))
    if not args.quick:
        write(found, text)
    return 0


def write(found: Sequence[Row], device: str) -> None:
    """The results, with the device file that predicted them."""
    where = environment()
    lines = [
        "# Speed-ups that the simulator predicts on a CPU, and those that are measured",
        "",
        environment_text(where),
        "",
        f"`python benchmarks/simulator_accuracy.py`; forward, {HEADS} heads, width {WIDTH}, float32;",
        "over dense SDPA, the median of rounds in which both take turns.",
        "",
        *table(found),
        "",
        "The device file, measured at the start of the run:",
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
