"""Attention whose weights are plain products: sums over keys come first, so the cost is linear in the tokens.

out[i] = scale * q[i] @ (sum over j of k[j] v[j])          Katharopoulos et al., Linear transformers, 2020
causal: the sum runs over j <= i, chunk by chunk with a carried state
decay: its terms are multiplied by exp(a[i] - a[j])        Sun et al., Retentive networks, 2023
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.causal import CausalProducts
from attndsl_codegen.kernels.definition import away_from_zero, coordinates, weighted_rows
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_query_head


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
        k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
        decay = None if mechanism.decay is None else token_decay(mechanism, at, q)
        out, sums = CausalProducts.apply(q, k, v, decay, divides)
        out = divided(out, scaled_sum(sums, scale)) if divides else multiplied(out, scale)
    elif divides:
        sums = q @ per_query_head(k.sum(2, keepdim=True), q.shape[1]).transpose(-1, -2)
        out = divided(products(q, k, v, 1.0), scaled_sum(sums, scale))
    else:
        out = products(q, k, v, scale)
    return out.to(kind), None


def divided(total: Tensor, by: Tensor) -> Tensor:
    """A quotient in place of what is divided, unless the backward pass needs that."""
    return total / by if total.requires_grad else total.div_(by)


def multiplied(total: Tensor, by: float) -> Tensor:
    """A product, likewise."""
    return total * by if total.requires_grad else total.mul_(by)


def scaled_sum(sums: Tensor, scale: float) -> Tensor:
    """What unscaled products are divided by: the scaled row sum, kept away from zero, over the scale."""
    return away_from_zero(sums * scale) / scale if scale else torch.full_like(sums, torch.inf)


def products(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """scale * q @ k.T @ v: the keys and values first, unless there are fewer tokens than channels."""
    heads = q.shape[1]
    if q.shape[2] * k.shape[2] <= k.shape[-1] * v.shape[-1]:
        return (q @ per_query_head(k, heads).transpose(-1, -2) * scale) @ per_query_head(v, heads)
    return q @ per_query_head(k.transpose(-1, -2) @ v * scale, heads)


def token_decay(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor) -> Tensor:
    """The decay of every token, (batch, heads, tokens, 1), in float64: changes of large sums are small."""
    places = coordinates(mechanism.query.extents(at), q.device)
    head = torch.arange(q.shape[1], device=q.device).view(-1, 1, 1, 1)
    places = [place.view(1, -1, 1) for place in places]
    found = mechanism.decay(*places, {**at, "head": head, "real dtype": torch.float64})
    found = torch.as_tensor(found, dtype=torch.float64, device=q.device)
    return found[(None,) * (5 - found.dim())].squeeze(2).expand(*q.shape[:3], 1)
