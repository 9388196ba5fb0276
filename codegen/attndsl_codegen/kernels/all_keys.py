"""Softmax attention in which every query sees every key: no plan, no tiles; recomputes in backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.biases import reach_of, with_bias
from attndsl_codegen.kernels.definition import coordinates
from attndsl_codegen.kernels.fields import with_fields
from attndsl_codegen.kernels.fused import can_fuse, fused_backward, fused_forward
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_kv_head, per_query_head, softmax_backward, softmax_forward

HELD_SCORES = 1 << 22
"""Scores (or biases) held at a time."""


def all_keys(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax over all keys."""
    fields = [at[name].data for name in mechanism.real_fields]
    return AllKeysAttention.apply(mechanism, at, q, k, v, *fields)  # type: ignore[no-any-return]


def all_keys_backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
    """Its gradients, also outside of autograd."""
    return AllKeysAttention.backward(ctx, *upstream)


class AllKeysAttention(torch.autograd.Function):
    """One attend on (batch, heads, tokens, width); keys and values may have fewer heads.

    Returns the output and the natural log-sum-exp, the latter in the accumulation type.
    """

    @staticmethod
    def forward(
        ctx: Any,
        mechanism: type[Mechanism],
        at: dict[str, Any],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *fields: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""
        ctx.mechanism, ctx.at = mechanism, at
        fuses = fuses_rows(ctx, q, k, v)
        call = fused_rows if fuses else plain_rows
        at = with_fields(mechanism, at, fields)
        found = [call(mechanism, at, rows, q, k, v) for rows in query_rows(mechanism, q, k, fuses)]
        out, lse = found[0] if len(found) == 1 else (torch.cat(parts, 2) for parts in zip(*found))
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse, *fields)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Gradients of q, k, v and the real fields."""
        q, k, v, out, lse, *fields = ctx.saved_tensors
        grad_out, grad_lse = grad_outputs
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        fuses = fuses_rows(ctx, q, k, v)
        call = fused_rows_backward if fuses else plain_rows_backward
        queries, others = [], []
        for rows in query_rows(ctx.mechanism, q, k, fuses):
            here = None if grad_lse is None else grad_lse[:, :, rows]
            saved = (out[:, :, rows], lse[:, :, rows]), (grad_out[:, :, rows], here)
            found = call(ctx, rows, (q, k, v), fields, *saved)
            queries.append(found[0])
            others.append(found[1:])
        grad_q = queries[0] if len(queries) == 1 else torch.cat(queries, 2)
        grads = [grad_q, *(summed(parts) for parts in zip(*others))]
        cast = (None if g is None else g.to(t.dtype) for g, t in zip(grads, (q, k, v, *fields)))
        return None, None, *cast


def fuses_rows(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether PyTorch's fused operators serve: they give no gradients of biases."""
    return can_fuse(ctx.mechanism, q, v) and not few_scores(q, k) and not any(ctx.needs_input_grad[5:])


def few_scores(q: Tensor, k: Tensor) -> bool:
    """Whether scores are far fewer than the elements of queries and keys: plain products are best then."""
    return 4 * q.shape[2] * k.shape[2] <= q.shape[3] * (q.shape[2] + k.shape[2])


def summed(parts: tuple[Any, ...]) -> Any:
    """The sum of gradients, None where there is none."""
    known = [part for part in parts if part is not None]
    return None if not known else sum(known[1:], known[0])


def query_rows(mechanism: type[Mechanism], q: Tensor, k: Tensor, fuses: bool) -> list[slice]:
    """The queries in pieces whose scores fit; all at once where no scores are held."""
    count = q.shape[2]
    per_query = max(1, q.shape[0] * q.shape[1] * k.shape[2])
    size = count if fuses and mechanism.bias is None else max(1, HELD_SCORES // per_query)
    return [slice(start, start + size) for start in range(0, count, size)]


def pair_places(
    mechanism: type[Mechanism], at: dict[str, Any], rows: slice, q: Tensor
) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
    """Coordinates of queries (1, rows, 1) and of keys (1, 1, keys); `at` with the numbers of the heads."""
    i = coordinates(mechanism.query.extents(at), q.device)
    j = coordinates(mechanism.key.extents(at), q.device)
    heads = torch.arange(q.shape[1], device=q.device).view(-1, 1, 1, 1)
    i = [coord[at.get("offset", 0) :][rows].view(1, -1, 1) for coord in i]
    return i, [coord.view(1, 1, -1) for coord in j], {**at, "head": heads}


def needed_operands(
    q: Tensor, k: Tensor, v: Tensor, rows: slice, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Some of the queries, and keys and values with a head for each of theirs, in the accumulation type."""
    heads = q.shape[1]
    return q[:, :, rows].to(dtype), per_query_head(k, heads).to(dtype), per_query_head(v, heads).to(dtype)


def significant_bias(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    rows: slice,
    tensors: tuple[Tensor, Tensor, Tensor],
    lse: Tensor | None,
) -> Tensor | None:
    """The bias of some queries, (batch or 1, heads or 1, rows or 1, keys), or None.

    Args:
        lse: their log-sum-exp (batch, heads, rows), if it is known.
    """
    if mechanism.bias is None:
        return None
    i, j, at = pair_places(mechanism, at, rows, tensors[0])
    bias = torch.as_tensor(mechanism.bias(*i, *j, at), dtype=at["real dtype"], device=tensors[0].device)
    q, k = (t.unsqueeze(2) for t in tensors[:2])
    bias = bias[(None,) * (5 - bias.dim())]
    known = None if lse is None else lse.unsqueeze(2)
    return with_bias(None, bias, reach_of(bias, mechanism.scale(at), q, k), known).squeeze(2)


def fused_rows(
    mechanism: type[Mechanism], at: dict[str, Any], rows: slice, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of some queries, by PyTorch's fused operator."""
    tensors = needed_operands(q, k, v, rows, at["real dtype"])
    mask = significant_bias(mechanism, at, rows, tensors, None)
    return fused_forward(mechanism.scale(at), tensors, mask)


def fused_rows_backward(
    ctx: Any, rows: slice, tensors: Any, fields: list[Tensor], saved: Any, upstream: Any
) -> tuple[Any, ...]:
    """Gradients of some queries, and what they add to those of keys and values."""
    at, dtype = ctx.at, ctx.at["real dtype"]
    (out, lse), (grad_out, grad_lse) = saved, upstream
    q, k, v = tensors
    here = needed_operands(q, k, v, rows, dtype)
    mask = significant_bias(ctx.mechanism, with_fields(ctx.mechanism, at, fields), rows, here, lse)
    found = fused_backward(
        ctx.mechanism.scale(at), here, mask, (out.to(dtype), lse), grad_out.to(dtype), grad_lse
    )
    if found is None:
        return plain_rows_backward(ctx, rows, tensors, fields, saved, upstream)
    others = (per_kv_head(grad, tensor.shape[1]) for grad, tensor in zip(found[1:], (k, v)))
    return found[0], *others, *(None for _ in fields)


def plain_rows(
    mechanism: type[Mechanism], at: dict[str, Any], rows: slice, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of some queries, scores and all in torch."""
    i, j, at = pair_places(mechanism, at, rows, q)
    q, k, v = (t.unsqueeze(2) for t in (q[:, :, rows], k, v))
    out, lse = softmax_forward(mechanism, at, q, k, v, i, j, None)
    return out.squeeze(2), lse.squeeze(2)


def plain_rows_backward(
    ctx: Any, rows: slice, tensors: Any, fields: list[Tensor], saved: Any, upstream: Any
) -> tuple[Any, ...]:
    """Gradients of some queries, and what they add to those of keys, values and fields."""
    q, k, v = tensors
    leaves = tuple(field.to(ctx.at["real dtype"]).detach().requires_grad_() for field in fields)
    with torch.enable_grad():  # what is looked up in the fields must stay connected to the leaves
        i, j, at = pair_places(ctx.mechanism, with_fields(ctx.mechanism, ctx.at, leaves), rows, q)
    grad_out, grad_lse = upstream
    grad_lse = torch.zeros_like(saved[1]) if grad_lse is None else grad_lse
    (out, lse), (q, k, v) = saved, (q[:, :, rows], k, v)
    q, k, v, out, lse, grad_out, grad_lse = (t.unsqueeze(2) for t in (q, k, v, out, lse, grad_out, grad_lse))
    upstream = grad_out, grad_lse
    grads = softmax_backward(ctx.mechanism, at, leaves, q, k, v, i, j, None, (out, lse), upstream)
    return *(grad.squeeze(2) for grad in grads[:3]), *(grads[3:] or [None] * len(fields))
