"""Softmax over gathered keys: score, bias, mask, weights, log-sum-exp, in the accumulation type."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism


def softmax_attention(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: list[Tensor],
    j: list[Tensor],
    visible: Tensor,
) -> tuple[Tensor, Tensor]:
    """Output (..., queries, width) and natural log-sum-exp (..., queries).

    A query that sees no key gets zeros and minus infinity, and its gradient is zero.
    """
    dtype = at["dtype"]
    group = q.shape[1] // k.shape[1]
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    s = (q * mechanism.scale(at)) @ k.transpose(-1, -2)
    if mechanism.score is not None:
        s = mechanism.score(s, *i, *j, at)
    if mechanism.bias is not None:
        s = s + mechanism.bias(*i, *j, at)
    visible = visible & (s > -torch.inf)
    s = torch.where(visible, s, -torch.inf)
    top = s.detach().amax(-1, keepdim=True)
    top = torch.where(top == -torch.inf, 0.0, top)
    weight = torch.where(visible, torch.exp(torch.where(visible, s, top) - top), 0.0)
    total = weight.sum(-1, keepdim=True)
    empty = total == 0
    total = torch.where(empty, 1.0, total)
    lse = torch.where(empty, -torch.inf, torch.log(total) + top)
    return (weight @ v) / total, lse.squeeze(-1)
