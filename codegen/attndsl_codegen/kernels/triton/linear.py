"""Causal attention with plain products for weights on Triton: launches, gradients, division by row sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.contracted import contracted, scaled_sum, token_decay
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_kv_head, per_query_head
from attndsl_codegen.kernels.triton.configurations import architecture_of, configuration
from attndsl_codegen.kernels.triton.launch import refused, why_not_triton
from attndsl_codegen.kernels.triton.running import running_products_kernel
from attndsl_codegen.kernels.triton.strides import (
    for_any_size,
    in_rows_of_channels,
    operand_type,
    padded,
    row_steps,
)


def causal_products(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, None]:
    """The attend by the Triton kernel where it serves, else in torch."""
    problem = why_not_triton(mechanism, at, q, v)
    if problem is None and "offset" in at:
        problem = "decoding steps of causal sums are left to torch"
    if problem is not None:
        refused(at, problem)
        return contracted(mechanism, at, q, k, v)
    kind, scale, taken = v.dtype, mechanism.scale(at), operand_type(at, v)
    q, k, v = (t.to(taken) for t in (q, k, v))
    if kind == torch.float16:  # long sums, and the gradients of divisions by them, leave its range
        q, k, v = q.float(), k.float(), v.float()
    decay = None if mechanism.decay is None else token_decay(mechanism, at, q)
    total, sums = RunningProducts.apply(q, k, v, decay, mechanism.normalize == "linear")
    if mechanism.normalize == "linear":
        return (total / scaled_sum(sums.unsqueeze(-1), scale)).to(kind), None
    return (total * scale).to(kind), None


class RunningProducts(torch.autograd.Function):
    """y[i] = sum over j <= i of (q[i] . k[j]) v[j], and with `sums` the sums of q[i] . k[j], in float32.

    With a decay, terms are multiplied by exp(decay[i] - decay[j]).
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None, sums: bool
    ) -> tuple[Tensor, Tensor]:
        """The sums; keys and values may have fewer heads."""
        q, k, v = (in_rows_of_channels(t) for t in (q, k, v))
        ctx.save_for_backward(q, k, v, decay)
        ctx.set_materialize_grads(False)
        total = q.new_empty(q.shape[:3] if sums else (0,), dtype=torch.float32)
        return launched(q, k, v, sums=total if sums else None, decay=decay), total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        """Over earlier keys for queries, over later queries for keys and values.

        A decay gets what queries get along themselves, less what keys get along themselves.
        """
        q, k, v, decay = ctx.saved_tensors
        g = q.new_zeros(*q.shape[:3], v.shape[3]) if upstream[0] is None else upstream[0].to(q.dtype)
        g, rest = in_rows_of_channels(g), upstream[1]
        rest = None if rest is None else rest.contiguous()
        grad_q = launched(g, v, k, terms=rest, kind="rows", decay=decay)
        grad_k = launched(v, g, q, terms=rest, kind="columns", decay=decay, later=True)
        grad_v = launched(k, q, g, decay=decay, later=True)
        grad_decay = None
        if ctx.needs_input_grad[3]:
            keys = per_query_head(k, q.shape[1])
            grad_decay = ((q * grad_q).sum(-1, keepdim=True) - (keys * grad_k).sum(-1, keepdim=True)).double()
        grads = zip((grad_q, grad_k, grad_v), (q, k, v))
        return *(per_kv_head(grad, t.shape[1]).to(t.dtype) for grad, t in grads), grad_decay, None


LOG2_E = 1.4426950408889634


def faded(decay: Tensor, chunk: int, later: bool) -> tuple[Tensor, Tensor]:
    """What the kernel takes of a decay (batch, heads, tokens, 1): `since` and `change`."""
    decay = LOG2_E * (-decay if later else decay).squeeze(-1)
    tokens, places = decay.shape[2], torch.arange(0, decay.shape[2], chunk, device=decay.device)
    first = decay[:, :, (places + chunk - 1).clamp(max=tokens - 1) if later else places]
    since = decay - first.repeat_interleave(chunk, 2)[:, :, :tokens]
    change = torch.full_like(first, -torch.inf)  # after the last chunk nothing is needed
    if later:
        change[:, :, 1:] = first[:, :, :-1] - first[:, :, 1:]
    else:
        change[:, :, :-1] = first[:, :, 1:] - first[:, :, :-1]
    return since.float().contiguous(), change.float().contiguous()


def launched(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    sums: Tensor | None = None,
    terms: Tensor | None = None,
    kind: str = "",
    decay: Tensor | None = None,
    later: bool = False,
) -> Tensor:
    """One launch of the kernel; arguments as there, results in float32 for as many heads as queries have."""
    heads = max(a.shape[1], b.shape[1], c.shape[1])
    batch, tokens, width, value_width = a.shape[0], a.shape[2], a.shape[3], c.shape[3]
    out = a.new_empty(batch, heads, tokens, value_width, dtype=torch.float32)
    kernel = "causal sums" if decay is None or terms is None else "decayed sums"
    chosen = configuration(kernel, width, a.element_size(), architecture_of(a.device))
    block = min(chosen.keys, padded(value_width))
    blocks = padded(value_width) // block
    shared = (heads // t.shape[1] for t in (a, b, c))
    since, change = (out, out) if decay is None else faded(decay, chosen.queries, later)
    running_products_kernel[(blocks * heads * batch,)](
        *(a, b, c, out, out if sums is None else sums, out if terms is None else terms),
        *(since, change),
        *(row_steps(a, b, c, out), (*for_any_size(tokens), heads, *shared)),
        LATER=later,
        SUMS=sums is not None,
        TERMS="" if terms is None else kind,
        DECAY=decay is not None,
        CHUNK=chosen.queries,
        BLOCKS=blocks,
        WIDTH=width,
        VALUE_WIDTH=value_width,
        CHANNELS=padded(width),
        VALUE_CHANNELS=block,
        PRECISION="tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3",  # as exact as float32
        num_warps=chosen.warps,
        num_stages=chosen.stages,
    )
    return out
