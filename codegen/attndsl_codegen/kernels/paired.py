"""Softmax over pairs of tokens (Kronecker keys): scores exist for a few pairs at a time, never for all.

s[i, (a, b)] = scale * sum over c of q[i, c] k1[a, c] k2[b, c]
out[i] = sum over pairs of softmax(s)[i, (a, b)] * v1[a] * v2[b]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.definition import coordinates
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_query_head, shaped_scores, visible_scores

PAIR_SCORES = 1 << 21
"""Scores held at a time."""


class Factors(NamedTuple):
    """Keys (or values) on pairs: the product of a token of `a` with one of `b`, channel by channel."""

    a: Tensor
    b: Tensor

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Batch, heads, pairs, width."""
        batch, heads = (max(a, b) for a, b in zip(self.a.shape[:2], self.b.shape[:2]))
        return batch, heads, self.a.shape[2] * self.b.shape[2], self.a.shape[3]

    def expand(self, *shape: int) -> Factors:
        """Both factors for every batch element."""
        return Factors(*(t.expand(shape[0], *t.shape[1:]) for t in self))

    def product(self) -> Tensor:
        """All pairs, dense."""
        return (self.a.unsqueeze(3) * self.b.unsqueeze(2)).flatten(2, 3)


def paired(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Factors, v: Factors
) -> tuple[Tensor, Tensor]:
    """The attend over blocks of queries and of first tokens."""
    heads, dtype = q.shape[1], at["real dtype"]
    factors = (per_query_head(t, heads).to(dtype) for t in (*k, *v))
    fields = [at[name].data for name in mechanism.real_fields]
    out, lse = PairedAttention.apply(mechanism, at, q.to(dtype), *factors, *fields)  # type: ignore[misc]
    return out.to(q.dtype), lse


class PairedAttention(torch.autograd.Function):
    """One attend over pairs; the backward pass computes scores anew."""

    @staticmethod
    def forward(
        ctx: Any,
        mechanism: type[Mechanism],
        at: dict[str, Any],
        q: Tensor,
        k1: Tensor,
        k2: Tensor,
        v1: Tensor,
        v2: Tensor,
        *fields: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Output and natural log-sum-exp, with a running maximum over blocks of pairs."""
        out = q.new_zeros(*q.shape[:3], v1.shape[-1])
        lse = torch.full_like(q[..., 0], -torch.inf)
        for rows, blocks in pair_blocks(q, k1, k2):
            top = torch.full_like(lse[:, :, rows], -torch.inf)
            total, sums = torch.zeros_like(top), torch.zeros_like(out[:, :, rows])
            for block in blocks:
                s = block_scores(mechanism, at, q, k1, k2, rows, block)
                higher = torch.maximum(top, s.amax((-1, -2)))
                base = torch.where(higher == -torch.inf, 0.0, higher)
                old = torch.exp(top - base)
                weight = s.sub_(base[..., None, None]).exp_()
                total = total * old + weight.sum((-1, -2))
                inner = (weight.flatten(2, 3) @ v2).unflatten(2, weight.shape[2:4])
                sums = sums * old.unsqueeze(-1) + (inner * v1[:, :, None, block]).sum(3)
                top = higher
            out[:, :, rows] = sums / torch.where(total == 0, 1.0, total).unsqueeze(-1)
            lse[:, :, rows] = torch.where(total == 0, -torch.inf, total.log() + top)
        ctx.mechanism, ctx.at = mechanism, at
        ctx.save_for_backward(q, k1, k2, v1, v2, out, lse, *fields)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Gradients of queries, factors and real fields."""
        q, k1, k2, v1, v2, out, lse, *fields = ctx.saved_tensors
        mechanism, scale = ctx.mechanism, ctx.mechanism.scale(ctx.at)
        grad_out = torch.zeros_like(out) if grad_outputs[0] is None else grad_outputs[0]
        row = (grad_out * out).sum(-1)
        if grad_outputs[1] is not None:
            row = row - grad_outputs[1]
        safe = torch.where(lse == -torch.inf, torch.inf, lse)
        grads = [torch.zeros_like(t) for t in (q, k1, k2, v1, v2, *fields)]
        for rows, blocks in pair_blocks(q, k1, k2):
            g, here = grad_out[:, :, rows], q[:, :, rows]
            for block in blocks:
                weight = torch.exp(
                    block_scores(mechanism, ctx.at, q, k1, k2, rows, block) - safe[:, :, rows, None, None]
                )
                spread = g.unsqueeze(3) * v1[:, :, None, block]
                grad_s = (spread.flatten(2, 3) @ v2.transpose(-1, -2)).view_as(weight)
                grad_s = weight * (grad_s - row[:, :, rows, None, None])
                grads[4] += weight.flatten(2, 3).transpose(-1, -2) @ spread.flatten(2, 3)
                inner = (weight.flatten(2, 3) @ v2).unflatten(2, weight.shape[2:4])
                grads[3][:, :, block] += (inner * g.unsqueeze(3)).sum(2)
                if mechanism.score is not None or fields:
                    grad_s = through_shape(ctx, rows, block, (q, k1, k2), fields, grad_s, grads[5:])
                grad_s = grad_s * scale
                reach = (grad_s.flatten(2, 3) @ k2).unflatten(2, grad_s.shape[2:4])
                grads[0][:, :, rows] += (reach * k1[:, :, None, block]).sum(3)
                grads[1][:, :, block] += (reach * here.unsqueeze(3)).sum(2)
                both = (here.unsqueeze(3) * k1[:, :, None, block]).flatten(2, 3)
                grads[2] += grad_s.flatten(2, 3).transpose(-1, -2) @ both
        return None, None, *grads


def pair_blocks(q: Tensor, k1: Tensor, k2: Tensor) -> list[tuple[slice, list[slice]]]:
    """Blocks of queries, each with blocks of first tokens, whose scores fit the workspace."""
    budget = max(1, PAIR_SCORES // (q.shape[0] * q.shape[1] * k2.shape[2]))
    first = min(k1.shape[2], max(1, int(budget**0.5)))
    rows = max(1, budget // first)
    blocks = [slice(start, start + first) for start in range(0, k1.shape[2], first)]
    return [(slice(start, start + rows), blocks) for start in range(0, q.shape[2], rows)]


def raw_scores(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    q: Tensor,
    k1: Tensor,
    k2: Tensor,
    rows: slice,
    block: slice,
) -> Tensor:
    """Scaled products, (batch, heads, queries, first tokens, second tokens)."""
    both = (q[:, :, rows].unsqueeze(3) * k1[:, :, None, block]) * mechanism.scale(at)
    return (both.flatten(2, 3) @ k2.transpose(-1, -2)).unflatten(2, both.shape[2:4])


def block_scores(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    q: Tensor,
    k1: Tensor,
    k2: Tensor,
    rows: slice,
    block: slice,
) -> Tensor:
    """Scores of a block, minus infinity where hidden."""
    s = raw_scores(mechanism, at, q, k1, k2, rows, block)
    i, j, at = block_places(mechanism, at, s, rows, block)
    s = shaped_scores(mechanism, at, s.flatten(-2).unsqueeze(2), i, j)
    visible = torch.as_tensor(mechanism.where(*i, *j, at), device=s.device)
    s = s.masked_fill(~visible, -torch.inf) if not bool(visible.all()) else s
    return s.squeeze(2).unflatten(-1, (-1, k2.shape[2]))


def block_places(
    mechanism: type[Mechanism], at: dict[str, Any], s: Tensor, rows: slice, block: slice
) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
    """Coordinates of queries and pairs, as (1, queries, 1) and (1, 1, pairs)."""
    i = [coord[rows].view(1, -1, 1) for coord in coordinates(mechanism.query.extents(at), s.device)]
    first = torch.arange(mechanism.key.extents(at)[0], device=s.device)[block]
    second = torch.arange(s.shape[-1], device=s.device)
    pairs = torch.meshgrid(first, second, indexing="ij")
    head = torch.arange(s.shape[1], device=s.device).view(-1, 1, 1, 1)
    return i, [coord.reshape(1, 1, -1) for coord in pairs], {**at, "head": head}


def through_shape(
    ctx: Any,
    rows: slice,
    block: slice,
    operands: tuple[Tensor, Tensor, Tensor],
    fields: list[Tensor],
    grad_s: Tensor,
    field_grads: list[Tensor],
) -> Tensor:
    """The gradient of the raw scores; gradients of fields are added to `field_grads`."""
    mechanism = ctx.mechanism
    s = raw_scores(mechanism, ctx.at, *operands, rows, block)
    leaves = [field.detach().requires_grad_() for field in fields]
    with torch.enable_grad():
        at = {
            **ctx.at,
            **{name: type(ctx.at[name])(leaf) for name, leaf in zip(mechanism.real_fields, leaves)},
        }
        i, j, at = block_places(mechanism, at, s, rows, block)
        leaf = s.detach().flatten(-2).unsqueeze(2).requires_grad_()
        visible = torch.as_tensor(mechanism.where(*i, *j, at), device=s.device).expand_as(leaf)
        shaped = visible_scores(mechanism, at, leaf, i, j, visible)
    upstream = grad_s.flatten(-2).unsqueeze(2)
    found = torch.autograd.grad(shaped, [leaf, *leaves], upstream, allow_unused=True)
    for total, part in zip(field_grads, found[1:]):
        if part is not None:
            total += part
    return torch.zeros_like(s) if found[0] is None else found[0].view_as(s)
