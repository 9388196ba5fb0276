"""Softmax attention of a few query tiles over their gathered keys: forward, and backward by recomputation.

Shapes: queries (batch, heads, tiles, queries, width), keys alike; scores (..., queries, keys). Everything
is computed in the accumulation type. A query that sees no key gets zeros, a log-sum-exp of minus infinity,
and no gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import VisibleField
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.steps import Masked


def shaped_scores(
    mechanism: type[Mechanism], at: dict[str, Any], s: Tensor, i: list[Tensor], j: list[Tensor]
) -> Tensor:
    """The spec's score function and bias, if it has any."""
    if mechanism.score is not None:
        score = torch.as_tensor(mechanism.score(s, *i, *j, at), dtype=s.dtype, device=s.device)
        s = score if score.shape == s.shape else score + torch.zeros_like(s)
    if mechanism.bias is not None:
        if mechanism.bias_by_distance:
            i, j = of_one_tile(i, j)
        s = s + mechanism.bias(*i, *j, at)
    return s


def of_one_tile(i: list[Tensor], j: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The coordinates of the first tile where those of others are the same, moved; else those of all.

    Args:
        i, j: per axis, of queries (tiles, queries, 1) and of keys (tiles, 1, keys).
    """
    for query, key in zip(i, j):
        places = torch.cat([query.squeeze(-1), key.squeeze(-2)], 1)
        places = places - places[:, :1]
        if not torch.equal(places, places[:1].expand_as(places)):
            return i, j
    return [coord[:1] for coord in i], [coord[:1] for coord in j]


def visible_scores(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    s: Tensor,
    i: list[Tensor],
    j: list[Tensor],
    visible: Tensor,
) -> Tensor:
    """As `shaped_scores`, but only visible pairs send gradients to `s` and to the fields.

    The gradient of a hidden pair's score is zero, but zero times an infinite derivative is not.
    """
    if mechanism.bias_by_distance:  # derivatives are finite
        return shaped_scores(mechanism, at, s, i, j)
    fields = {name: VisibleField(at[name], visible) for name in mechanism.real_fields}
    return shaped_scores(mechanism, {**at, **fields}, torch.where(visible, s, s.detach()), i, j)


def per_query_head(k: Tensor, heads: int) -> Tensor:
    """Key or value heads repeated for the query heads they serve."""
    group = heads // k.shape[1]
    return k if group == 1 else k.repeat_interleave(group, 1)


def per_kv_head(grad: Tensor, heads: int) -> Tensor:
    """Gradients summed over the query heads that share a key/value head."""
    group = grad.shape[1] // heads
    return grad if group == 1 else grad.unflatten(1, (heads, group)).sum(2)


def score_gradients(shaped: Tensor, grad: Tensor, raw: Tensor, *fields: Tensor) -> list[Any]:
    """Gradients of raw scores and of fields; a score need not use either."""
    if not shaped.requires_grad:
        return [torch.zeros_like(raw), *(None for _ in fields)]
    first, *others = torch.autograd.grad(shaped, [raw, *fields], grad, allow_unused=True)
    return [torch.zeros_like(raw) if first is None else first, *others]


def softmax_forward(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: list[Tensor],
    j: list[Tensor],
    masked: Masked | None,
) -> tuple[Tensor, Tensor]:
    """Output and natural log-sum-exp; `masked` is None where every pair is visible."""
    q, k, v = (t.to(at["real dtype"]) for t in (q, k, v))
    k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
    s = shaped_scores(mechanism, at, scaled_products(q, k, mechanism.scale(at)), i, j)
    if masked is not None:
        s = masked.fill_(s, -torch.inf)
    top = s.amax(-1, keepdim=True)
    top = top.masked_fill_(top == -torch.inf, 0.0)
    weight = s.sub_(top).exp_()
    total = weight.sum(-1, keepdim=True)
    lse = (total.log() + top).squeeze(-1)
    total.masked_fill_(total == 0, 1.0)
    if narrower(weight, v):
        return weight.div_(total) @ v, lse
    return (weight @ v).div_(total), lse


def narrower(rows: Tensor, others: Tensor) -> bool:
    """Whether rows are shorter than others: where scores are, they are what to multiply or to divide."""
    return rows.shape[-1] < others.shape[-1]


def scaled_products(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """scale * q @ k.T, (..., queries, keys)."""
    keys = k.transpose(-1, -2)
    return (q @ keys).mul_(scale) if narrower(keys, q) else (q * scale) @ keys


def softmax_backward(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    fields: tuple[Tensor, ...],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    i: list[Tensor],
    j: list[Tensor],
    masked: Masked | None,
    saved: tuple[Tensor, Tensor],
    upstream: tuple[Tensor, Tensor],
) -> tuple[Any, ...]:
    """Gradients of q, k, v and of the fields in score and bias.

    Args:
        fields: the differentiable fields, leaves that `at` refers to.
        saved: output and log-sum-exp of the forward pass.
        upstream: their gradients.
    """
    dtype, kv_heads, scale = at["real dtype"], k.shape[1], mechanism.scale(at)
    q, k, v = (t.to(dtype) for t in (q, k, v))
    k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
    raw = scaled_products(q, k, scale)
    shapes = mechanism.score is not None and not fields
    with torch.set_grad_enabled(shapes):
        shaped = shaped_scores(mechanism, at, raw.requires_grad_(shapes), i, j)
    (out, lse), (grad_out, grad_lse) = (tuple(t.to(dtype) for t in pair) for pair in (saved, upstream))
    weight = (shaped.detach() - lse.masked_fill(lse == -torch.inf, torch.inf).unsqueeze(-1)).exp_()
    if masked is not None:
        weight = masked.fill_(weight, 0.0)
    # d lse / d s is the weight itself, so its gradient joins the row sum of the softmax.
    grad_weight = grad_out @ v.transpose(-1, -2)
    along = weight * grad_weight if narrower(weight, v) else grad_out * out
    row = (along.sum(-1) - grad_lse).unsqueeze(-1)
    grad_s = grad_weight.sub_(row).mul_(weight)
    field_grads: list[Tensor | None] = []
    if fields:
        shaped = shaped.detach() if masked is None else masked.fill_(shaped.detach(), -torch.inf)
        with torch.enable_grad():
            raw = raw.requires_grad_()
            shaped = visible_scores(mechanism, at, raw, i, j, shaped != -torch.inf)
        grad_s, *field_grads = score_gradients(shaped, grad_s, raw, *fields)
    elif shapes:
        (grad_s,) = score_gradients(shaped, grad_s, raw)
        grad_s = grad_s.masked_fill_(weight == 0, 0.0)  # whatever its derivative is
    grad_v = per_kv_head(weight.transpose(-1, -2) @ grad_out, kv_heads)
    if narrower(grad_s, q):
        grad_s, scale = grad_s * scale, 1.0
    grad_k = per_kv_head(grad_s.transpose(-1, -2) @ q, kv_heads)
    grad_q = grad_s @ k
    if scale != 1.0:
        grad_q, grad_k = grad_q.mul_(scale), grad_k.mul_(scale)
    return grad_q, grad_k, grad_v, *field_grads
