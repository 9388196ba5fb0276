"""Times one linear-time program beside its formula in a process of its own. Used by linear.py.

python benchmarks/measure_linear.py linear 4096 16384 7
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import torch
from common import interleaved
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transcriptions import TRANSCRIPTIONS, Transcription

import attndsl
from attndsl.language import load_text
from attndsl.verify import relative_error

HEADS, WIDTH = 8, 64
AGREEMENT = 1e-4
"""The largest error."""
OURS, FORMULA, LONG, DENSE = "ours", "formula", "ours, longer", "dense, longer"
"""What is timed."""


@dataclass(frozen=True)
class Measured:
    """What one process found.

    Attributes:
        errors: of the output and of the gradients at the shorter length, relative to the largest value.
        forward, both: seconds of calls by name, without and with a backward pass; ours and the formula's
            took turns.
        against: the same beside dense attention, forward.
    """

    errors: Mapping[str, float]
    forward: Mapping[str, list[float]] = field(default_factory=dict)
    both: Mapping[str, list[float]] = field(default_factory=dict)
    against: Mapping[str, list[float]] = field(default_factory=dict)


class Sized:
    """A program and its formula at one length."""

    def __init__(self, transcription: Transcription, tokens: int) -> None:
        spec, parameters = transcription.spec, dict(transcription.parameters(tokens))
        program = load_text(spec) if "\n" in spec else attndsl.load(spec, **parameters)
        torch.manual_seed(0)
        self.plain = transcription.plain
        self.module = attndsl.compile(program)(heads=HEADS, dim=WIDTH).eval()  # codewords stay where they are
        for tensor in self.module.state_dict().values():
            torch.nn.init.normal_(tensor, std=tensor.shape[0] ** -0.5)
        side = round(tokens**0.5)
        extents = (side, side) if transcription.square else (tokens,)
        self.inputs = {v.name: torch.randn(1, HEADS, *extents, WIDTH) for v in program.inputs}
        self.flat = {name: tensor.flatten(2, -2) for name, tensor in self.inputs.items()}
        self.learned = self.module.state_dict(keep_vars=True)

    def ours(self) -> Tensor:
        """The output of the generated module."""
        return self.module(**self.inputs).flatten(2, -2)

    def formula(self) -> Tensor:
        """The output of the formula."""
        return self.plain({**self.flat, **self.learned})

    def gradients(self, call: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        """The gradients of inputs and parameters, for the same gradient of the output every time."""
        for tensor in self.inputs.values():
            tensor.requires_grad_()
        self.flat = {name: tensor.flatten(2, -2) for name, tensor in self.inputs.items()}
        out = call()
        leaves = [*self.inputs.values(), *self.module.parameters()]
        return torch.autograd.grad(out, leaves, torch.ones_like(out), materialize_grads=True)

    def errors(self) -> dict[str, float]:
        """How far ours is from the formula, relative to the largest value."""
        with torch.no_grad():
            outputs = self.ours(), self.formula()
        gradients = zip(self.gradients(self.ours), self.gradients(self.formula))
        return {
            "forward": relative_error(*outputs),
            "backward": max(relative_error(*pair) for pair in gradients),
        }


def measure(name: str, lengths: tuple[int, int], rounds: int) -> Measured:
    """Compares, then times. Where the results disagree nothing is timed."""
    short, long = (Sized(TRANSCRIPTIONS[name], tokens) for tokens in lengths)
    errors = short.errors()
    if not max(errors.values()) <= AGREEMENT:
        return Measured(errors)
    dense = torch.randn(3, 1, HEADS, lengths[1], WIDTH).unbind()
    with torch.no_grad():
        forward = in_turns({OURS: short.ours, FORMULA: short.formula}, {LONG: long.ours}, rounds)
        beside = {LONG: long.ours, DENSE: lambda: scaled_dot_product_attention(*dense)}
        against = interleaved(beside, max(2, rounds // 4))
    both = in_turns(
        {OURS: lambda: short.gradients(short.ours), FORMULA: lambda: short.gradients(short.formula)},
        {LONG: lambda: long.gradients(long.ours)},
        rounds,
    )
    return Measured(errors, forward, both, against)


Calls = Mapping[str, Callable[[], object]]


def in_turns(equal: Calls, apart: Calls, rounds: int) -> dict[str, list[float]]:
    """Times of two calls that take turns, then of one that would leave cold caches to whoever comes next."""
    return {**interleaved(equal, rounds), **interleaved(apart, rounds)}


if __name__ == "__main__":
    found = measure(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), int(sys.argv[4]))
    print(json.dumps(asdict(found)))
