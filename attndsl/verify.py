"""`attndsl check`: the generated module against the exact definition, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attndsl.api import compile as compile_module
from attndsl.exact import final_values, oracle
from attndsl.ir.program import Program
from attndsl.ir.types import Heads
from attndsl.planning.plan import SAMPLED_ABOVE, sample_fields

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-12, torch.float16: 2e-3}
"""Largest allowed difference, relative to the largest exact value of the tensor."""
LARGE = 5.0
"""Adversarial queries and keys are scaled by this, which gives scores of up to about +-100 at width 16.

They overflow a careless exponential; of still larger ones float32 itself loses 1e-5 of the weights.
"""
SAMPLE = 64
CROWDED = 1 << 22
"""Pairs; with more, one batch element and two heads are enough."""


@dataclass(frozen=True)
class Case:
    """One comparison to run.

    Attributes:
        sizes: the symbols' values and `heads`.
        inputs: `random`, or `large` for scores that overflow a careless exponential.
        dtype: of the inputs; the definition sees the same rounded numbers.
    """

    sizes: dict[str, int]
    inputs: str = "random"
    dtype: torch.dtype = torch.float32
    batch: int = 2
    kv_heads: int | None = None
    width: int = 16
    value_width: int = 16
    seed: int = 0

    @property
    def label(self) -> str:
        """The case in a few words."""
        sizes = ", ".join(f"{name}={value}" for name, value in self.sizes.items() if name != "heads")
        group = f", {self.kv_heads} kv heads" if self.kv_heads else ""
        wide = f", values {self.value_width} wide" if self.value_width != self.width else ""
        return f"{sizes or 'as fixed'}{group}{wide}, {self.inputs}"


@dataclass(frozen=True)
class Outcome:
    """What a comparison found."""

    case: Case
    forward: float
    backward: float
    lse: float

    @property
    def passed(self) -> bool:
        """Whether all errors are within tolerance."""
        return max(self.forward, self.backward, self.lse) <= TOLERANCE[self.case.dtype]

    def to_dict(self) -> dict[str, object]:
        """The outcome as JSON data."""
        case = self.case
        return {
            "sizes": case.sizes,
            "inputs": case.inputs,
            "dtype": str(case.dtype).removeprefix("torch."),
            "forward_error": self.forward,
            "backward_error": self.backward,
            "lse_error": self.lse,
            "tolerance": TOLERANCE[case.dtype],
            "passed": self.passed,
        }


class Verifier:
    """Runs cases on one compiled program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.module = compile_module(program)()
        self.definition = oracle(program)

    def run(self, case: Case) -> Outcome:
        """Compares output, log-sum-exp and all gradients."""
        inputs = make_inputs(self.program, case)
        rows = self._rows(case)
        found = _run(lambda tensors: self._generated(tensors, rows), inputs, case.seed)
        exact_inputs = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
        exact = _run(lambda tensors: self.definition.with_lse(tensors, rows), exact_inputs, case.seed)
        errors = [
            max((relative_error(a, b) for a, b in zip(*pair)), default=0.0) for pair in zip(found, exact)
        ]
        return Outcome(case, *errors)

    def _rows(self, case: Case) -> Tensor | None:
        """A sample of the queries where the dense definition would be too large."""
        ops = [value.op for value in self.program.attends]
        pairs = max(op.query_tokens.count(case.sizes) * op.key_tokens.count(case.sizes) for op in ops)
        if pairs <= SAMPLED_ABOVE or final_values(self.program) != {v.name for v in self.program.attends}:
            return None
        count = min(op.query_tokens.count(case.sizes) for op in ops)
        return torch.randperm(count, generator=torch.Generator().manual_seed(case.seed))[:SAMPLE]

    def _generated(self, tensors: dict[str, Tensor], rows: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        ordered = [
            tensors[value.name] for value in self.program.inputs
        ]  # names may differ: `grid` is `grid_`
        found = self.module(*ordered, return_lse=True)
        results = [found] if len(self.program.results) == 1 else list(found)
        if rows is None:
            return results
        return [(out.flatten(2, -2)[:, :, rows], lse.flatten(2)[:, :, rows]) for out, lse in results]


def _run(call: Any, inputs: dict[str, Tensor], seed: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Outputs, gradients of a fixed random projection of outputs and log-sum-exps, log-sum-exps."""
    leaves = {name: t.detach().clone().requires_grad_(t.is_floating_point()) for name, t in inputs.items()}
    results = call(leaves)
    generator = torch.Generator().manual_seed(seed + 1)
    total: Any = 0.0
    for out, lse in results:
        total = total + (torch.randn(out.shape, generator=generator).double() * out.double()).sum()
        seen = torch.isfinite(lse)
        weights = torch.randn(lse.shape, generator=generator).double()
        total = total + (weights[seen] * lse[seen].double()).sum()
    total.backward()
    grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in leaves.values() if t.requires_grad]
    lses = [lse.detach() for _, lse in results]
    return [out.detach() for out, _ in results], grads, lses


def relative_error(found: Tensor, exact: Tensor) -> float:
    """The largest difference over the largest exact value; infinities and NaNs must agree in place."""
    found, exact = found.double(), exact.double()
    finite = torch.isfinite(exact)
    if not torch.equal(torch.isfinite(found), finite) or not torch.equal(found[~finite], exact[~finite]):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    difference = (found[finite] - exact[finite]).abs().max()
    scale = exact[finite].abs().max()
    return float(difference / scale) if scale > 0 else float(difference)


def make_inputs(program: Program, case: Case) -> dict[str, Tensor]:
    """Inputs for a case, by name."""
    generator = torch.Generator().manual_seed(case.seed)
    heads = {Heads.QUERY: case.sizes["heads"], Heads.KV: case.kv_heads or case.sizes["heads"]}
    labels = sample_fields(program, case.sizes, case.batch, case.sizes["heads"])
    values = {op.v for op in (value.op for value in program.attends)} - {
        name for op in (value.op for value in program.attends) for name in (op.q, op.k)
    }
    inputs: dict[str, Tensor] = {}
    for value in program.inputs:
        type_ = value.type
        if value.name in labels:
            inputs[value.name] = torch.as_tensor(labels[value.name])
            continue
        assert type_.tokens is not None
        shape = [
            case.batch,
            *([heads[type_.heads]] if type_.heads in heads else []),
            *type_.tokens.extents(case.sizes),
        ]
        if type_.width:
            shape.append(case.value_width if value.name in values else case.width)
        tensor = torch.randn(shape, generator=generator)
        if case.inputs == "large" and type_.width and value.name not in values:
            tensor = tensor * LARGE
        inputs[value.name] = tensor.to(case.dtype)
    return inputs


def cases(program: Program, sizes: list[dict[str, int]], heads: int, kv_heads: int | None) -> Iterator[Case]:
    """The cases for some sizes: random and large inputs in float32, random ones in bfloat16, GQA.

    Values have a width of their own in some, so that both fused and plain kernels run.
    """
    for at, size in enumerate(sizes):
        ops = [value.op for value in program.attends]
        pairs = max(op.query_tokens.count(size) * op.key_tokens.count(size) for op in ops)
        if pairs > SAMPLED_ABOVE:
            one = Case({**size, "heads": 1}, batch=1, seed=at)
            yield from (one, replace(one, inputs="large"), replace(one, dtype=torch.bfloat16))
            continue
        crowded = pairs > CROWDED
        here = Case({**size, "heads": min(heads, 2) if crowded else heads}, batch=2 - crowded, seed=at)
        yield replace(here, value_width=24)
        yield here
        yield replace(here, inputs="large")
        yield replace(
            here, kv_heads=kv_heads or max(1, here.sizes["heads"] // 2) if program.grouped else None
        )
        yield replace(here, dtype=torch.bfloat16)
