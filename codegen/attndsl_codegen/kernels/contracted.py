"""Attention whose weights are plain products: sums over keys come first, so the cost is linear in the tokens.

out[i] = scale * q[i] @ (sum over j of k[j] v[j])          Katharopoulos et al., Linear transformers, 2020
causal: the sum runs over j <= i, chunk by chunk with a carried state
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.definition import away_from_zero, weighted_rows
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_query_head

CAUSAL_CHUNK = 128
"""Queries that a causal step computes directly."""


def contracted(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, None]:
    """The attend in the cheaper order of its products."""
    if mechanism.causal and "offset" in at:  # a decoding step: few queries, every key
        out, _ = weighted_rows(mechanism, at, torch.arange(q.shape[2], device=q.device), q, k, v)
        return out.to(v.dtype), None
    kind, dtype, scale = v.dtype, at["real dtype"], mechanism.scale(at)
    q, k, v = ((t if t.dtype == dtype else t.to(dtype)) for t in (q, k, v))
    divides = mechanism.normalize == "linear"
    if mechanism.causal:
        if divides:
            v = torch.cat([v, v.new_ones(*v.shape[:3], 1)], -1)
        total = CausalProducts.apply(q, per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1]))
        out = total[..., :-1] / scaled_sum(total[..., -1:], scale) if divides else total * scale
    elif divides:
        sums = q @ per_query_head(k.sum(2, keepdim=True), q.shape[1]).transpose(-1, -2)
        out = products(q, k, v, 1.0) / scaled_sum(sums, scale)
    else:
        out = products(q, k, v, scale)
    return out.to(kind), None


def scaled_sum(sums: Tensor, scale: float) -> Tensor:
    """What unscaled products are divided by: the scaled row sum, kept away from zero, over the scale."""
    return away_from_zero(sums * scale) / scale if scale else torch.full_like(sums, torch.inf)


def products(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """scale * q @ k.T @ v: the keys and values first, unless there are fewer tokens than channels."""
    heads = q.shape[1]
    if q.shape[2] * k.shape[2] <= k.shape[-1] * v.shape[-1]:
        return (q @ per_query_head(k, heads).transpose(-1, -2) * scale) @ per_query_head(v, heads)
    return q @ per_query_head(k.transpose(-1, -2) @ v * scale, heads)


class CausalProducts(torch.autograd.Function):
    """y[i] = sum over j <= i of (q[i] . k[j]) v[j]; only its arguments are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The sums."""
        ctx.save_for_backward(q, k, v)
        return running_products(q, k, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each gradient is such a sum again: over earlier keys for queries, over later queries for keys."""
        q, k, v = ctx.saved_tensors
        (g,) = grads
        grad_q = running_products(g, v, k)
        grad_k = running_products(v, g, q, later=True)
        return grad_q, grad_k, running_products(k, q, g, later=True)


def running_products(q: Tensor, k: Tensor, v: Tensor, later: bool = False) -> Tensor:
    """Sums over j <= i, or with `later` over j >= i, of (q[i] . k[j]) v[j]."""
    out = q.new_empty(*q.shape[:3], v.shape[-1])
    state = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1])
    starts = range(0, q.shape[2], CAUSAL_CHUNK)
    for start in reversed(starts) if later else starts:
        here = slice(start, start + CAUSAL_CHUNK)
        qs, ks, vs = q[:, :, here], k[:, :, here], v[:, :, here]
        near = qs @ ks.transpose(-1, -2)
        near = near.triu_() if later else near.tril_()
        out[:, :, here] = near @ vs + qs @ state
        state += ks.transpose(-1, -2) @ vs
    return out
