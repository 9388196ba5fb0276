"""Trains two small vision transformers on 8x8 digits: one with neighbourhood attention, one with dense.

    python examples/digits.py                 # both in about a minute on two cores
    python examples/digits.py --epochs 30 --seed 7

Every pixel is a token. The two models share data, seed, initial weights, learning rates and the number of
epochs; only the attention between the tokens differs. Needs torch and scikit-learn (attndsl[torch,examples]).
The exit code is 1 if neighbourhood attention does not get more than 96 % of the test images right.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

import attndsl

SIDE, CLASSES, WINDOW, BATCH = 8, 10, 3, 32
TARGET, QUICK_TARGET = 0.96, 0.4
Core = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of queries, keys and values, (batch, heads, h, w, width) each."""
Images = tuple[Tensor, Tensor]
"""Images (count, 8, 8) in [-1, 1], and their labels."""


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every pixel attends to every pixel."""
    return F.scaled_dot_product_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3)).view_as(q)


class Block(nn.Module):
    """A transformer block: attention and a small network, each behind a norm and added to its input."""

    def __init__(self, core: Core, dim: int, heads: int) -> None:
        super().__init__()
        self.core, self.heads = core, heads
        self.norm_attend, self.norm_think = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, h, w, dim) to the same shape."""
        qkv = self.to_qkv(self.norm_attend(x)).unflatten(-1, (3, self.heads, -1))
        found = self.core(*qkv.permute(3, 0, 4, 1, 2, 5))
        x = x + self.to_out(found.permute(0, 2, 3, 1, 4).flatten(3))
        return x + self.think(self.norm_think(x))


class DigitTransformer(nn.Module):
    """Embeds every pixel with its neighbours and its position, runs the blocks, averages and classifies."""

    def __init__(self, core: Core, dim: int = 64, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, dim, 3, padding=1)  # overlapping patches, as in the NAT paper
        self.position = nn.Parameter(torch.randn(SIDE, SIDE, dim) / 10)
        self.blocks = nn.Sequential(*(Block(core, dim, heads) for _ in range(depth)))
        self.classify = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (batch, 8, 8) to logits (batch, 10)."""
        x = self.embed(images.unsqueeze(1)).permute(0, 2, 3, 1) + self.position
        return self.classify(self.blocks(x).mean((1, 2)))


def load_data() -> tuple[Images, Images]:
    """The training images, and the fifth of every digit that is held out for the test; always the same."""
    pixels, labels = load_digits(return_X_y=True)
    parts = train_test_split(pixels, labels, test_size=0.2, stratify=labels, random_state=0)
    train, test = (torch.tensor(part, dtype=torch.float32).view(-1, SIDE, SIDE) / 8 - 1 for part in parts[:2])
    return (train, torch.tensor(parts[2])), (test, torch.tensor(parts[3]))


def batches(data: Images, generator: torch.Generator) -> Iterator[Images]:
    """An epoch in random order; every batch is moved by up to one pixel."""
    images, labels = data
    for rows in torch.randperm(len(images), generator=generator).split(BATCH):
        down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
        padded = F.pad(images[rows], (1, 1, 1, 1), value=-1.0)
        yield padded[:, down : down + SIDE, right : right + SIDE], labels[rows]


class Training:
    """One model in training, with an optimiser, a learning rate and random numbers of its own."""

    def __init__(self, core: Core, seed: int, steps: int) -> None:
        torch.manual_seed(seed)
        self.model = DigitTransformer(core)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(  # a short warm-up, then a cosine
            self.optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1
        )
        self.seconds: list[float] = []

    def epoch(self, data: Images, advance: Callable[[], None]) -> None:
        """Sees all training images once."""
        start = time.perf_counter()
        for images, labels in batches(data, self.generator):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(images), labels, label_smoothing=0.1).backward()
            self.optimizer.step()
            self.schedule.step()
            advance()
        self.seconds.append(time.perf_counter() - start)

    @torch.no_grad()
    def accuracy(self, data: Images) -> float:
        """The share of images that are classified correctly."""
        images, labels = data
        return float((self.model(images).argmax(-1) == labels).double().mean())


def train_side_by_side(
    cores: dict[str, Core], train: Images, test: Images, epochs: int, seed: int
) -> dict[str, Training]:
    """Trains a model per attention, taking turns by epoch so that a busy machine slows both alike."""
    steps = epochs * -(-len(train[0]) // BATCH)
    models = {name: Training(core, seed, steps) for name, core in cores.items()}
    words = TextColumn("{task.description:<10}"), TextColumn("{task.fields[score]}")
    with Progress(words[0], BarColumn(), MofNCompleteColumn(), words[1]) as progress:
        bars = {name: progress.add_task(name, total=steps, score="") for name in models}
        for _ in range(epochs):
            for name, model in models.items():
                model.epoch(train, lambda bar=bars[name]: progress.advance(bar))
                progress.update(bars[name], score=f"test accuracy {model.accuracy(test):.1%}")
    return models


def results(models: dict[str, Training], pairs: dict[str, int], test: Images) -> Table:
    """Accuracy, time and work of both models."""
    table = Table("attention", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("test accuracy", "seconds/epoch", "query-key pairs per head"):
        table.add_column(column, justify="right")
    for name, model in models.items():
        table.add_row(name, f"{model.accuracy(test):.2%}", f"{median(model.seconds):.2f}", f"{pairs[name]:,}")
    return table


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Neighbourhood and dense attention, trained on 8x8 digits.")
    parser.add_argument(
        "--epochs", type=int, default=12, help="how often each model sees the images (default 12)"
    )
    parser.add_argument("--seed", type=int, default=0, help="for weights, order and shifts (default 0)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"2 epochs, and {QUICK_TARGET:.0%} right are enough: is training alive?",
    )
    return parser.parse_args()


def main() -> int:
    """Trains both models, prints the comparison, and says by the exit code whether the target was met."""
    args = parse()
    epochs, target = (2, QUICK_TARGET) if args.quick else (args.epochs, TARGET)
    program = attndsl.load("neighborhood2d", size=(WINDOW, WINDOW))
    neighborhood = f"{WINDOW}x{WINDOW} window"
    cores = {neighborhood: attndsl.compile(program)(), "dense": dense}
    pairs = {neighborhood: int(attndsl.mask(program, h=SIDE, w=SIDE).sum()), "dense": SIDE**4}
    train, test = load_data()
    console = Console(highlight=False)
    console.print(f"{len(train[0]):,} images to learn from, {len(test[0])} to be tested on; seed {args.seed}")
    models = train_side_by_side(cores, train, test, epochs, args.seed)
    console.print(results(models, pairs, test))
    console.print("64 tokens are too few to save time by skipping some; `make demo` times thousands.")
    reached = models[neighborhood].accuracy(test)
    verdict = "[green]reached[/green]" if reached > target else "[bold red]missed[/bold red]"
    console.print(f"target for the {neighborhood}: more than {target:.0%}: {verdict}")
    return 0 if reached > target else 1


if __name__ == "__main__":
    raise SystemExit(main())
