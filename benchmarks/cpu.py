"""The generated torch path on this machine, beside dense SDPA and compiled FlexAttention.

    python benchmarks/cpu.py            # writes benchmarks/results/cpu.json and cpu.md; about fifteen minutes
    python benchmarks/cpu.py --quick    # small sizes, one round, writes nothing

Every case runs in a process of its own, checks itself against the exact definition first, and takes turns
with its peers. The exit code is 1 if a result is wrong; targets that are missed are said in the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ROOT, environment, environment_text
from rich.console import Console

RESULTS = ROOT / "benchmarks" / "results"
DENSE, DENSE_BOTH = "dense SDPA forward", "dense SDPA forward + backward"
RASTER, FINE, TILED = (f"FlexAttention, {form} forward" for form in ("raster 128", "raster 64", "hand-tiled"))

WINDOW = """
attention causal_window(radius = 255) {
  tokens x[n]
  input q, k, v : x
  return attend(q, k, v, where = causal and sliding(radius))
}
"""
BLOCKS = """
attention random_blocks {      # 64 x 64 blocks, about one in nine of them visible
  tokens x[n]
  tokens block[n // 64, m = n // 64]
  input q, k, v : x
  input keep : block bool
  return attend(q, k, v, where = keep[i // 64, j // 64])
}
"""


ABOUT = (
    "`python benchmarks/cpu.py`; 8 heads (video 2), width 64, float32, batch 1. A ratio is the median over",
    "rounds in which the calls take turns. FlexAttention is compiled beforehand; its block mask comes from",
    "our schedule, and reordering tokens for the hand-tiled form is not timed.",
)


@dataclass(frozen=True)
class Case:
    """A spec at a size, and how many times longer its peers should take.

    Attributes:
        spec: the name of an example, or the text of a spec.
        targets: for some peers, the least ratio.
        dense_only: forward beside dense SDPA and nothing else; a call of dense takes most of a minute there.
    """

    title: str
    spec: str
    shape: str
    heads: int = 8
    targets: dict[str, float] = field(default_factory=dict)
    density: float | None = None
    dense_only: bool = False

    def run(self, rounds: int) -> dict[str, Any]:
        """The result of `attndsl bench --json` in a process of its own."""
        with tempfile.TemporaryDirectory() as folder:
            spec = self.spec
            if "\n" in spec:
                path = Path(folder) / "spec.attn"
                path.write_text(spec)
                spec = str(path)
            command = [sys.executable, "-m", "attndsl", "bench", spec, "--shape", self.shape, "--json"]
            rounds = min(rounds, 3) if self.dense_only else rounds
            command += ["--heads", str(self.heads), "--rounds", str(rounds)]
            command += [] if self.density is None else ["--density", str(self.density)]
            command += ["--no-flex", "--forward"] if self.dense_only else []
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{self.title}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


CASES = (
    Case(
        "causal window 256, n = 8,192",
        WINDOW,
        "n=8192",
        targets={DENSE: 15.0, RASTER: 1.25, FINE: 1.25, DENSE_BOTH: 14.0},
    ),
    Case(
        "13×13 window on 64×128",
        "neighborhood2d",
        "x=64x128",
        targets={DENSE: 11.0, TILED: 1.6, RASTER: 5.0, FINE: 5.0, DENSE_BOTH: 14.0},
    ),
    Case(
        "random 64×64 blocks, 11 %, n = 8,192",
        BLOCKS,
        "n=8192",
        targets={RASTER: 1.0, FINE: 1.0},
        density=0.11,
    ),
    Case(
        "video 18×24×24, stride 16×8×8, on 30×48×80",
        "hunyuan_gna",
        "x=30x48x80",
        2,
        {DENSE: 6.0},
        dense_only=True,
    ),
)
QUICK = (
    Case("causal window 256, n = 1,024", WINDOW, "n=1024"),
    Case("13×13 window on 32×32", "neighborhood2d", "x=32x32"),
)


def table(cases: Sequence[Case], found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The results as Markdown."""
    yield "| case | call | median ms | quartiles | times ours | target |"
    yield "|---|---|---|---|---|---|"
    for case, result in zip(cases, found):
        for name, times in result["times"].items():
            ratio = result["ratios"].get(name, {}).get("median")
            target = case.targets.get(name)
            low, high = times["quartiles_ms"]
            verdict = "" if target is None else f"≥ {target:g}{'' if ratio >= target else ' **missed**'}"
            shown = "" if ratio is None else f"{ratio:.2f}"
            cells = [case.title, name, f"{times['median_ms']:.1f}", f"{low:.1f} – {high:.1f}", shown, verdict]
            yield f"| {' | '.join(cells)} |"
        yield f"| {case.title} | first call, planning included | {result['first_call_ms']:.0f} | | | |"


def main() -> int:
    """Runs all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    console = Console(highlight=False)
    cases, rounds = (QUICK, 1) if args.quick else (CASES, args.rounds)
    console.print(f"[dim]{environment_text(environment())}[/dim]", soft_wrap=True)
    found = []
    for case in cases:
        found.append(case.run(rounds))
        console.print(f"{case.title}: done", markup=False)
    lines = list(table(cases, found))
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if not args.quick:
        results = [{"title": case.title, "targets": case.targets, **one} for case, one in zip(cases, found)]
        document = {"environment": environment(), "results": results}
        (RESULTS / "cpu.json").write_text(json.dumps(document, indent=2) + "\n")
        text = [
            "# The generated torch path on a CPU",
            "",
            environment_text(environment()),
            "",
            *ABOUT,
            "",
            *lines,
        ]
        (RESULTS / "cpu.md").write_text("\n".join(text) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
