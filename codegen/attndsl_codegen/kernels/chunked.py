"""Any attend in chunks of queries: memory linear in the tokens; the backward pass computes them anew."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.definition import query_extents, weighted_rows
from attndsl_codegen.kernels.mechanism import Mechanism

CHUNK_SCORES = 1 << 21
"""Scores held at a time."""


def chunked(mechanism: type[Mechanism], at: dict[str, Any], q: Any, k: Any, v: Tensor) -> tuple[Tensor, Any]:
    """Every query against every key, a chunk of queries at a time."""
    fields = [at[name].data for name in mechanism.real_fields]
    return ChunkedAttention.apply(mechanism, at, q, k, v, *fields)  # type: ignore[no-any-return]


class ChunkedAttention(torch.autograd.Function):
    """One attend; queries and keys may be None. The log-sum-exp is None unless it is a softmax."""

    @staticmethod
    def forward(
        ctx: Any, mechanism: type[Mechanism], at: dict[str, Any], q: Any, k: Any, v: Tensor, *fields: Tensor
    ) -> tuple[Tensor, Any]:
        """Output and log-sum-exp."""
        count = math.prod(query_extents(mechanism, at))
        out = v.new_empty(v.shape[0], at["heads"], count, v.shape[-1])
        lse = v.new_empty(out.shape[:3], dtype=at["real dtype"]) if mechanism.normalize == "softmax" else None
        for rows in query_chunks(count, scores_per_query(q, v, at), v.device):
            found = weighted_rows(mechanism, at, rows, None if q is None else q[:, :, rows], k, v)
            out[:, :, rows] = found[0].to(out.dtype)
            if lse is not None and found[1] is not None:
                lse[:, :, rows] = found[1]
        ctx.mechanism, ctx.at = mechanism, at
        ctx.save_for_backward(q, k, v, *fields)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Gradients of q, k, v and the real fields."""
        dtype, names = ctx.at["real dtype"], ctx.mechanism.real_fields
        tensors = ctx.saved_tensors
        leaves: list[Any] = [None if t is None else t.detach().to(dtype).requires_grad_() for t in tensors]
        grads: list[Any] = [None if t is None else torch.zeros_like(t) for t in leaves]
        q, k, v, *fields = leaves
        count = math.prod(query_extents(ctx.mechanism, ctx.at))
        for rows in query_chunks(count, scores_per_query(q, v, ctx.at), v.device):
            with torch.enable_grad():
                at = {**ctx.at, **{name: type(ctx.at[name])(field) for name, field in zip(names, fields)}}
                here = None if q is None else q[:, :, rows]
                found = weighted_rows(ctx.mechanism, at, rows, here, k, v)
            wanted = [
                (out, grad[:, :, rows].to(dtype))
                for out, grad in zip(found, grad_outputs)
                if grad is not None and out is not None and out.requires_grad
            ]
            if not wanted:
                continue  # a log-sum-exp of plain numbers alone
            needed = [at for at, leaf in enumerate(leaves) if leaf is not None]
            outputs, upstream = zip(*wanted)
            parts = torch.autograd.grad(outputs, [leaves[at] for at in needed], upstream, allow_unused=True)
            for at_leaf, part in zip(needed, parts):
                if part is not None:
                    grads[at_leaf] += part
        cast = (None if g is None else g.to(t.dtype) for g, t in zip(grads, tensors))
        return None, None, *cast


def scores_per_query(q: Any, v: Tensor, at: dict[str, Any]) -> int:
    """How many scores a query has; what tables alone say is mostly the same for all heads."""
    return v.shape[2] * (1 if q is None else v.shape[0] * at["heads"])


def query_chunks(count: int, scores: int, device: torch.device) -> Iterator[Tensor]:
    """The numbers of all queries, in pieces whose scores fit the workspace."""
    size = max(1, CHUNK_SCORES // max(1, scores))
    yield from torch.arange(count, device=device).split(size)
