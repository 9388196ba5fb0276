"""Compiles what the later stages time: the first call of every peer, forward and backward, and of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gpu_cases import Case
from gpu_peers import peers_of
from gpu_stages import Session, each, words_of


def compile_peers(session: Session, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """A record per case: seconds of the first calls. PyTorch and Triton keep the results on disk."""
    yield from each(session, cases, _compile)


def _compile(session: Session, case: Case) -> dict[str, Any]:
    seconds: dict[str, Any] = {}
    start = time.perf_counter()
    leaves = {n: t.detach().requires_grad_(t.is_floating_point()) for n, t in case.inputs.items()}
    out = case.run(leaves)
    out.backward(case.upstream.view(out.shape))
    session.timer.wait()
    seconds["ours"] = time.perf_counter() - start
    for peer in peers_of(case, session.modes):
        start = time.perf_counter()
        features = [peer.reordered(tensor).detach() for tensor in case.features]
        try:
            with torch.no_grad():
                peer.attend(*features)
            found = peer.attend(*(tensor.requires_grad_() for tensor in features))
            found.backward(peer.reordered(case.upstream))
            session.timer.wait()
            seconds[peer.name] = time.perf_counter() - start
        except Exception as problem:  # what the compiler of another library raises is not known
            seconds[peer.name] = words_of(problem)
    return {"case": case.key, "seconds": seconds}
