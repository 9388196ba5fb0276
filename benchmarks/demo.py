"""What `make demo` runs: two examples compiled, checked, drawn, and timed beside dense attention.

    python benchmarks/demo.py            # a few minutes on two cores; writes demo/
    python benchmarks/demo.py --quick    # smaller, and without the dense half minute

Everything it shows is done by commands that it prints, and by the files that they write.
The exit code is 1 if a command fails or an error is above tolerance.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import torch
from common import ROOT, environment, environment_text, interleaved, paired_ratio, seconds_text
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import attndsl
from attndsl.examples import find_spec
from attndsl.verify import TOLERANCE, relative_error

DEMO = ROOT / "demo"
WIDTH = 64
SAMPLED_ROWS = 64
console = Console(highlight=False)


@dataclass(frozen=True)
class Example:
    """An installed example at a size.

    Attributes:
        extents: its tokens.
        options: for the command line, where the size has to be said.
    """

    name: str
    extents: tuple[int, ...]
    heads: int
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The size in words."""
        shape = "×".join(map(str, self.extents))
        heads = f"{self.heads} head" + "s" * (self.heads > 1)
        return f"{self.name}: {shape} = {prod(self.extents):,} tokens, {heads}, width {WIDTH}, float32"


class Demo:
    """The steps, and whether all of them went well."""

    def __init__(self, image: Example, video: Example, rounds: int, time_dense_video: bool) -> None:
        self.image, self.video, self.rounds = image, video, rounds
        self.time_dense_video = time_dense_video
        self.failures: list[str] = []

    def run(self) -> int:
        """All steps; the exit code."""
        start = time.perf_counter()
        console.print(f"[dim]{environment_text(environment())}[/dim]", soft_wrap=True)
        DEMO.mkdir(exist_ok=True)
        self.compile()
        self.check()
        self.draw()
        self.time_image()
        self.time_video()
        console.rule()
        seconds = time.perf_counter() - start
        console.print(f"{seconds:.0f} s in all; the files are in {DEMO.relative_to(ROOT)}/")
        for failure in self.failures:
            console.print(f"FAILED: {failure}", style="bold red")
        return 1 if self.failures else 0

    def compile(self) -> None:
        """One self-contained file each."""
        headline("Compile: a few lines become one readable file that needs torch only")
        for example in (self.image, self.video):
            console.print(find_spec(example.name).read_text(encoding="utf-8"), style="cyan", markup=False)
            self.command("compile", example.name, "-o", f"demo/{example.name}.py")

    def check(self) -> None:
        """Forward and backward against the exact definition, at the size that is timed below."""
        headline("Check: output, log-sum-exp and gradients against the dense float64 definition")
        self.command("check", self.image.name, *self.image.options, "--heads", str(self.image.heads))

    def draw(self) -> None:
        """Pictures of both masks."""
        headline("Show: the mask, its tiles, and the keys of one query")
        for example in (self.image, self.video):
            outputs = [part for kind in ("png", "svg") for part in ("-o", f"demo/{example.name}.{kind}")]
            self.command("show", example.name, *example.options, *outputs)

    def command(self, *words: str) -> None:
        """Runs an attndsl command and shows it."""
        console.print(f"[bold]$ attndsl {shlex.join(words)}[/bold]", soft_wrap=True)
        done = subprocess.run([sys.executable, "-m", "attndsl", *words], cwd=ROOT, check=False)
        if done.returncode:
            self.failures.append(f"attndsl {shlex.join(words)} returned {done.returncode}")

    def time_image(self) -> None:
        """The image neighbourhood and dense attention, taking turns."""
        headline("Time: the generated file beside torch's fused dense attention")
        sparse, tensors = imported(self.image.name), random_inputs(self.image)
        table = timing_table()
        for label, run in (("forward", forward), ("forward + backward", forward_backward)):
            calls = {
                "attndsl": lambda run=run: run(sparse, tensors),
                "dense": lambda run=run: run(dense, tensors),
            }
            with console.status(f"{label}, {self.rounds} times each"):
                seconds = interleaved(calls, self.rounds)
            add_timing(table, label, seconds["attndsl"], seconds["dense"])
        print_timing(self.image, table, f"medians of {self.rounds}")

    def time_video(self) -> None:
        """The video neighbourhood, beside dense attention once; its output for some of the queries."""
        headline("Time and check: 115,200 tokens of video in one sequence")
        sparse, tensors = imported(self.video.name), random_inputs(self.video)
        rounds = min(self.rounds, 3)
        with console.status(f"forward, {rounds + 1} times; the first call plans"):
            found = forward(sparse, tensors)
            ours = interleaved({"": lambda: forward(sparse, tensors)}, rounds, warm_up=False)[""]
        theirs: list[float] = []
        if self.time_dense_video:
            with console.status("dense attention on as many tokens, once; this takes half a minute or more"):
                theirs = interleaved({"": lambda: forward(dense, tensors)}, 1, warm_up=False)[""]
        table = timing_table()
        add_timing(table, "forward", ours, theirs)
        print_timing(self.video, table, f"median of {rounds}" + ", dense once" * len(theirs))
        self.check_rows(found, tensors)

    def check_rows(self, found: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """The output for a sample of the queries against the exact definition."""
        count = prod(self.video.extents)
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(1))[:SAMPLED_ROWS]
        with torch.no_grad(), console.status("the exact definition for a sample of the queries"):
            ((exact, _),) = attndsl.oracle(attndsl.load(self.video.name)).with_lse(tensors, rows)
        error, allowed = relative_error(found.flatten(2, -2)[:, :, rows], exact), TOLERANCE[torch.float32]
        verdict = f"error {error:.1e}, allowed {allowed:.0e}"
        console.print(f"{SAMPLED_ROWS} of the queries against the float64 definition: {verdict}")
        if error > allowed:
            self.failures.append(f"{self.video.name} differs from its definition by {error:.1e}")


def headline(text: str) -> None:
    """Announces a step."""
    console.print()
    console.rule(f"[bold]{text}[/bold]", align="left")


def imported(name: str) -> Callable[..., Tensor]:
    """The function in a file that `attndsl compile` wrote."""
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def random_inputs(example: Example) -> dict[str, Tensor]:
    """Queries, keys and values, (1, heads, *extents, width)."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, example.heads, *example.extents, WIDTH)
    return {name: torch.randn(shape, generator=generator) for name in "qkv"}


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every token attends to every token: the yardstick."""
    q_flat, k_flat, v_flat = (tensor.flatten(2, -2) for tensor in (q, k, v))
    return scaled_dot_product_attention(q_flat, k_flat, v_flat).view_as(q)


@torch.no_grad()
def forward(attend: Callable[..., Tensor], tensors: Mapping[str, Tensor]) -> Tensor:
    """A forward pass."""
    return attend(**tensors)


def forward_backward(attend: Callable[..., Tensor], tensors: Mapping[str, Tensor]) -> None:
    """A forward and a backward pass."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    attend(**leaves).backward(tensors["v"])


def timing_table() -> Table:
    """An empty table for times beside dense attention."""
    table = Table("", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("attndsl", "dense", "times faster"):
        table.add_column(column, justify="right")
    return table


def add_timing(table: Table, label: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """A line of the table; where both took turns, the ratio is the median over the rounds."""
    if not theirs:
        table.add_row(label, seconds_text(median(ours)), "not timed", "–")
        return
    ratio = paired_ratio(theirs, ours) if len(theirs) == len(ours) else median(theirs) / median(ours)
    times = (seconds_text(median(seconds)) for seconds in (ours, theirs))
    table.add_row(label, *times, f"[bold green]{ratio:.1f}[/bold green]")


def print_timing(example: Example, table: Table, how: str) -> None:
    """The times, and by how much arithmetic alone could shorten them."""
    pairs, total = visible_pairs(example), prod(example.extents) ** 2
    console.print(f"{example.title}; {how}", soft_wrap=True)
    console.print(table)
    bound = f"{total / pairs:.1f} times less arithmetic than dense attention"
    console.print(f"exactly {pairs:,} of {total:,} pairs are visible: {bound}", soft_wrap=True)


def visible_pairs(example: Example) -> int:
    """The exact count, by the compiler's analysis."""
    from attndsl.analysis.attention import analyse
    from attndsl.analysis.layout import make_layout

    attend: Any = attndsl.load(example.name).attends[-1].op
    layout = make_layout(example.extents, (4,) * len(example.extents))
    sizes = dict(zip(attend.query_tokens.axis_names, example.extents)) | {"heads": 1}
    return analyse(attend, sizes, layout, layout).classes[0].counts.pairs


def main() -> int:
    """The whole demonstration, or a quick one."""
    parser = argparse.ArgumentParser(description="Compiles, checks, times and draws two examples into demo/.")
    parser.add_argument(
        "--quick", action="store_true", help="smaller, without timing dense attention on the video"
    )
    quick = parser.parse_args().quick
    extents = (32, 64) if quick else (64, 128)
    image = Example("neighborhood2d", extents, 8, ("--shape", f"x={extents[0]}x{extents[1]}"))
    video = Example("hunyuan_gna", (30, 48, 80), 1)
    return Demo(image, video, rounds=1 if quick else 5, time_dense_video=not quick).run()


if __name__ == "__main__":
    raise SystemExit(main())
