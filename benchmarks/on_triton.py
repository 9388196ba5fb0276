"""What of each program runs as Triton kernels on a GPU, and what stays torch.

    python benchmarks/on_triton.py [FILE ...]               # the examples if no file is given

A line per operator that computes: attends by their kernel and, where that is torch, why; what else there is
between tensors (pooling, projections, codebooks) is torch by design.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from attndsl.examples import example_files
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.language import load_file
from attndsl_codegen.hooks import HookPrinter
from attndsl_codegen.names import TokenNames
from attndsl_codegen.triton_hooks import ON_GPU_WITHOUT_HOOKS


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    counts: Counter[str] = Counter()
    for path in parser.parse_args().files or example_files().values():
        for name, op, runs, why in rows_of(load_file(Path(path))):
            counts[runs] += op == "attend"
            print(f"{Path(path).stem:20} {name:12} {op:12} {runs:28} {why}")
    print(", ".join(f"{count} attends by {runs}" for runs, count in counts.most_common() if count))
    return 0


def rows_of(program: Program) -> Iterator[tuple[str, str, str, str]]:
    """Name, operator, what runs it, and why that is torch where it is an attend."""
    for value in program.computed:
        if not isinstance(value.op, Attend):
            yield value.name, value.op.keyword or type(value.op).__name__.lower(), "torch", ""
            continue
        hooks = HookPrinter(program, value.name, value.op, None, TokenNames(), "")
        on_gpu = hooks.on_gpu or hooks.runs in ON_GPU_WITHOUT_HOOKS.values()
        runs = f"Triton ({hooks.runs})" if on_gpu else f"torch ({hooks.runs})"
        yield value.name, "attend", runs, "" if on_gpu else hooks.triton.why_not or ""


if __name__ == "__main__":
    sys.exit(main())
