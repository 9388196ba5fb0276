"""Trains two small character-level language models: one with quantised keys (Transformer-VQ), one with dense.

    python examples/charlm.py                     # both in a few minutes on two cores; draws charlm.png
    python examples/charlm.py --steps 800 --codes 128 --seed 7

The text is made up by tales.py: people and places are invented, then come back. The models share data, seed,
initial weights and learning rates; only the attention differs: examples/transformer_vq.attn, whose cost is
linear in the tokens, and examples/causal.attn. As in the Transformer-VQ paper, queries and keys are
normalised before the attention; here for both. Needs torch (attndsl[torch]). The exit code is 1 if the model
with quantised keys needs more than half of the bits that the frequencies of the characters alone would need.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch
from charlm_report import Curves, Outcome, Usage, print_outcome, write_page, write_plot
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from tales import tales
from torch import Tensor, nn
from torch.nn import functional as F

import attndsl

CONTEXT, BLOCK = 256, 32
"""Characters that a model sees at once; of them, as many as two blocks exactly."""
TRAINING, HELD_OUT = 300_000, 30_000
"""Characters."""
HELD_OUT_SEED = 1_000_003
"""Added to the seed: other tales, with other names."""
LEAST_STEPS = 20
"""The learning rate rises for a tenth of the steps, at least for two."""
COMMITMENT = 1e-3
"""The weight of the commitment loss."""
Core = Callable[[], nn.Module]
"""Makes the attention of one layer, called with queries, keys and values (batch, heads, tokens, width)."""


class Attention(nn.Module):
    """Projections around an attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.core: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, tokens, dim) to the same shape."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (F.layer_norm(t, t.shape[-1:]) for t in (q, k))
        return self.to_out(self.core(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block: attention and a small network, each behind a norm and added to its input."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_attend, self.norm_think = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = Attention(dim, heads)
        self.think = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, tokens, dim) to the same shape."""
        x = x + self.attend(self.norm_attend(x))
        return x + self.think(self.norm_think(x))


class LanguageModel(nn.Module):
    """Embeds characters, mixes each with the three before it, runs the blocks, predicts the next one."""

    def __init__(self, core: Core, characters: int, dim: int = 128, heads: int = 4, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, dim)
        self.position = nn.Parameter(torch.randn(CONTEXT, dim) / 50)
        self.mix = nn.Conv1d(dim, dim, 4, padding=3, groups=dim)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.predict = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, characters))
        for attend in self.attends:  # last, so that all else starts alike whatever a core draws
            attend.core = core()

    @property
    def attends(self) -> list[Attention]:
        """The attention of every layer."""
        return [block.attend for block in self.blocks if isinstance(block, Block)]

    def forward(self, text: Tensor) -> Tensor:
        """Maps characters (batch, tokens) to logits (batch, tokens, characters)."""
        x = self.embed(text) + self.position[: text.shape[1]]
        mixed = self.mix(x.transpose(1, 2))[..., : text.shape[1]].transpose(1, 2)
        return self.predict(self.blocks(x + mixed))

    @property
    def commitment(self) -> Tensor | None:
        """The codebooks' loss in the last call, averaged over the layers; None without codebooks."""
        found = [attend.core.losses["commit"] for attend in self.attends if hasattr(attend.core, "losses")]
        return torch.stack(found).mean() if found else None


class Training:
    """One model in training, with an optimiser, a learning rate and random numbers of its own."""

    def __init__(self, core: Core, characters: int, seed: int, steps: int, batch: int) -> None:
        torch.manual_seed(seed)
        self.model = LanguageModel(core, characters)
        self.generator, self.batch = torch.Generator().manual_seed(seed), batch
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(  # a short warm-up, then a cosine
            self.optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1
        )
        self.curves, self.seconds, self.done = Curves(), list[float](), 0

    def learn(self, text: Tensor, steps: int, advance: Callable[[], None]) -> None:
        """Takes some steps, each on random stretches of the text."""
        self.model.train()
        bits, commitment = 0.0, 0.0
        for _ in range(steps):
            start = time.perf_counter()
            begins = torch.randint(len(text) - CONTEXT, (self.batch,), generator=self.generator)
            rows = text[begins.unsqueeze(-1) + torch.arange(CONTEXT + 1)]
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            commit = self.model.commitment
            (loss if commit is None else loss + COMMITMENT * commit).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.seconds.append(time.perf_counter() - start)
            bits += float(loss.detach()) / math.log(2) / steps
            commitment += 0.0 if commit is None else float(commit.detach()) / steps
            advance()
        self.done += steps
        self.curves.train.append((self.done, bits))
        self.curves.commitment.append((self.done, commitment))
        self.curves.usage.append((self.done, usage(self.model)))

    @torch.no_grad()
    def test(self, text: Tensor) -> float:
        """Bits per character of a text, in stretches that begin without a past; codebooks stay."""
        self.model.eval()
        rows = text[: (len(text) - 1) // CONTEXT * CONTEXT].view(-1, CONTEXT)
        following = text[1 : rows.numel() + 1].view(-1, CONTEXT)
        nats = [
            F.cross_entropy(self.model(part).flatten(0, 1), target.flatten(), reduction="sum")
            for part, target in zip(rows.split(16), following.split(16))
        ]
        bits = float(torch.stack(nats).sum()) / rows.numel() / math.log(2)
        self.curves.held_out.append((self.done, bits))
        return bits


def usage(model: LanguageModel) -> list[Usage]:
    """How evenly the codewords of every layer are used, averaged over the heads."""
    found: list[Usage] = []
    for attend in model.attends:
        for name, tokens in attend.core.named_buffers():
            if name.endswith("_weight"):  # a running mean of the tokens per step, (heads, codes)
                share = tokens / tokens.sum(-1, keepdim=True)
                spread = torch.exp(torch.special.entr(share).sum(-1))
                found.append(Usage(float((tokens >= 1).double().mean()), float(spread.mean())))
    return found


def encoded(text: str, characters: str) -> Tensor:
    """The number of every character."""
    return torch.tensor([characters.index(character) for character in text])


def unigram_bits(text: str) -> float:
    """The entropy of the frequencies of the characters, in bits."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def train_side_by_side(
    cores: dict[str, Core], texts: tuple[str, str], args: argparse.Namespace
) -> dict[str, Training]:
    """Trains a model per attention, taking turns so that a busy machine slows both alike."""
    characters = "".join(sorted(set("".join(texts))))
    train, held_out = (encoded(text, characters) for text in texts)
    models = {
        name: Training(core, len(characters), args.seed, args.steps, args.batch)
        for name, core in cores.items()
    }
    words = TextColumn("{task.description:<10}"), TextColumn("{task.fields[score]}")
    with Progress(words[0], BarColumn(), MofNCompleteColumn(), words[1]) as progress:
        bars = {name: progress.add_task(name, total=args.steps, score="") for name in models}
        for steps in rounds(args.steps):
            for name, model in models.items():
                model.learn(train, steps, lambda bar=bars[name]: progress.advance(bar))
                progress.update(bars[name], score=f"{model.test(held_out):.3f} bits per character, held out")
    return models


def rounds(steps: int) -> Iterator[int]:
    """Steps between two tests: few at first, when most is learnt, then more."""
    size, left = max(5, steps // 40), steps
    while left:
        yield min(size, left)
        left -= min(size, left)
        size = min(size + 1, max(5, steps // 16))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Quantised keys and dense attention as language models.")
    parser.add_argument("--steps", type=int, default=400, help="of the optimiser, per model (default 400)")
    parser.add_argument("--batch", type=int, default=8, help="stretches of text per step (default 8)")
    parser.add_argument("--codes", type=int, default=64, help="codewords per head (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="for text, weights and order (default 0)")
    parser.add_argument("--plot", type=Path, default=Path("charlm.png"), help="the curves, .png or .svg")
    parser.add_argument("--report", type=Path, help="also write what was measured as Markdown")
    parser.add_argument("--quick", action="store_true", help="30 small steps: is training alive?")
    args = parser.parse_args()
    if args.steps < LEAST_STEPS or args.batch < 1 or args.codes < 1:
        parser.error(f"at least {LEAST_STEPS} steps, 1 stretch per step and 1 codeword are needed")
    args.held_out = HELD_OUT
    if args.quick:
        args.steps, args.batch, args.held_out = 30, 4, HELD_OUT // 10
    return args


def main() -> int:
    """Trains both models, reports, and says by the exit code whether the target was met."""
    args = parse()
    console = Console(highlight=False)
    texts = tales(args.seed, TRAINING), tales(args.seed + HELD_OUT_SEED, args.held_out)
    unigram = unigram_bits(texts[0])
    console.print(f"{len(texts[0]):,} characters to learn from; {unigram:.2f} bits each by frequency alone")
    heads, width = 4, 32
    quantised = attndsl.compile(attndsl.load("transformer_vq", codes=args.codes, block=BLOCK))
    dense = attndsl.compile(attndsl.load("causal"))
    start = time.perf_counter(), time.process_time()
    cores: dict[str, Core] = {"codebook": lambda: quantised(heads=heads, dim=width), "dense": dense}
    models = train_side_by_side(cores, texts, args)
    outcomes = [Outcome(name, model.curves, median(model.seconds)) for name, model in models.items()]
    minutes, processor = ((now() - at) / 60 for now, at in zip((time.perf_counter, time.process_time), start))
    print_outcome(console, outcomes, args.codes, unigram, minutes)
    write_plot(outcomes, args.codes, unigram, args.plot)
    console.print(f"curves: {args.plot}")
    if args.report:
        where = f"torch {torch.__version__} on the CPU, threads: {torch.get_num_threads()}"
        write_page(outcomes, args, unigram, (minutes, processor), where)
    bits, target = outcomes[0].bits, unigram * (0.95 if args.quick else 0.5)
    verdict = "[green]reached[/green]" if bits < target else "[bold red]missed[/bold red]"
    console.print(f"target for the codebook: less than {target:.2f} bits per character: {verdict}")
    return 0 if bits < target else 1


if __name__ == "__main__":
    raise SystemExit(main())
