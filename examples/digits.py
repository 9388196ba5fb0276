"""Trains two small vision transformers on 8x8 digits: one with neighbourhood attention, one with dense attention.

    python examples/digits.py                 # both within about a minute on two cores
    python examples/digits.py --epochs 30 --seed 7

Every pixel is a token. The two models share data, seed, initial weights, learning rates and number of
epochs; only the attention between the tokens differs. Needs torch and scikit-learn (attndsl[torch,examples]).
The exit code is 1 if neighbourhood attention does not get more than 96 % of the test images right.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

import attndsl

SIDE, CLASSES = 8, 10
WINDOW = 5
TARGET = 0.96
Core = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of queries, keys and values, (batch, heads, h, w, width) each."""


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every pixel attends to every pixel."""
    return F.scaled_dot_product_attention(*(t.flatten(2, 3) for t in (q, k, v))).view_as(q)


class Block(nn.Module):
    """A transformer block: attention and a multi-layer perceptron, each behind a norm and added to its input."""

    def __init__(self, core: Core, dim: int, heads: int) -> None:
        super().__init__()
        self.core, self.heads = core, heads
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, h, w, dim) to the same shape."""
        attend, think = self.norms
        q, k, v = self.to_qkv(attend(x)).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        x = x + self.to_out(self.core(q, k, v).permute(0, 2, 3, 1, 4).flatten(3))
        return x + self.mlp(think(x))


class DigitTransformer(nn.Module):
    """Embeds pixels and their positions, runs the blocks, averages over the image and classifies."""

    def __init__(self, core: Core, dim: int = 64, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(1, dim)
        self.position = nn.Parameter(0.02 * torch.randn(SIDE, SIDE, dim))
        self.blocks = nn.Sequential(*(Block(core, dim, heads) for _ in range(depth)))
        self.classify = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (batch, 8, 8) to logits (batch, 10)."""
        x = self.embed(images.unsqueeze(-1)) + self.position
        return self.classify(self.blocks(x).mean((1, 2)))


@dataclass(frozen=True)
class Data:
    """Images in [-1, 1] and their labels."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def load_data() -> Data:
    """A fixed fifth of every digit is held out for the test."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    x_train, x_test = (torch.tensor(part, dtype=torch.float32).view(-1, SIDE, SIDE) / 8 - 1 for part in parts[:2])
    y_train, y_test = (torch.tensor(part) for part in parts[2:])
    return Data((x_train, y_train), (x_test, y_test))


def batches(images: Tensor, labels: Tensor, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch in random order, every batch moved by up to one pixel."""
    for rows in torch.randperm(len(images), generator=generator).split(size):
        down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
        padded = F.pad(images[rows], (1, 1, 1, 1), value=-1.0)
        yield padded[:, down : down + SIDE, right : right + SIDE], labels[rows]


@dataclass
class Run:
    """One model in training, with an optimiser and a random generator of its own."""

    name: str
    core: Core
    pairs: int
    epochs: int
    seed: int
    batch: int = 64
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = DigitTransformer(self.core)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=0.05)

    def epoch(self, data: Data, advance: Callable[[], None]) -> None:
        """Trains for an epoch; the learning rate warms up in the first epoch and then falls along a cosine."""
        start = time.perf_counter()
        steps = -(-len(data.train[0]) // self.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR
        if not self.seconds:
            self.schedule = schedule(self.optimizer, 2e-3, total_steps=self.epochs * steps, pct_start=0.1)
        for images, labels in batches(*data.train, self.batch, self.generator):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(images), labels, label_smoothing=0.1).backward()
            self.optimizer.step()
            self.schedule.step()
            advance()
        self.seconds.append(time.perf_counter() - start)

    @torch.no_grad()
    def accuracy(self, data: Data) -> float:
        """The share of test images that are classified correctly."""
        images, labels = data.test
        return float((self.model(images).argmax(-1) == labels).float().mean())
