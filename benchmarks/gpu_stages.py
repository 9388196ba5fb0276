"""The stages of `benchmarks/gpu.py`. Each yields a record per case, so that a time-out keeps what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gpu_cases import Case
from gpu_peers import MODES, Peer, peers_of
from gpu_reference import error, exact_columns, exact_rows, sample_of
from gpu_timing import Timer, clocks, interleaved
from torch import Tensor

PEER_TOLERANCE = 4e-2
"""Ours and a peer both round to 16 bits."""


@dataclass(frozen=True)
class Session:
    """What the stages share.

    Attributes:
        timer: of the device.
        deadline: on the monotonic clock; no case starts after it.
        rounds, seconds: of timing, per case.
        modes: in which FlexAttention is compiled; it is not if there are none.
        backend: which kernels ours takes.
    """

    timer: Timer
    deadline: float
    rounds: int = 20
    seconds: float = 4.0
    modes: tuple[str, ...] = tuple(MODES)
    backend: str = "triton"

    @property
    def time_left(self) -> bool:
        """Whether another case may start."""
        return time.monotonic() < self.deadline


Stage = Callable[[Session, Sequence[Case]], Iterator[dict[str, Any]]]


def each(session: Session, cases: Sequence[Case], run: Callable[[Session, Case], dict[str, Any]]) -> Iterator:
    """Runs the cases while there is time; an error of one is its record, and the others follow."""
    for case in cases:
        if not session.time_left:
            yield {"case": case.key, "skipped": "the budget was spent"}
            continue
        start = time.perf_counter()
        try:
            case.module.__dict__["BACKEND"] = session.backend
            record = run(session, case)
        except Exception as problem:  # a crash of one case must not lose the others
            record = {"case": case.key, "failed": words_of(problem)}
        yield {**record, "wall_s": time.perf_counter() - start, "clocks": clocks()}
        case.forget()
        torch._dynamo.reset()  # the next case is compiled for itself
        if session.timer.on_gpu:
            torch.cuda.empty_cache()


def words_of(problem: Exception) -> str:
    """An error in a line."""
    lines = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {lines[0][:200]}"


def correct(session: Session, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Outputs, log-sum-exps and gradients against the definition, on a sample of queries and keys."""
    yield from each(session, cases, _correct)


def _correct(session: Session, case: Case) -> dict[str, Any]:
    leaves = {
        name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in case.inputs.items()
    }
    start = time.perf_counter()
    out, lse = case.run(leaves, lse=True)
    session.timer.wait()
    first = time.perf_counter() - start
    out.backward(case.upstream.view(out.shape))
    flat, lse = out.detach().flatten(2, -2), lse.detach().flatten(2)
    features = [n for n, a in zip(leaves, case.record["arguments"]) if a["kind"] == "feature"]
    grads = [grad_of(leaves[name]) for name in features]
    index = sample_of(case)
    rows = exact_rows(case, index)
    errors = {
        "out": error(flat[:, :, index], rows.out),
        "lse": error(lse[:, :, index], rows.lse),
        "dq": error(grads[0][:, :, index], rows.grad_q),
    }
    if max(errors.values()) <= case.tolerance:  # columns build on outputs and log-sum-exps
        columns = exact_columns(case, index, flat, lse)
        errors |= {n: error(g[:, :, index], e) for n, g, e in zip(("dk", "dv"), grads[1:], columns)}
    for name, exact in rows.learned.items():
        grad = leaves[name].grad
        errors[f"d {name}"] = float("inf") if grad is None else error(grad, exact)
    wrong = not max(errors.values()) <= case.tolerance
    return {
        "case": case.key,
        "errors": errors,
        "tolerance": case.tolerance,
        "compared": len(index),
        "wrong": wrong,
        "first_call_s": first,
    }


def grad_of(leaf: Tensor) -> Tensor:
    """A gradient as (batch, heads, tokens, width)."""
    assert leaf.grad is not None
    return leaf.grad.flatten(2, -2)


def forward(session: Session, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Times of the forward pass beside the peers'."""
    yield from each(session, cases, lambda s, c: _timed(s, c, backward=False))


def backward(session: Session, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Times of the backward pass alone beside the peers'."""
    yield from each(session, cases, lambda s, c: _timed(s, c, backward=True))


def _timed(session: Session, case: Case, backward: bool) -> dict[str, Any]:
    timer = session.timer
    start = time.perf_counter()
    expected = case.run(case.inputs)
    timer.wait()
    first = time.perf_counter() - start
    ours = _own_call(case, backward)
    calls: dict[str, Callable[[], object]] = {}
    peers: dict[str, dict[str, Any]] = {}
    for peer in peers_of(case, session.modes):
        try:
            call, record = _peer_call(timer, case, peer, expected, backward)
        except Exception as problem:  # what the compiler of another library raises is not known
            peers[peer.name] = {"failed": words_of(problem), "configuration": peer.configuration}
            continue
        calls[peer.name], peers[peer.name] = call, record
    times, ratios = interleaved(timer, ours, calls, session.rounds, session.seconds)
    for name, record in peers.items():
        if name in times:
            record |= {**times[name].to_dict(), "ratio": _ratio(ratios[name].seconds)}
    return {
        "case": case.key,
        "pass": "bwd" if backward else "fwd",
        "ours": {**times["ours"].to_dict(), "with_host_ms": 1e3 * timer.with_host(ours)},
        "configuration": configuration_of(case, backward),
        "first_call_s": first,
        "peers": peers,
        "flops": case.flops(backward),
        "dense_flops": case.dense_flops(backward),
        "predicted": case.record["predicted"]["bwd" if backward else "fwd"],
    }


def _ratio(values: Sequence[float]) -> list[float]:
    """Median and quartiles."""
    ordered = sorted(values)
    return [ordered[len(ordered) * share // 4] for share in (2, 1, 3)]


def _own_call(case: Case, backward: bool) -> Callable[[], object]:
    if not backward:
        return lambda: case.run(case.inputs)
    leaves = {n: t.detach().requires_grad_(t.is_floating_point()) for n, t in case.inputs.items()}
    out = case.run(leaves)
    wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]
    upstream = case.upstream.view(out.shape)
    return lambda: torch.autograd.grad(out, wanted, upstream, retain_graph=True)


def _peer_call(
    timer: Timer, case: Case, peer: Peer, expected: Tensor, backward: bool
) -> tuple[Callable[[], object], dict[str, Any]]:
    """The call that is timed, and what is known of the peer: its first call, and how far it is from ours."""
    features = [peer.reordered(tensor).detach() for tensor in case.features]
    start = time.perf_counter()
    with torch.no_grad():
        found = peer.attend(*features)
    timer.wait()
    record: dict[str, Any] = {
        "configuration": peer.configuration,
        "first_call_s": time.perf_counter() - start,
    }
    if peer.same:
        record["difference"] = error(peer.in_rows(found), expected.flatten(2, -2))
        record["agrees"] = record["difference"] <= PEER_TOLERANCE
    if peer.order is not None:
        permutation = peer.permutation(case)
        timer.warm_up(permutation)
        record["permutation_ms"] = 1e3 * timer.seconds(permutation)
    if not backward:
        return no_grad(peer.attend, features), record
    leaves = [tensor.requires_grad_() for tensor in features]
    out = peer.attend(*leaves)
    upstream = peer.reordered(case.upstream)
    return (lambda: torch.autograd.grad(out, leaves, upstream, retain_graph=True)), record


def no_grad(attend: Callable[..., Tensor], features: Sequence[Tensor]) -> Callable[[], object]:
    """A call that keeps nothing for a backward pass."""

    def call() -> Tensor:
        with torch.no_grad():
            return attend(*features)

    return call


def configuration_of(case: Case, backward: bool) -> Mapping[str, str]:
    """Tiles, warps and stages of our kernels."""
    module, numbers = case.module, torch.finfo(case.dtype).bits // 8
    kernels = ("query gradient", "key gradient") if backward else ("forward",)
    looks_up = len(case.record["arguments"]) > 3
    architecture = module.architecture_of(case.device)
    found: dict[str, str] = {}
    for kernel in kernels:
        try:
            chosen = module.configuration(kernel, case.width, numbers, architecture, looks_up)
        except TypeError:  # a file without look-ups has no such argument
            chosen = module.configuration(kernel, case.width, numbers, architecture)
        found[kernel] = f"{chosen.queries}x{chosen.keys}, {chosen.warps} warps, {chosen.stages} stages"
    return found
