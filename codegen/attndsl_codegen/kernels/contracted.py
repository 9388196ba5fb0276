"""Attention whose weights are plain products: sums over keys come first, so the cost is linear in the tokens.

out[i] = scale * q[i] @ (sum over j of k[j] v[j])          Katharopoulos et al., Linear transformers, 2020
causal: the sum runs over j <= i, chunk by chunk with a carried state
decay: its terms are multiplied by exp(a[i] - a[j])        Sun et al., Retentive networks, 2023
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.definition import away_from_zero, coordinates, weighted_rows
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
        k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
        decay = None if mechanism.decay is None else token_decay(mechanism, at, q)
        out, sums = CausalProducts.apply(q, k, v, decay, divides)
        out = divided(out, scaled_sum(sums, scale)) if divides else out * scale
    elif divides:
        sums = q @ per_query_head(k.sum(2, keepdim=True), q.shape[1]).transpose(-1, -2)
        out = divided(products(q, k, v, 1.0), scaled_sum(sums, scale))
    else:
        out = products(q, k, v, scale)
    return out.to(kind), None


def divided(total: Tensor, by: Tensor) -> Tensor:
    """A quotient in place of what is divided, unless the backward pass needs that."""
    return total / by if total.requires_grad else total.div_(by)


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


class CausalProducts(torch.autograd.Function):
    """y[i] = sum over j <= i of (q[i] . k[j]) v[j], and the sums of the products q[i] . k[j] themselves.

    With a decay, terms are multiplied by exp(decay[i] - decay[j]). Only the arguments are kept for the
    backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None, sums: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Both sums, (batch, heads, tokens, width) and, if asked for, (batch, heads, tokens, 1)."""
        ctx.save_for_backward(q, k, v, decay)
        found = running_products((q,), (k,), (v, ones_for(v)) if sums else (v,), decay)
        return found[0], found[1] if sums else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
        """Each gradient is such a sum again: over earlier keys for queries, over later queries for keys.

        A decay gets what queries get along themselves, less what keys get along themselves.
        """
        q, k, v, decay = ctx.saved_tensors
        grads = (grad_out,) if grad_sums is None else (grad_out, grad_sums)
        values = (v,) if grad_sums is None else (v, ones_for(v))
        (grad_q,) = running_products(grads, values, (k,), decay)
        (grad_k,) = running_products(values, grads, (q,), decay, later=True)
        (grad_v,) = running_products((k,), (q,), (grad_out,), decay, later=True)
        grad_decay = None
        if ctx.needs_input_grad[3]:
            grad_decay = ((q * grad_q).sum(-1, keepdim=True) - (k * grad_k).sum(-1, keepdim=True)).double()
        return grad_q, grad_k, grad_v, grad_decay, None


Columns = Sequence[Tensor]
"""Tensors (batch, heads, tokens, width) that stand side by side as one; only chunks of it are made."""


def ones_for(v: Tensor) -> Tensor:
    """A channel of ones for every token, without memory of its own."""
    return v.new_ones(1, 1, 1, 1).expand(*v.shape[:3], 1)


def running_products(
    q: Columns, k: Columns, v: Columns, decay: Tensor | None = None, later: bool = False
) -> list[Tensor]:
    """Sums over j <= i, or with `later` over j >= i, of (q[i] . k[j]) v[j], one for each tensor of v.

    Args:
        decay: terms are multiplied by exp(decay[i] - decay[j]), with `later` by exp(decay[j] - decay[i]).
    """
    out = [q[0].new_empty(*q[0].shape[:3], part.shape[-1]) for part in v]
    widths = [sum(part.shape[-1] for part in columns) for columns in (k, v)]
    state = q[0].new_zeros(*q[0].shape[:2], *widths)
    left: Left | None = None
    starts = range(0, q[0].shape[2], CAUSAL_CHUNK)
    for start in reversed(starts) if later else starts:
        here = slice(start, start + CAUSAL_CHUNK)
        qs, ks, vs = (chunk_of(columns, here) for columns in (q, k, v))
        near = qs @ ks.transpose(-1, -2)
        if decay is not None:
            left = what_is_left(decay, here, later, near.dtype)
            near *= left.near
            qs, ks = qs * left.from_state, ks * left.to_state
        near = near.triu_() if later else near.tril_()
        found = near @ vs
        found += qs @ state
        if left is not None:
            state *= left.of_state
        state += ks.transpose(-1, -2) @ vs
        for whole, part in zip(out, found.split([part.shape[-1] for part in v], -1)):
            whole[:, :, here] = part
    return out


class Left(NamedTuple):
    """What a decay leaves of things, as factors.

    Attributes:
        near: of the tokens of a chunk, one at the place of another.
        from_state: of the state at every token, (..., tokens, 1); the state is that of the first token.
        to_state: of every token in the next state.
        of_state: of the state in the next one, (..., 1, 1).
    """

    near: Tensor
    from_state: Tensor
    to_state: Tensor
    of_state: Tensor


def what_is_left(decay: Tensor, here: slice, later: bool, dtype: torch.dtype) -> Left:
    """The factors of a chunk; `later` turns time around."""
    decay = -decay if later else decay
    chunk, last = decay[:, :, here], decay.shape[2] - 1
    first = chunk[:, :, -1:] if later else chunk[:, :, :1]
    after = max(0, here.start - 1) if later else min(here.stop, last)
    following = decay[:, :, after : after + 1]
    since = (chunk - first).to(dtype)  # hidden pairs may overflow here, and are left out later
    near = (since - since.transpose(-1, -2)).exp_()
    return Left(near, since.exp(), *((following - other).to(dtype).exp() for other in (chunk, first)))


def chunk_of(columns: Columns, here: slice) -> Tensor:
    """Some tokens of tensors side by side."""
    parts = [part[:, :, here] for part in columns]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
