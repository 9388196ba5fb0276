"""Rates of the GPU itself: what the simulator's device file should say of clocks, memory, launches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from gpu_cases import Case
from gpu_peers import BACKENDS
from gpu_stages import Session, words_of
from gpu_timing import Call, clocks
from torch.nn.attention import sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

MANY, REPEATS = 1000, 50
SUSTAINED_SECONDS = 2.0


def calibrate(session: Session, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """A record per rate; `cases` only say how large tensors may be: small ones are for a CPU."""
    small = all(case.record["size"] == "small" for case in cases)
    scale = 16 if small else 1
    device = session.timer.device
    for name, measure in (
        ("launch", _launch),
        ("memory", _memory),
        ("last-level cache", _cache),
        ("products", _products),
        ("dense attention", _dense),
    ):
        if not session.time_left:
            yield {"case": name, "skipped": "the budget was spent"}
            continue
        try:
            yield {"case": name, **measure(session, device, scale), "clocks": clocks()}
        except Exception as problem:  # one rate that cannot be measured must not lose the others
            yield {"case": name, "failed": words_of(problem)}


def per_call(session: Session, call: Call, repeats: int) -> float:
    """Seconds of one of many calls in a row, caches warm."""
    call()

    def all_of_them() -> None:
        for _ in range(repeats):
            call()

    all_of_them()
    return session.timer.with_host(all_of_them) / repeats


def _launch(session: Session, device: torch.device, scale: int) -> dict[str, Any]:
    tiny = torch.zeros(1, device=device)
    return {"launch_us": 1e6 * per_call(session, lambda: tiny.add_(1.0), MANY // scale)}


def _memory(session: Session, device: torch.device, scale: int) -> dict[str, Any]:
    source = torch.empty((1 << 29) // scale**2, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    seconds = per_call(session, lambda: target.copy_(source), 5)
    strided = source[: 1 << 22].view(64, -1, 64)
    moved = torch.empty(strided.transpose(0, 1).shape, device=device)
    reorder = session.timer.seconds(lambda: moved.copy_(strided.transpose(0, 1)))
    return {
        "copy_gbps": 2 * source.numel() * 4 / seconds / 1e9,
        "strided_copy_gbps": 2 * strided.numel() * 4 / reorder / 1e9,
    }


def _cache(session: Session, device: torch.device, scale: int) -> dict[str, Any]:
    held = torch.empty((1 << 22) // scale, dtype=torch.float32, device=device)
    target = torch.empty_like(held)
    seconds = per_call(session, lambda: target.copy_(held), REPEATS)
    return {"cached_copy_gbps": 2 * held.numel() * 4 / seconds / 1e9}


def _products(session: Session, device: torch.device, scale: int) -> dict[str, Any]:
    side = 8192 // scale
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    short = session.timer.seconds(lambda: torch.mm(a, b))
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SUSTAINED_SECONDS / scale:
        for _ in range(5):
            torch.mm(a, b)
        session.timer.wait()
        count += 5
    sustained = (time.perf_counter() - start) / count
    return {
        "short_tflops": 2 * side**3 / short / 1e12,
        "sustained_tflops": 2 * side**3 / sustained / 1e12,
        "clocks_under_load": clocks(),
    }


def _dense(session: Session, device: torch.device, scale: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tokens, heads = 16384 // scale**2, 16 // scale
    for width in (64, 128):
        q, k, v = (
            torch.randn(1, heads, tokens, width, device=device, dtype=torch.bfloat16) for _ in range(3)
        )
        for name in ("flash", "cuDNN") if session.timer.on_gpu else ("math",):
            with sdpa_kernel(BACKENDS[name]):
                call = partial(scaled_dot_product_attention, q, k, v)
                session.timer.warm_up(call)
                seconds = session.timer.seconds(call)
            found[f"{name}_{width}_tflops"] = 4 * heads * tokens**2 * width / seconds / 1e12
    return found
