"""Tiled softmax attention in torch: gathers the keys that a query tile sees; recomputes in backward.

A step handles a few query tiles of one group, for all batch elements and heads at once. Its tensors are
(batch * heads, tiles, tokens, width): views where the tokens are consecutive, else rows copied into a small
workspace. Nothing as large as the operands is ever made besides results and gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.biases import at_step, biased_backward, biased_forward
from attndsl_codegen.kernels.definition import query_extents
from attndsl_codegen.kernels.fields import with_fields
from attndsl_codegen.kernels.fused import can_fuse, fused_backward, fused_forward
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import Plan, make_plan
from attndsl_codegen.kernels.softmax import softmax_backward, softmax_forward
from attndsl_codegen.kernels.steps import Operand, Step, add_rows, steps, tiles_of, write

MAX_PLANS = 32
"""Plans that are remembered."""


class Remembered(NamedTuple):
    """A plan, and what it was made for: sizes, and copies of the fields that the mask depends on."""

    sizes: tuple[Any, ...]
    fields: tuple[Tensor, ...]
    plan: Plan


PLANS: list[Remembered] = []
"""The plan used last comes first."""


def tiled(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax tile by tile: only tiles that hold visible pairs are computed."""
    fields = [at[name].data for name in mechanism.real_fields]
    return TiledAttention.apply(mechanism, at, q, k, v, *fields)  # type: ignore[no-any-return]


def tiled_backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
    """Its gradients, also outside of autograd."""
    return TiledAttention.backward(ctx, *upstream)


def cached_plan(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    batch: int,
    heads: int,
    backward: bool = False,
) -> Plan:
    """The plan for these sizes, and for fields of these values where the mask depends on some.

    Comparing a field costs far less than planning; that it is the same tensor would prove nothing, since
    memory that it shares may have been written to.
    """
    query_tile = mechanism.query_tile
    if mechanism.backward_query_tile is not None and backward:
        query_tile = mechanism.backward_query_tile
    extents = query_extents(mechanism, at), mechanism.key.extents(at)
    numbers = tuple(sorted((name, value) for name, value in at.items() if isinstance(value, int)))
    fields = tuple(at[name].data for name in mechanism.mask_fields)
    kinds = tuple((field.shape, field.dtype, field.device) for field in fields)
    sizes = (mechanism, query_tile, extents, numbers, batch if fields else None, kinds)
    matches = (p for p in PLANS if p.sizes == sizes and all(map(torch.equal, p.fields, fields)))
    known = next(matches, None)
    if known is None:
        with torch.inference_mode(False), torch.no_grad():  # what is made now serves calls of every kind
            copies = tuple(field.clone() for field in fields)
            plan = make_plan(mechanism, extents, batch, heads, at, query_tile)
            known = Remembered(sizes, copies, plan)
    PLANS[:] = [known, *(other for other in PLANS if other is not known)][:MAX_PLANS]
    return known.plan


class TiledAttention(torch.autograd.Function):
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
        *real_fields: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""
        plan = cached_plan(mechanism, at, q.shape[0], q.shape[1])
        kind = at["real dtype"] if plan.adds else q.dtype
        out = q.new_empty(*q.shape[:3], v.shape[-1], dtype=kind)
        lse = torch.empty((*q.shape[:3], 1), dtype=at["real dtype"], device=q.device)
        if not (plan.complete and q.numel()):  # some queries have no key
            out.zero_()
            lse.fill_(-torch.inf)
        at = with_fields(mechanism, at, real_fields)
        fused = can_fuse(mechanism, q, v) and not real_fields
        operands = [Operand(t, plan, side, q.shape[1]) for t, side in ((q, "query"), (k, "key"), (v, "key"))]
        results = [Operand(t, plan, "query", q.shape[1]) for t in (out, lse)]
        for step in steps(plan, q, v, at["real dtype"]):
            tensors = parts_of(operands, step, at["real dtype"])
            if not fused:
                found = plain_forward(mechanism, at, step, tensors)
            elif mechanism.bias is None:
                found = fused_forward(mechanism.scale(at), tensors, step.hidden)
            else:
                found = biased_forward(mechanism, at, step, tensors)
            if step.group.adds:
                found = with_earlier(found, results, step)
            write(results[0], step, found[0])
            write(results[1], step, found[1].unsqueeze(-1))
        out = out.to(q.dtype)
        ctx.mechanism, ctx.at = mechanism, at
        ctx.plan = plan if mechanism.backward_query_tile is None else None
        lse = lse.squeeze(-1)
        ctx.save_for_backward(q, k, v, out, lse, *real_fields)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:
        """Gradients of q, k, v and the real fields."""
        q, k, v, out, lse, *real_fields = ctx.saved_tensors
        mechanism, dtype = ctx.mechanism, ctx.at["real dtype"]
        plan = ctx.plan or cached_plan(mechanism, ctx.at, q.shape[0], q.shape[1], backward=True)
        grad_out = torch.zeros_like(out) if grad_outputs[0] is None else grad_outputs[0]
        grad_lse = None if grad_outputs[1] is None else grad_outputs[1].unsqueeze(-1)
        fused = can_fuse(mechanism, q, v) and not real_fields
        tensors = (q, k, v, *real_fields)
        grads = [torch.empty(q.shape, dtype=dtype, device=q.device)]
        grads += [torch.zeros(t.shape, dtype=dtype, device=t.device) for t in tensors[1:]]
        if not (plan.complete and q.numel()):  # some queries have no key
            grads[0].zero_()
        sides = ("query", "key", "key")
        operands = [Operand(t, plan, side, q.shape[1]) for t, side in zip((q, k, v), sides)]
        saved = [Operand(t, plan, "query", q.shape[1]) for t in (out, lse.unsqueeze(-1), grad_out)]
        totals = [Operand(t, plan, side, q.shape[1]) for t, side in zip(grads, sides)]
        row = None if grad_lse is None else Operand(grad_lse, plan, "query", q.shape[1])
        for step in steps(plan, q, v, dtype, backward=True):
            parts = parts_of(operands, step, dtype)
            o, row_lse, g = parts_of(saved, step, dtype)
            row_lse = row_lse.squeeze(-1)
            if step.exists is not None:  # slots without a token send no gradient
                row_lse = torch.where(step.exists, row_lse, torch.inf)
                g = torch.where(step.exists.unsqueeze(-1), g, 0.0)
            g_lse = None if row is None else tiles_of(row, step).squeeze(-1).to(dtype)
            found: Any = None
            if fused:
                if mechanism.bias is None:
                    scale = mechanism.scale(ctx.at)
                    found = fused_backward(scale, parts, step.hidden, (o, row_lse), g, g_lse)
                else:
                    found = biased_backward(mechanism, ctx.at, step, parts, (o, row_lse), g, g_lse)
            if found is None:
                g_lse = torch.zeros_like(row_lse) if g_lse is None else g_lse
                found = plain_backward(ctx, step, real_fields, parts, (o, row_lse), (g, g_lse))
                if real_fields:
                    add_known(grads[3:], found[3:])
            write(totals[0], step, found[0] + tiles_of(totals[0], step) if step.group.adds else found[0])
            add_rows(totals[1], step, found[1])
            add_rows(totals[2], step, found[2])
        return None, None, *(grad.to(tensor.dtype) for grad, tensor in zip(grads, tensors))


def with_earlier(found: tuple[Tensor, Tensor], before: list[Operand], step: Step) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp over the keys of a step and those of steps before it, for the same queries."""
    (out, lse), (earlier_out, earlier_lse) = found, (tiles_of(result, step) for result in before)
    earlier_lse = earlier_lse.squeeze(-1)
    both = torch.logaddexp(lse, earlier_lse)
    base = both.masked_fill(both == -torch.inf, 0.0)
    shares = ((part - base).exp_().unsqueeze(-1) for part in (lse, earlier_lse))
    return out * next(shares) + earlier_out * next(shares), both


def parts_of(operands: list[Operand], step: Step, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The tokens of a step of three tensors, in the accumulation type."""
    a, b, c = (tiles_of(operand, step).to(dtype) for operand in operands)
    return a, b, c


def plain_forward(
    mechanism: type[Mechanism], at: dict[str, Any], step: Step, tensors: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of a step, scores and all in torch."""
    q, k, v = (t.unflatten(0, step.layers) for t in tensors)
    at, found = at_step(at, step), []
    for part in step.query_parts():
        i, masked = step.slots_of(part)
        found.append(softmax_forward(mechanism, at, q[..., part, :], k, v, i, step.j, masked))
    out, lse = (torch.cat(pieces, 3) for pieces in zip(*found))
    return out.flatten(0, 1), lse.flatten(0, 1)


def plain_backward(
    ctx: Any,
    step: Step,
    real_fields: list[Tensor],
    parts: tuple[Tensor, ...],
    saved: tuple[Tensor, Tensor],
    upstream: tuple[Tensor, Tensor],
) -> tuple[Any, ...]:
    """Gradients of a step's q, k and v, and of the fields; scores are computed anew."""
    mechanism, dtype = ctx.mechanism, ctx.at["real dtype"]
    leaves = tuple(field.to(dtype).detach().requires_grad_() for field in real_fields)
    with torch.set_grad_enabled(bool(leaves)):  # slices of the fields must stay connected to the leaves
        at = at_step(with_fields(mechanism, ctx.at, leaves), step)
    q, k, v, o, lse, g, g_lse = (t.unflatten(0, step.layers) for t in (*parts, *saved, *upstream))
    grad_q, grad_k, grad_v = (torch.zeros(t.shape, dtype=dtype, device=t.device) for t in (q, k, v))
    field_grads = [torch.zeros_like(leaf) for leaf in leaves]
    for part in step.query_parts():
        i, masked = step.slots_of(part)
        results = o[..., part, :], lse[..., part]
        gradients = g[..., part, :], g_lse[..., part]
        grads = softmax_backward(
            mechanism, at, leaves, q[..., part, :], k, v, i, step.j, masked, results, gradients
        )
        grad_q[..., part, :] = grads[0]
        grad_k += grads[1]
        grad_v += grads[2]
        if real_fields:
            add_known(field_grads, grads[3:])
    return grad_q.flatten(0, 1), grad_k.flatten(0, 1), grad_v.flatten(0, 1), *field_grads


def add_known(totals: list[Tensor], parts: tuple[Tensor | None, ...]) -> None:
    """Adds gradients where there are any."""
    for total, part in zip(totals, parts):
        if part is not None:
            total += part
