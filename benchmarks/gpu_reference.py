"""The exact result and gradients of some queries and some keys, dense and in float64, from the modifiers.

All queries would take n * n scores. A query's own gradient needs its row alone; a key's needs its column, the
log-sum-exps and the outputs of all queries, which rows have confirmed on a sample by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gpu_cases import Case
from torch import Tensor

SAMPLE = 64
"""Queries, and keys, that are compared; all where there are no more than `ALL`."""
ALL = 512


@dataclass(frozen=True)
class Sample:
    """Exact values of some queries: (batch, heads, sample, width), log-sum-exps without the width.

    Attributes:
        learned: gradients of learned tensors by name, where the sample is all queries.
    """

    out: Tensor
    lse: Tensor
    grad_q: Tensor
    learned: Mapping[str, Tensor]


def sample_of(case: Case) -> Tensor:
    """Numbers of tokens: the first, the last, and others at random."""
    if case.tokens <= ALL:
        return torch.arange(case.tokens, device=case.device)
    inner = torch.randperm(case.tokens - 2, generator=torch.Generator().manual_seed(2))[: SAMPLE - 2] + 1
    return torch.cat([torch.tensor([0, case.tokens - 1]), inner]).sort().values.to(case.device)


def shaped_scores(case: Case, s: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Scores after score function and bias, and which are visible; `queries` a column, `keys` a row."""
    batch = torch.zeros((), dtype=torch.long, device=s.device)
    head = torch.arange(case.heads, device=s.device).view(-1, 1, 1)
    modifiers = case.modifiers
    visible = torch.ones((), dtype=torch.bool, device=s.device)
    if modifiers.mask_mod is not None:
        visible = modifiers.mask_mod(batch, head, queries, keys)
    shaped = s
    if modifiers.score_mod is not None:
        shaped = modifiers.score_mod(s, batch, head, queries, keys)
    return shaped, visible.expand(shaped.shape)


def exact_rows(case: Case, index: Tensor) -> Sample:
    """Outputs, log-sum-exps and gradients of queries; a query without keys has zeros."""
    q, k, v = (tensor.double() for tensor in case.features)
    rows = q[:, :, index].detach().requires_grad_()
    every = torch.arange(case.tokens, device=q.device)
    names = [a["name"] for a in case.record["arguments"] if a["kind"] == "learned"]
    learned = {name: case.inputs[name].double().requires_grad_() for name in names}
    vars(case.modifiers).update(learned)
    s = rows @ k.transpose(-1, -2) * case.record["scale"]
    shaped, visible = shaped_scores(case, s, index[:, None], every[None, :])
    shaped = shaped.double().masked_fill(~visible, float("-inf"))
    lse = shaped.logsumexp(-1)
    weights = torch.where(visible, (shaped - lse.detach().nan_to_num(neginf=0.0)[..., None]).exp(), 0.0)
    out = weights.detach() @ v
    upstream = case.upstream.double()[:, :, index]
    slopes = weights.detach() * (upstream @ v.transpose(-1, -2) - (upstream * out).sum(-1, keepdim=True))
    (slopes * shaped.masked_fill(~visible, 0.0)).sum().backward()
    assert rows.grad is not None
    vars(case.modifiers).update({name: case.inputs[name] for name in names})
    whole = len(index) == case.tokens
    grads = {n: t.grad for n, t in learned.items() if whole and t.grad is not None}
    return Sample(out, lse.detach(), rows.grad, grads)


def exact_columns(case: Case, index: Tensor, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of keys and of values.

    Args:
        out, lse: of all queries, as the kernels found them: (batch, heads, tokens, width), without the width.
    """
    q, k, v = (tensor.double() for tensor in case.features)
    columns = k[:, :, index].detach().requires_grad_()
    every = torch.arange(case.tokens, device=q.device)
    s = q @ columns.transpose(-1, -2) * case.record["scale"]
    shaped, visible = shaped_scores(case, s, every[:, None], index[None, :])
    shaped = shaped.double()
    exponent = (shaped - lse.double()[..., None].nan_to_num(neginf=0.0)).detach()
    weights = torch.where(visible, exponent.exp(), 0.0)
    upstream = case.upstream.double()
    delta = (upstream * out.double()).sum(-1, keepdim=True)
    slopes = weights * (upstream @ v[:, :, index].transpose(-1, -2) - delta)
    (slopes * shaped.masked_fill(~visible, 0.0)).sum().backward()
    assert columns.grad is not None
    return columns.grad, weights.transpose(-1, -2) @ upstream


def error(found: Tensor, exact: Tensor) -> float:
    """The largest difference over the largest exact value; infinities must be in the same places."""
    found, exact = found.double(), exact.double()
    finite = torch.isfinite(exact)
    if not torch.equal(torch.isfinite(found), finite):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    scale = float(exact[finite].abs().max())
    return float((found[finite] - exact[finite]).abs().max()) / max(scale, 1e-6)
