"""`attndsl check`: the generated module against the exact definition, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from attndsl.api import import_source, source
from attndsl.exact import oracle
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend, Lowered
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import SINGLE, Channels
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import evaluate
from attndsl.planning.plan import SAMPLED_ABOVE, can_sample, most_pairs, sample_fields
from attndsl.planning.sizes import completed

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-12, torch.float16: 2e-3}
"""Largest allowed difference, relative to the largest exact value of the tensor."""
LARGE = 5.0
"""Adversarial queries and keys are scaled by this, which gives scores of up to about +-100 at width 16.

They overflow a careless exponential; of still larger ones float32 itself loses 1e-5 of the weights.
"""
LARGE_INDIRECTLY = 2.0
"""As much where inputs reach the scores through other operators, which multiply them further."""
LEAST_SHARE = 0.25
"""Of the largest value of all tensors: smaller ones are compared with this."""
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
    choices: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all errors are within tolerance."""
        errors = (self.forward, self.backward, self.lse, self.choices)
        return max(errors) <= TOLERANCE[self.case.dtype]

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
            "choice_error": self.choices,
            "tolerance": TOLERANCE[case.dtype],
            "passed": self.passed,
        }


class Verifier:
    """Runs cases on one compiled program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.generated = import_source(source(program), program.name)
        self.definition = oracle(program)
        self.has_lse = all(program.value(name).type.partial for name in program.results)

    def run(self, case: Case) -> Outcome:
        """Compares outputs, losses, log-sum-exps and all gradients; discrete choices in two steps.

        The definition takes the module's choices (codes) as they are; how far each is from the best one
        is an error of its own.
        """
        inputs, learned = make_inputs(self.program, case), make_learned(self.program, case)
        rows = self._rows(case)
        choices: dict[str, Tensor] = {}
        with _recorded(self.program, self.generated, choices):
            found = _run(lambda i, p: self._generated(i, p, rows, case), inputs, learned, case.seed)
        exact_inputs, exact_learned = (
            {n: t.double() if t.is_floating_point() else t for n, t in part.items()}
            for part in (inputs, learned)
        )
        regrets: dict[str, float] = {}

        def define(tensors: dict[str, Tensor], weights: dict[str, Tensor]) -> Results:
            meaning = self.definition.run(tensors, weights, choices, rows)
            regrets.update(meaning.regrets)
            found = meaning.results if self.has_lse else [(out, None) for out, _ in meaning.results]
            return [*found, *((loss, None) for loss in meaning.losses.values())]

        exact = _run(define, exact_inputs, exact_learned, case.seed)
        forward, backward, lse = (largest_error(*pair) for pair in zip(found, exact))
        return Outcome(case, forward, backward, lse, max(regrets.values(), default=0.0))

    def _rows(self, case: Case) -> Tensor | None:
        """A sample of the queries where the dense definition would be too large."""
        if not can_sample(self.program) or most_pairs(self.program, case.sizes) <= SAMPLED_ABOVE:
            return None
        sizes = completed(self.program, case.sizes)
        count = min(value.op.query_tokens.count(sizes) for value in self.program.attends)
        return torch.randperm(count, generator=torch.Generator().manual_seed(case.seed))[:SAMPLE]

    def _generated(
        self, tensors: dict[str, Tensor], weights: dict[str, Tensor], rows: Tensor | None, case: Case
    ) -> Results:
        # Names may differ (`grid` is `grid_`), so arguments go by position.
        given = [tensors[v.name] for v in self.program.inputs] + [
            weights[v.name] for v in self.program.learned
        ]
        found, losses, _ = self.generated.compute(*given, None, self.has_lse)
        results = [found] if len(self.program.results) == 1 else list(found)
        if not self.has_lse:
            results = [(out, None) for out in results]
        if rows is not None:
            results = [(out.flatten(2, -2)[:, :, rows], lse.flatten(2)[:, :, rows]) for out, lse in results]
        return [*results, *((loss, None) for loss in losses.values())]


Results = list[tuple[Tensor, Any]]
"""Values with their log-sum-exp or None."""


@contextmanager
def _recorded(program: Program, generated: ModuleType, choices: dict[str, Tensor]) -> Iterator[None]:
    """Remembers what the generated module decides, by the name of the value."""
    deciding = [value for value in program.computed if value.op.discrete]
    functions = {_function(value) for value in deciding}
    waiting = {name: [v.name for v in deciding if _function(v) == name] for name in functions}
    originals = {name: getattr(generated, name) for name in functions}

    def recorder(function: str) -> Callable[..., Tensor]:
        def record(*args: Any) -> Tensor:
            result = originals[function](*args)
            choices[waiting[function].pop(0)] = result
            return result

        return record

    for name in functions:
        setattr(generated, name, recorder(name))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(generated, name, function)


def _function(value: Value) -> str:
    """The kernel function that computes a value."""
    lowered = value.op.lowered()
    assert isinstance(lowered, Lowered)
    return lowered.function


def _run(
    call: Callable[[dict[str, Tensor], dict[str, Tensor]], Results],
    inputs: dict[str, Tensor],
    learned: dict[str, Tensor],
    seed: int,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Outputs, gradients of a fixed random projection of outputs and log-sum-exps, log-sum-exps."""
    leaves, weights = (
        {name: t.detach().clone().requires_grad_(t.is_floating_point()) for name, t in part.items()}
        for part in (inputs, learned)
    )
    results = call(leaves, weights)
    generator = torch.Generator().manual_seed(seed + 1)
    total: Any = 0.0
    for out, lse in results:
        total = total + (torch.randn(out.shape, generator=generator).double() * out.double()).sum()
        if lse is not None:
            seen = torch.isfinite(lse)
            factors = torch.randn(lse.shape, generator=generator).double()
            total = total + (factors[seen] * lse[seen].double()).sum()
    total.backward()
    every = [t for t in (*leaves.values(), *weights.values()) if t.requires_grad]
    grads = [torch.zeros_like(t) if t.grad is None else t.grad for t in every]
    return (
        [out.detach() for out, _ in results],
        grads,
        [lse.detach() for _, lse in results if lse is not None],
    )


def largest_error(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest relative error of several tensors.

    Some gradients are zero by cancellation, their rounding is not: a quarter of the largest value of all is
    the least scale.
    """
    sizes = (float(e[torch.isfinite(e)].abs().max()) for e in exact if bool(torch.isfinite(e).any()))
    least = LEAST_SHARE * max(sizes, default=0.0)
    return max((relative_error(a, b, least) for a, b in zip(found, exact)), default=0.0)


def relative_error(found: Tensor, exact: Tensor, least: float = 0.0) -> float:
    """The largest difference over the largest exact value; infinities and NaNs must agree in place."""
    found, exact = found.double(), exact.double()
    finite = torch.isfinite(exact)
    if not torch.equal(torch.isfinite(found), finite) or not torch.equal(found[~finite], exact[~finite]):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    difference = (found[finite] - exact[finite]).abs().max()
    scale = max(float(exact[finite].abs().max()), least)
    return float(difference) / scale if scale > 0 else float(difference)


def make_inputs(program: Program, case: Case) -> dict[str, Tensor]:
    """Inputs for a case, by name."""
    generator = torch.Generator().manual_seed(case.seed)
    sizes = _sizes(program, case)
    labels = sample_fields(program, sizes, case.batch, case.sizes["heads"])
    values = value_inputs(program)
    # Scores of channels are sums over tokens, which makes them large as they are.
    over_tokens = any(isinstance(value.op.key_tokens.origin, Channels) for value in program.attends)
    inputs: dict[str, Tensor] = {}
    for value in program.inputs:
        if value.name in labels:
            inputs[value.name] = torch.as_tensor(labels[value.name])
            continue
        tensor = torch.randn(_shape(value.type, sizes, case.batch), generator=generator)
        if case.inputs == "large" and value.type.width is not None and value.name not in values:
            tensor = tensor * (LARGE if values else 1.0 if over_tokens else LARGE_INDIRECTLY)
        inputs[value.name] = tensor.to(case.dtype)
    return inputs


def make_learned(program: Program, case: Case) -> dict[str, Tensor]:
    """Learned tensors and state for a case: random, of a size that keeps what they produce near one."""
    generator = torch.Generator().manual_seed(case.seed + 2)
    sizes = _sizes(program, case)
    tensors: dict[str, Tensor] = {}
    for value in program.learned:
        tensor = torch.randn(_shape(value.type, sizes, case.batch), generator=generator)
        if value.op.fan_in is not None:
            tensor = tensor * float(evaluate(value.op.fan_in, sizes, EXACT)) ** -0.5
        elif not value.op.state:
            tensor = tensor * 0.3
        tensors[value.name] = 1.0 + tensor.abs() if value.op.init == "ones" else tensor
    return tensors


def _sizes(program: Program, case: Case) -> dict[str, int]:
    values = value_inputs(program)
    widths = {
        f"{value.name}.width": case.value_width if value.name in values else case.width
        for value in program.inputs
        if value.type.width is not None
    }
    return completed(program, {**widths, "kv heads": case.kv_heads or case.sizes["heads"], **case.sizes})


def _shape(type_: FeatureType, sizes: dict[str, int], batch: int) -> list[int]:
    extents = type_.tokens.extents(sizes)
    if not type_.batch:
        extents = tuple(axis.bound or extent for axis, extent in zip(type_.tokens.axes, extents))
    counts = [evaluate(count, sizes, EXACT) for count in (type_.heads, type_.width) if count is not None]
    heads, width = counts[: type_.heads is not None], counts[len(counts) - (type_.width is not None) :]
    return [*([batch] if type_.batch else []), *heads, *(() if type_.tokens == SINGLE else extents), *width]


def value_inputs(program: Program) -> set[str]:
    """Inputs that serve as values only, and only of attends: their width is their own."""
    inputs = {value.name for value in program.inputs}
    if any(not isinstance(v.op, Attend) or not inputs >= set(v.op.tensors) for v in program.computed):
        return set()
    ops = [value.op for value in program.attends]
    return {op.v for op in ops} - {name for op in ops for name in (op.q, op.k)}


def cases(program: Program, sizes: list[dict[str, int]], heads: int, kv_heads: int | None) -> Iterator[Case]:
    """The cases for some sizes: random and large inputs in float32, random ones in bfloat16, GQA.

    Values have a width of their own in some, so that both fused and plain kernels run.
    """
    for at, size in enumerate(sizes):
        pairs = most_pairs(program, size)
        if pairs > SAMPLED_ABOVE and can_sample(program):
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
