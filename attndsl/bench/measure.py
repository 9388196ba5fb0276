"""One benchmark: the generated module against dense attention and FlexAttention, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attndsl.bench.peers import FlexPeer, flex_peers
from attndsl.bench.timing import Ratio, Times, interleaved, ratio
from attndsl.ir.program import Program
from attndsl.planning.sizes import Sizes, completed
from attndsl.verify import Case, Outcome, Verifier, make_inputs, make_learned

AGREEMENT = 1e-4
"""The largest difference between our output and a peer's, relative to the largest value."""
DENSE = "dense SDPA"


@dataclass(frozen=True)
class Setting:
    """What is measured: sizes (symbols and heads), batch, width, type, rounds, threads of PyTorch.

    `density` is the share of true values in bool inputs; if None, they come in stretches.
    """

    sizes: Sizes
    batch: int = 1
    dim: int = 64
    dtype: str = "float32"
    rounds: int = 5
    flex: bool = True
    density: float | None = None
    threads: int | None = None
    backward: bool = True


@dataclass(frozen=True)
class Bench:
    """What was found.

    Attributes:
        outcome: the check against the exact definition, on a sample of queries where there are many.
        first_call: seconds of the first call, planning included.
        times: per call, e.g. `forward` and `dense SDPA forward`.
        ratios: per peer and pass, how many times longer the peer takes.
        notes: what was left out, and why.
    """

    setting: Setting
    outcome: Outcome
    first_call: float
    times: Mapping[str, Times]
    ratios: Mapping[str, Ratio]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        setting = self.setting
        return {
            "sizes": setting.sizes,
            "batch": setting.batch,
            "dim": setting.dim,
            "dtype": setting.dtype,
            "threads": torch.get_num_threads(),
            "check": self.outcome.to_dict(),
            "first_call_ms": self.first_call * 1e3,
            "times": {name: times.to_dict() for name, times in self.times.items()},
            "ratios": {name: found.to_dict() for name, found in self.ratios.items()},
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Calls:
    """A generated module that was checked, and dense attention over as many tokens.

    Attributes:
        outcome: the check, if there was one.
        first_call: seconds of the first call, planning included.
        inputs: by name; `given` are these and the learned parameters, in order.
        dense: queries, keys and values of dense attention.
        ours: the module's function.
        expected: its first result.
    """

    outcome: Outcome | None
    first_call: float
    inputs: Mapping[str, Tensor]
    given: list[Tensor]
    dense: list[Tensor]
    ours: Callable[..., Tensor]
    expected: Tensor

    @property
    def forward(self) -> dict[str, Callable[[], object]]:
        """Both calls, by name."""
        return {"forward": lambda: self.ours(*self.given), f"{DENSE} forward": lambda: _sdpa(*self.dense)}


def checked_calls(program: Program, setting: Setting, check: bool = True) -> Calls:
    """Checks a program's generated module at a setting, unless not asked to, and plans its attends.

    Raises:
        ArithmeticError: the module does not compute what the definition says.
    """
    verifier = Verifier(program)
    case = Case(dict(setting.sizes), batch=setting.batch, width=setting.dim, value_width=setting.dim)
    outcome = verifier.run(case) if check else None
    if outcome is not None and not outcome.passed:
        raise ArithmeticError(f"the generated module is wrong: {outcome.to_dict()}")
    inputs = _inputs(program, case, setting)
    learned = make_learned(program, case)
    given = [*(inputs[v.name] for v in program.inputs), *(learned[v.name] for v in program.learned)]

    def ours(*tensors: Tensor) -> Tensor:
        found, _, _ = verifier.generated.compute(*tensors, None, False)
        return found if isinstance(found, Tensor) else found[0]

    getattr(verifier.generated, "PLANS", {}).clear()
    start = time.perf_counter()
    expected = ours(*given)
    first_call = time.perf_counter() - start
    shape, dtype = dense_shape(program, setting), getattr(torch, setting.dtype)
    dense = [torch.randn(shape, dtype=dtype) for _ in range(3)]
    return Calls(outcome, first_call, inputs, given, dense, ours, expected)


def measure(program: Program, setting: Setting) -> Bench:
    """Checks, then times.

    Raises:
        ArithmeticError: the module, or a peer, does not compute what the definition says.
    """
    if setting.threads is not None:
        torch.set_num_threads(setting.threads)
    calls = checked_calls(program, setting)
    assert calls.outcome is not None
    notes: list[str] = []
    forward = {**calls.forward, **_flex_calls(program, setting, calls.inputs, calls.expected, notes)}
    with torch.no_grad():
        times = interleaved(forward, setting.rounds)
    ratios = {name: ratio(found, times["forward"]) for name, found in times.items() if name != "forward"}
    if setting.backward:
        both = {
            "forward + backward": lambda: _with_gradients(calls.ours, calls.given),
            f"{DENSE} forward + backward": lambda: _with_gradients(_sdpa, calls.dense),
        }
        times |= interleaved(both, max(2, setting.rounds // 2))
        ratios |= {name: ratio(times[name], times["forward + backward"]) for name in list(both)[1:]}
    return Bench(setting, calls.outcome, calls.first_call, times, ratios, tuple(notes))


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v)


def _inputs(program: Program, case: Case, setting: Setting) -> dict[str, Tensor]:
    inputs = make_inputs(program, case)
    if setting.density is not None:
        generator = torch.Generator().manual_seed(0)
        for name, tensor in inputs.items():
            if tensor.dtype == torch.bool:
                inputs[name] = torch.rand(tensor.shape, generator=generator) < setting.density
    return {n: t.to(getattr(torch, setting.dtype)) if t.is_floating_point() else t for n, t in inputs.items()}


def dense_shape(program: Program, setting: Setting) -> tuple[int, ...]:
    """Dense attention over as many tokens as the longest input of vectors has."""
    sizes = completed(program, {**setting.sizes, **{f"{v.name}.width": setting.dim for v in program.inputs}})
    vectors = [value for value in program.inputs if value.type.width is not None] or program.inputs
    count = max(value.type.tokens.count(sizes) for value in vectors)
    return setting.batch, setting.sizes["heads"], count, setting.dim


def _flex_calls(
    program: Program, setting: Setting, inputs: Mapping[str, Tensor], expected: Tensor, notes: list[str]
) -> dict[str, Callable[[], object]]:
    """Compiled FlexAttention, in the forms that can express the program; each is compared first."""
    if not setting.flex:
        notes.append("FlexAttention was not asked for")
        return {}
    peers = flex_peers(program, {**setting.sizes}, setting.dim, inputs)
    if isinstance(peers, str):
        notes.append(f"FlexAttention cannot express it: {peers}")
        return {}
    notes.append("FlexAttention has no backward pass on a CPU")
    op = program.attends[0].op
    tensors = [inputs[name].flatten(2, -2) for name in op.tensors]
    calls: dict[str, Callable[[], object]] = {}
    for peer in peers:
        try:
            call = peer.call(*tensors)
            found = call()
        except Exception as error:  # what the compiler of another library raises is not known
            notes.append(f"{peer.name} failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
            continue
        _compare(peer, found, expected)
        calls[f"{peer.name} forward"] = call
    return calls


def _compare(peer: FlexPeer, found: Tensor, expected: Tensor) -> None:
    expected = expected.flatten(2, -2)
    difference = float((peer.in_order(found) - expected).abs().max() / expected.abs().max())
    if not difference <= AGREEMENT:
        raise ArithmeticError(f"{peer.name} and the generated module differ by {difference:.1e}")


def _with_gradients(call: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
    out = call(*leaves)
    out.backward(torch.ones_like(out))
