"""What charlm.py measured: tables, a picture of the curves, and a page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curves import Curve, Panel, draw
from rich.console import Console
from rich.table import Table

from attndsl.picture import palette


@dataclass(frozen=True)
class Usage:
    """One codebook at one time, averaged over the heads.

    Attributes:
        used: the share of codewords that stand for at least one token per step.
        spread: how many codewords would be as hard to guess if all were equally frequent (the perplexity).
    """

    used: float
    spread: float


@dataclass
class Curves:
    """What is recorded while a model learns: pairs of a step and a value."""

    train: list[tuple[int, float]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    commitment: list[tuple[int, float]] = field(default_factory=list)
    usage: list[tuple[int, list[Usage]]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """One model: what was recorded, and the median seconds of a step."""

    name: str
    curves: Curves
    seconds: float

    @property
    def bits(self) -> float:
        """Bits per character of the held-out text, in the end."""
        return self.curves.held_out[-1][1]

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The cells of its row."""
        train = self.curves.train[-1][1]
        return self.name, f"{self.bits:.3f}", f"{train:.3f}", f"{self.seconds * 1e3:.0f}"


COLUMNS = "attention", "held-out bits/character", "training bits/character", "ms/step"
USAGE_COLUMNS = "layer", "codewords in use", "perplexity of the codes", "of"


def usage_rows(outcome: Outcome, codes: int) -> list[tuple[str, ...]]:
    """The codebooks at the end, a row per layer."""
    return [
        (str(layer), f"{use.used:.0%}", f"{use.spread:.1f}", str(codes))
        for layer, use in enumerate(outcome.curves.usage[-1][1], 1)
    ]


def print_outcome(
    console: Console, outcomes: Sequence[Outcome], codes: int, unigram: float, minutes: float
) -> None:
    """The tables on the terminal."""
    quantised = outcomes[0]
    for columns, rows in (
        (COLUMNS, [outcome.row for outcome in outcomes]),
        (USAGE_COLUMNS, usage_rows(quantised, codes)),
    ):
        table = Table(columns[0], box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in columns[1:]:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    first, last = quantised.curves.commitment[0][1], quantised.curves.commitment[-1][1]
    console.print(f"squared distance of keys from codewords: {first:.2f} at first, {last:.2f} at the end")
    console.print(f"{minutes:.1f} minutes for both; by frequency alone: {unigram:.2f} bits/character")


def write_plot(outcomes: Sequence[Outcome], codes: int, unigram: float, path: Path) -> None:
    """Losses, codebook usage and commitment over the steps."""
    quantised, dense = outcomes
    steps = quantised.curves.train[-1][0]
    losses = Panel(
        f"bits per character ({unigram:.2f} by frequency alone); dashed: training",
        "steps",
        [
            Curve("codebook", quantised.curves.held_out, palette.VISIBLE),
            Curve("dense", dense.curves.held_out, palette.PARTIAL),
            Curve("", quantised.curves.train, palette.VISIBLE, dashed=True),
            Curve("", dense.curves.train, palette.PARTIAL, dashed=True),
            Curve("frequency", [(0, unigram), (steps, unigram)], palette.RULE),
        ],
    )
    colours = palette.VISIBLE, palette.PARTIAL, palette.QUERY, palette.SOFT
    layers = range(len(quantised.curves.usage[-1][1]))

    def per_layer(title: str, value: str, factor: float) -> Panel:
        return Panel(
            title,
            "steps",
            [
                Curve(
                    f"layer {layer + 1}",
                    [(step, factor * getattr(uses[layer], value)) for step, uses in quantised.curves.usage],
                    colours[layer % len(colours)],
                )
                for layer in layers
            ],
        )

    panels = [
        losses,
        per_layer("codewords in use, %", "used", 100.0),
        per_layer(f"perplexity of the codes, of {codes}", "spread", 1.0),
        Panel(
            "squared distance of keys from codewords",
            "steps",
            [Curve("mean of layers", quantised.curves.commitment, palette.VISIBLE)],
        ),
    ]
    words = (
        f"held out after {steps} steps: {quantised.bits:.3f} bits per character with the codebook, "
        f"{dense.bits:.3f} with dense attention"
    )
    draw(panels, "Two language models in training", words, path)


PAGE = """\
# A language model with quantised keys

Two character-level models on made-up tales (`examples/tales.py`): attention to quantised keys
(`examples/transformer_vq.attn`, {codes} codewords per head) and dense causal attention, everything else
alike, initial weights included. {steps} steps of {batch} stretches of 256 characters each, seed {seed};
{minutes:.1f} minutes for both on the clock, {processor:.1f} of the processor;
{where}.

    {command}

{table}

By the frequencies of characters alone: {unigram:.2f} bits per character.

Codebooks at the end, averaged over heads:

{usage}

The mean squared distance of a key from its codeword (keys have a squared length of 32) goes from {first:.2f}
in the first {early} steps to {last:.2f} in the last ones.

![Curves]({plot})
"""


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all but the first column hold numbers."""
    ruler = ["---"] + ["---:"] * (len(columns) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, ruler, *rows))


def write_page(
    outcomes: Sequence[Outcome],
    args: argparse.Namespace,
    unigram: float,
    spent: tuple[float, float],
    where: str,
) -> None:
    """The results as Markdown.

    Args:
        spent: minutes on the clock and of the processor.
    """
    minutes, processor = spent
    quantised = outcomes[0]
    text = PAGE.format(
        codes=args.codes,
        where=where,
        steps=args.steps,
        batch=args.batch,
        seed=args.seed,
        minutes=minutes,
        processor=processor,
        command=f"python examples/charlm.py --steps {args.steps} --batch {args.batch} --codes {args.codes} "
        f"--seed {args.seed} --plot {args.plot} --report {args.report}",
        table=markdown(COLUMNS, [outcome.row for outcome in outcomes]),
        usage=markdown(USAGE_COLUMNS, usage_rows(quantised, args.codes)),
        unigram=unigram,
        first=quantised.curves.commitment[0][1],
        early=quantised.curves.commitment[0][0],
        last=quantised.curves.commitment[-1][1],
        plot=args.plot.name,
    )
    args.report.write_text(text, encoding="utf-8")
