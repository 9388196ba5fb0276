"""Attention within parts of an image, on this machine: beside the way its authors compute it.

    python benchmarks/partitions.py            # writes benchmarks/results/partitions.json and partitions.md
    python benchmarks/partitions.py --quick    # a small map, one round, writes nothing

The authors reshape the map so that every part is a batch element of its own (Swin rolls it first), and call a
dense attention. Outputs and gradients are compared first; the exit code is 1 if they disagree.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from common import ROOT, environment, environment_text, interleaved, paired_ratio
from rich.console import Console
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

import attndsl
from attndsl.verify import relative_error

RESULTS = ROOT / "benchmarks" / "results"
HEADS, WIDTH, SIDE, QUICK_SIDE = 8, 64, 112, 14
PART, SHIFT = 7, 3
"""The side of a part, and by how much Swin shifts it."""
AGREEMENT = 1e-4
OURS, AUTHORS = "ours", "authors'"
Plain = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def table_of_pairs(table: Tensor) -> Tensor:
    """The bias of every pair of places in a part, (heads, places, places): key minus query, from -6 to 6."""
    h, w = torch.meshgrid(torch.arange(PART), torch.arange(PART), indexing="ij")
    apart = [axis.flatten() - axis.flatten().unsqueeze(1) + PART - 1 for axis in (h, w)]
    return table[:, apart[0], apart[1]]


def blocks(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, mask: Tensor | None = None) -> Tensor:
    """Parts of neighbours: Tu et al., MaxViT, 2022, block attention."""
    assert table is not None
    batch, heads, height, width, dim = q.shape
    sides = (batch, heads, height // PART, PART, width // PART, PART, dim)
    parts = (t.reshape(sides).permute(0, 2, 4, 1, 3, 5, 6).flatten(4, 5).flatten(0, 2) for t in (q, k, v))
    bias = table_of_pairs(table) if mask is None else table_of_pairs(table) + mask.unsqueeze(1)
    out = sdpa(*parts, attn_mask=bias)
    out = out.view(batch, height // PART, width // PART, heads, PART, PART, dim)
    return out.permute(0, 3, 1, 4, 2, 5, 6).reshape(q.shape)


def shifted(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> Tensor:
    """Parts of a rolled map, whose seams are masked: Liu et al., Swin Transformer, 2021."""
    assert table is not None
    parts = torch.zeros(q.shape[2:4])
    cuts = (slice(0, -PART), slice(-PART, -SHIFT), slice(-SHIFT, None))
    for number, (rows, columns) in enumerate((a, b) for a in cuts for b in cuts):
        parts[rows, columns] = number
    parts = parts.unflatten(0, (-1, PART)).unflatten(2, (-1, PART)).transpose(1, 2).flatten(2).flatten(0, 1)
    mask = torch.zeros(len(parts), PART**2, PART**2)
    mask.masked_fill_(parts.unsqueeze(1) != parts.unsqueeze(2), -torch.inf)
    q, k, v = (t.roll((-SHIFT, -SHIFT), (2, 3)) for t in (q, k, v))
    # The table of the authors goes by query minus key.
    return blocks(q, k, v, table.flip(1, 2), mask).roll((SHIFT, SHIFT), (2, 3))


def grids(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> Tensor:
    """Parts of tokens that are spread evenly: Tu et al., MaxViT, 2022, grid attention."""
    assert table is not None
    batch, heads, height, width, dim = q.shape
    sides = (batch, heads, PART, height // PART, PART, width // PART, dim)
    parts = (t.reshape(sides).permute(0, 3, 5, 1, 2, 4, 6).flatten(4, 5).flatten(0, 2) for t in (q, k, v))
    out = sdpa(*parts, attn_mask=table_of_pairs(table))
    out = out.view(batch, height // PART, width // PART, heads, PART, PART, dim)
    return out.permute(0, 3, 4, 1, 5, 2, 6).reshape(q.shape)


def rows(q: Tensor, k: Tensor, v: Tensor, table: Tensor | None) -> Tensor:
    """Every row for itself: Ho et al., Axial Attention, 2019."""
    return sdpa(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)


PROGRAMS: Mapping[str, Plain] = {
    "swin": shifted,
    "maxvit_block": blocks,
    "maxvit_grid": grids,
    "axial_rows": rows,
}


class Sized:
    """A program and its authors' way on a square map."""

    def __init__(self, name: str, side: int) -> None:
        torch.manual_seed(0)
        self.plain = PROGRAMS[name]
        self.module = attndsl.compile(attndsl.load(name))(heads=HEADS, dim=WIDTH)
        self.inputs = torch.randn(3, 1, HEADS, side, side, WIDTH).unbind()
        self.table = next(self.module.parameters(), None)
        if self.table is not None:
            torch.nn.init.normal_(self.table)

    def ours(self) -> Tensor:
        """The output of the generated module."""
        return self.module(*self.inputs)

    def authors(self) -> Tensor:
        """The output of the plain program."""
        return self.plain(*self.inputs, self.table)

    def gradients(self, call: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        """The gradients of inputs and table."""
        leaves = [*(tensor.requires_grad_() for tensor in self.inputs), *self.module.parameters()]
        out = call()
        return torch.autograd.grad(out, leaves, torch.cos(out.detach()))

    def error(self) -> float:
        """The largest difference of outputs and gradients, relative to the largest value."""
        pairs = [(self.ours(), self.authors())]
        pairs += zip(self.gradients(self.ours), self.gradients(self.authors))
        return max(relative_error(ours.detach(), authors.detach()) for ours, authors in pairs)


@dataclass(frozen=True)
class Row:
    """What was measured of one program: seconds of calls that took turns."""

    program: str
    error: float
    forward: Mapping[str, list[float]]
    both: Mapping[str, list[float]]

    def cells(self) -> Iterator[str]:
        """The cells of its row."""
        yield self.program
        for times in (self.forward, self.both):
            yield from (f"{median(times[name]) * 1e3:.1f}" for name in (OURS, AUTHORS))
            yield f"{paired_ratio(times[AUTHORS], times[OURS]):.2f}×"


def measure(name: str, side: int, rounds: int) -> Row:
    """Compares, then times."""
    sized = Sized(name, side)
    error = sized.error()
    with torch.no_grad():
        forward = interleaved({OURS: sized.ours, AUTHORS: sized.authors}, rounds)
    calls = {OURS: lambda: sized.gradients(sized.ours), AUTHORS: lambda: sized.gradients(sized.authors)}
    return Row(name, error, forward, interleaved(calls, rounds))


def table(found: list[Row]) -> Iterator[str]:
    """The results as Markdown: three columns forward, three forward + backward."""
    yield "| program | forward, ms | authors' | faster | forward + backward, ms | authors' | faster |"
    yield f"|---|{'---:|' * 6}"
    yield from (f"| {' | '.join(row.cells())} |" for row in found)


def main() -> int:
    """Measures all programs and reports."""
    parser = argparse.ArgumentParser(
        description="Attention within parts of an image, beside its authors' way."
    )
    parser.add_argument("--quick", action="store_true", help="a small map; nothing is written")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    side, rounds = (QUICK_SIDE, 1) if args.quick else (SIDE, args.rounds)
    found = [measure(name, side, rounds) for name in PROGRAMS]
    lines, where = list(table(found)), environment()
    Console(highlight=False).print("\n".join(lines), markup=False, soft_wrap=True)
    if not args.quick:
        document = {"environment": where, "rows": [vars(row) for row in found]}
        (RESULTS / "partitions.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        about = (
            f"{SIDE}×{SIDE} tokens, {HEADS} heads, width {WIDTH}, float32; `python benchmarks/partitions.py`."
        )
        text = ["# Attention within parts of an image, on a CPU", "", environment_text(where), "", about]
        text += ["A ratio is the median over rounds in which both take turns.", "", *lines]
        (RESULTS / "partitions.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    return 0 if all(row.error <= AGREEMENT for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
