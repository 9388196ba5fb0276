"""Our Triton kernels on a GPU: right or wrong, and how fast beside FlexAttention and dense attention.

    python benchmarks/gpu_prepare.py -o prepared                        # once, where attndsl is installed
    python benchmarks/gpu.py --stage calibrate correct --budget 480     # then on a GPU: torch, Triton
    python benchmarks/gpu.py --stage compile forward --budget 600 --jobs 8
    python benchmarks/gpu.py --stage backward ablate --budget 480
    python benchmarks/gpu.py --report                                   # gpu.md from the stages that have run
    python benchmarks/gpu.py --dry                                      # every stage on a CPU at small sizes

A stage writes its JSON after every case, so that a time-out keeps results. The exit code is 1 if a result is
wrong, and 0 whatever else fails: a peer that does not compile or a case out of memory is a record.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CACHE = Path(tempfile.gettempdir()) / "attndsl-gpu-benchmark"
"""Where compiled kernels go."""
MODES = ("default", "max-autotune")
STAGES = ("calibrate", "correct", "compile", "forward", "backward", "ablate")


def main() -> int:
    """Runs the stages that are asked for."""
    options = arguments().parse_args()
    if options.report:
        return write_report(options.output)
    if options.dry:
        os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are imported
    os.environ.setdefault("TRITON_CACHE_DIR", str(CACHE / "triton"))
    options.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + options.budget
    wrong = False
    for stage in options.stage:
        if stage == "compile" and options.jobs > 1:
            compile_side_by_side(options, deadline)
        else:
            wrong |= run(stage, options, deadline)
    write_report(options.output)
    return 1 if wrong else 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--budget", type=float, default=600, help="seconds; no case starts after them")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"), help="what gpu_prepare.py wrote")
    parser.add_argument("--output", type=Path, default=Path("gpu-results"), help="where results go")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="attentions, by name")
    parser.add_argument("--width", type=int, nargs="*", help="widths of heads")
    parser.add_argument("--rounds", type=int, default=20, help="of timing, per case")
    parser.add_argument("--seconds", type=float, default=4.0, help="of timing, per case")
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES, help="of compiling FlexAttention")
    parser.add_argument("--jobs", type=int, default=1, help="processes that compile FlexAttention beforehand")
    parser.add_argument("--share", metavar="I/N", help="every N-th case from the I-th on; for the processes")
    parser.add_argument("--dry", action="store_true", help="on a CPU, in Triton's interpreter, small sizes")
    parser.add_argument("--report", action="store_true", help="write the tables and nothing else")
    return parser


def run(stage: str, options: argparse.Namespace, deadline: float) -> bool:
    """Runs one stage and writes a record after every case; whether a result was wrong."""
    import torch
    from gpu_ablate import ablate
    from gpu_calibrate import calibrate
    from gpu_compile import compile_peers
    from gpu_specs import BACKWARD_FIRST
    from gpu_stages import Session, Stage, backward, correct, forward
    from gpu_timing import Timer, environment

    device = torch.device("cpu" if options.dry else "cuda")
    cases, predicted_for = chosen(options, stage, device)
    if stage in ("backward", "ablate"):
        first = {name: at for at, name in enumerate(BACKWARD_FIRST)}
        cases.sort(key=lambda case: first.get(case.name, len(first)))
    stages: dict[str, Stage] = {
        "calibrate": calibrate,
        "correct": correct,
        "compile": compile_peers,
        "forward": forward,
        "backward": backward,
        "ablate": ablate,
    }
    timing = (1, 0.0) if options.dry else (options.rounds, options.seconds)
    modes = () if options.dry else tuple(options.modes)
    session = Session(Timer(device), deadline, *timing, modes=modes)
    document: dict[str, Any] = {
        "stage": stage,
        "environment": environment(device),
        "predicted_for": predicted_for,
        "records": [],
    }
    for record in stages[stage](session, cases):
        document["records"].append(record)
        write(options.output / f"{stage}.json", document)
        print(f"{stage}: {line_of(record)}", flush=True)
    return any(record.get("wrong", False) for record in document["records"])


def chosen(options: argparse.Namespace, stage: str, device: Any) -> tuple[list[Any], str]:
    """The cases of a stage: small ones where results are checked or scripts tried, large ones elsewhere."""
    from gpu_cases import load_cases

    cases, predicted_for = load_cases(options.prepared, device)
    sizes = ("small",) if options.dry else ("small", "full") if stage == "correct" else ("full",)
    cases = [case for case in cases if case.record["size"] in sizes]
    if options.only:
        cases = [case for case in cases if case.name in options.only]
    if options.width:
        cases = [case for case in cases if case.width in options.width]
    if options.share:
        first, every = (int(part) for part in options.share.split("/"))
        cases = cases[first::every]
    return cases, predicted_for


def compile_side_by_side(options: argparse.Namespace, deadline: float) -> None:
    """Compiles the peers in several processes, which leave their results in the caches on disk.

    Autotuning times kernels, and would time them wrongly here: what it chose stays with the process, and only
    the kernels that it has compiled are shared.
    """
    for mode in options.modes:
        processes = []
        for job in range(options.jobs):
            left = max(1.0, deadline - time.monotonic())
            command = [sys.executable, __file__, *sys.argv[1:], "--stage", "compile", "--jobs", "1"]
            command += ["--modes", mode, "--share", f"{job}/{options.jobs}", "--budget", str(left)]
            command += ["--output", str(options.output / "compile" / f"{mode}-{job}")]
            own = {} if mode == "default" else {"TORCHINDUCTOR_CACHE_DIR": str(CACHE / f"{mode}-{job}")}
            processes.append(subprocess.Popen(command, env={**os.environ, **own}))
        for process in processes:
            process.wait()


def write(path: Path, document: Any) -> None:
    """Writes JSON in one step: a process that is stopped leaves the file as it was."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(document, indent=1) + "\n")
    beside.replace(path)


def line_of(record: dict[str, Any]) -> str:
    """A record in a few words."""
    if "failed" in record or "skipped" in record:
        return f"{record['case']}: {record.get('failed', record.get('skipped'))}"
    if "errors" in record:
        shown = ", ".join(f"{name} {value:.1e}" for name, value in record["errors"].items())
        return f"{record['case']}: {'WRONG ' if record['wrong'] else ''}{shown}"
    if "ours" in record:
        peers = {name: peer.get("ratio", [None])[0] for name, peer in record["peers"].items()}
        shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in peers.items() if ratio is not None)
        return f"{record['case']}: {record['ours']['median_ms']:.3f} ms; {shown}"
    return f"{record['case']}: done"


def write_report(folder: Path) -> int:
    """Writes `gpu.md` from the JSON of the stages that have run."""
    from gpu_report import report

    stages: Sequence[str] = [stage for stage in STAGES if (folder / f"{stage}.json").exists()]
    documents = {stage: json.loads((folder / f"{stage}.json").read_text()) for stage in stages}
    (folder / "gpu.md").write_text("\n".join(report(documents)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
