"""Weights that are products of scores and of decays along paths: first down a column, then along a row.

out[i] = scale * sum over j of (q[i] . k[j]) t[i, j] v[j],   t = sum over paths of second @ first

As a matrix of all pairs, the first step of a path mixes the tokens of one line and the second those of a
line of the other axis (PPMA: Polyline Path Masked Attention for Vision Transformer, 2025, appendix). So the
decay is applied to the channels of k[j] v[j] in two products of matrices as small as a line, n * (h + w) in
all; or, where there are few tokens for so many channels, to the scores of all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.contracted import divided, scaled_sum
from attndsl_codegen.kernels.fields import with_fields
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_kv_head, per_query_head

PATH_ELEMENTS = 1 << 19
"""Elements of a product of keys and values, or scores, that are held at a time."""
SCORE_PASSES = 15
"""What the decay of a score along a path costs, in products of channels; measured on a CPU."""

PathStep = tuple[tuple[int, int], int, Tensor]
"""The axes of its path, which of the two it takes, and (batch, heads, lines, to, from)."""


def along_paths(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, None]:
    """The attend, by lines of the grid or by pairs, whichever is less work."""
    kind, dtype, scale, heads = v.dtype, at["real dtype"], mechanism.scale(at), q.shape[1]
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    fields = [at[name].data for name in mechanism.real_fields]
    out = PathProducts.apply(mechanism, at, q, k, v, *fields)
    if mechanism.normalize != "linear":
        return (out * scale).to(kind), None
    sums = q @ per_query_head(k.sum(2, keepdim=True), heads).transpose(-1, -2)
    return divided(out, scaled_sum(sums, scale)).to(kind), None


class PathProducts(torch.autograd.Function):
    """The attend without its scale; the backward pass makes everything anew, a part at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        mechanism: type[Mechanism],
        at: dict[str, Any],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *fields: Tensor,
    ) -> Tensor:
        """Sums over keys, (batch, heads, tokens, width)."""
        ctx.mechanism, ctx.at = mechanism, at
        ctx.save_for_backward(q, k, v, *fields)
        at = with_fields(mechanism, at, fields)
        legs, extents = path_steps(mechanism, at, v.device), mechanism.query.extents(at)
        keys, values = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
        out = q.new_zeros(*q.shape[:3], v.shape[-1])
        for part in path_parts(q, v, extents, len(mechanism.paths)):
            operands, decays = part.operands(q, keys, values), part.decays(legs)
            out[part.heads][:, part.rows] += part_sums(operands, decays, part, extents)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Gradients of q, k, v and the real fields."""
        q, k, v, *fields = ctx.saved_tensors
        leaves = [field.detach().requires_grad_() for field in fields]
        with torch.enable_grad():
            at = with_fields(ctx.mechanism, ctx.at, leaves)
            legs = path_steps(ctx.mechanism, at, v.device)
        extents = ctx.mechanism.query.extents(at)
        tensors = q, per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
        grads = [torch.zeros_like(t) for t in (*tensors, *(decay for _, _, decay in legs))]
        held = [(order, step, decay.detach()) for order, step, decay in legs]
        into = [(order, step, grad) for (order, step, _), grad in zip(legs, grads[3:])]
        for part in path_parts(q, v, extents, len(ctx.mechanism.paths)):
            sides = part.operands(*tensors), [decay for _, _, decay in part.decays(held)]
            inputs = [t.detach().requires_grad_() for side in sides for t in side]
            with torch.enable_grad():
                decays = [(*step[:2], decay) for step, decay in zip(legs, inputs[3:])]
                found = part_sums((inputs[0], inputs[1], inputs[2]), decays, part, extents)
            own = torch.autograd.grad(found, inputs, grad_outputs[0][part.heads][:, part.rows])
            targets = *part.operands(*grads[:3]), *(grad for _, _, grad in part.decays(into))
            for target, grad in zip(targets, own):
                target += grad.sum_to_size(target.shape)
        own_fields: Any = [None] * len(fields)
        varied = [(s[2], grad) for s, grad in zip(legs, grads[3:]) if s[2].requires_grad]
        if varied and any(ctx.needs_input_grad[5:]):
            outputs, upstream = zip(*varied)
            own_fields = torch.autograd.grad(outputs, leaves, upstream, allow_unused=True)
        own_heads = (per_kv_head(grad, t.shape[1]) for grad, t in zip(grads[1:3], (k, v)))
        return None, None, grads[0], *own_heads, *own_fields


class PathPart(NamedTuple):
    """A part of the work.

    Attributes:
        heads: a batch element, and some heads.
        rows: the queries.
        channels: those of queries and keys.
        by_pairs: whether scores of pairs decay, or products of keys and values.
    """

    heads: tuple[int, slice]
    rows: slice
    channels: slice
    by_pairs: bool

    def operands(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views of queries, keys and values: (heads, tokens, width)."""
        return (
            q[self.heads][:, self.rows, self.channels],
            k[self.heads][:, :, self.channels],
            v[self.heads],
        )

    def decays(self, legs: list[PathStep]) -> list[PathStep]:
        """Views of the decays: (heads or 1, lines, to, from)."""
        batch, heads = self.heads
        found: list[PathStep] = []
        for order, step, decay in legs:
            own = decay[batch if decay.shape[0] > 1 else 0]
            found.append((order, step, own[heads] if own.shape[0] > 1 else own))
        return found


def path_parts(q: Tensor, v: Tensor, extents: tuple[int, ...], paths: int) -> Iterator[PathPart]:
    """The work, in parts that fit the workspace."""
    batch, heads, count, width = q.shape
    by_lines = paths * width * v.shape[-1] * sum(extents)
    by_pairs = count * (width + v.shape[-1] + paths * SCORE_PASSES) <= by_lines
    # A head's share of the least part: a row of queries, or one channel of them.
    least = count * (extents[1] if by_pairs else max(v.shape[-1], extents[1]))
    several = max(1, min(heads, PATH_ELEMENTS // least))
    size = max(1, PATH_ELEMENTS // (several * least))
    rows = size * extents[1]
    for element in range(batch):
        for head in range(0, heads, several):
            here = element, slice(head, head + several)
            if by_pairs:
                for row in range(0, count, rows):
                    yield PathPart(here, slice(row, row + rows), slice(None), True)
            else:
                for channel in range(0, width, size):
                    yield PathPart(here, slice(None), slice(channel, channel + size), False)


def part_sums(
    operands: tuple[Tensor, Tensor, Tensor], decays: list[PathStep], part: PathPart, extents: tuple[int, ...]
) -> Tensor:
    """What a part adds to its results: (heads, queries, width)."""
    q, k, v = operands
    if part.by_pairs:
        return sums_of_pairs(q, k, v, decays, part, extents)
    q, k, v = (t.unflatten(1, extents) for t in operands)
    pairs = zip(decays[::2], decays[1::2])
    found = [sums_of_lines(q, k, v, order, first, second) for (order, _, first), (_, _, second) in pairs]
    return sum(found[1:], found[0]).flatten(1, 2)


def sums_of_lines(
    q: Tensor, k: Tensor, v: Tensor, order: tuple[int, int], first: Tensor, second: Tensor
) -> Tensor:
    """Along one path: products of keys and values take its steps, then meet the queries.

    Args:
        q, k, v: (heads, h, w, channels).
    """
    turned = order == (0, 1)  # the first step goes down the columns
    if turned:
        k, v = k.transpose(1, 2), v.transpose(1, 2)
    else:
        q = q.transpose(1, 2)
    pairs = (k.unsqueeze(-1) * v.unsqueeze(-2)).flatten(-2)  # (heads, lines, from, channels * width)
    state = (first @ pairs).transpose(1, 2)
    # The second step and the product with the queries are one product of matrices, for every line.
    lines = state.unflatten(-1, (k.shape[-1], v.shape[-1])).flatten(2, 3)
    scores = (second.unsqueeze(-1) * q.unsqueeze(-2)).flatten(-2)  # (heads, lines, to, from * channels)
    out = scores @ lines
    return out if turned else out.transpose(1, 2)


def sums_of_pairs(
    q: Tensor, k: Tensor, v: Tensor, decays: list[PathStep], part: PathPart, extents: tuple[int, ...]
) -> Tensor:
    """Scores of whole rows of queries, which decay by products of what the steps leave."""
    rows = slice(part.rows.start // extents[1], part.rows.stop // extents[1])
    total: Any = 0.0
    for (order, _, first), (_, _, second) in zip(decays[::2], decays[1::2]):
        if order == (0, 1):  # (heads, query row, query column, key row, key column)
            left = first[:, :, rows].permute(0, 2, 3, 1).unsqueeze(2) * second[:, rows].unsqueeze(3)
        else:
            left = first.transpose(1, 2).unsqueeze(1) * second[:, :, rows].transpose(1, 2).unsqueeze(-1)
        total = total + left
    weight = (q @ k.transpose(-1, -2)) * total.flatten(3, 4).flatten(1, 2)
    return weight @ v


def path_steps(mechanism: type[Mechanism], at: dict[str, Any], device: torch.device) -> list[PathStep]:
    """The decays of both steps of every path."""
    extents = mechanism.query.extents(at)
    head = torch.arange(at["heads"], device=device).view(-1, 1, 1, 1)
    found: list[PathStep] = []
    for order, first, second in mechanism.paths:
        for step, hook in enumerate((first, second)):
            along, across = order[step], order[1 - step]
            line = torch.arange(extents[across], device=device).view(-1, 1, 1)
            place = torch.arange(extents[along], device=device)
            i, j = [line, line], [line, line]  # the place that a step does not know is not looked at
            i[along], j[along] = place.view(1, -1, 1), place.view(1, 1, -1)
            left = torch.as_tensor(hook(*i, *j, {**at, "head": head}), dtype=at["real dtype"], device=device)
            left = left[(None,) * (5 - left.dim())]
            found.append((order, step, left.expand(*left.shape[:2], len(line), len(place), len(place))))
    return found
