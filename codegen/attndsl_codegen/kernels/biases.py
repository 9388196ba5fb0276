"""Steps of attention with a bias: as one row for all queries of a tile where that is possible.

A bias that is a term of the query plus a term of the key moves the scores of a key for all queries alike;
its other term moves their log-sum-exp and nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import Field
from attndsl_codegen.kernels.fused import fused_backward, fused_forward
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import of_one_tile
from attndsl_codegen.kernels.steps import Step

NEGLIGIBLE = {torch.float32: 40.0, torch.float64: 80.0}
"""Keys whose weight is at most exp(-40) of another's are hidden: no sum shows them, and weights that leave
the range of normal numbers are multiplied many times slower."""
SPREAD = 128.0
"""By how much the biases of a tile's queries may differ; scores are rounded as numbers of that size are."""


def biased_forward(
    mechanism: type[Mechanism], at: dict[str, Any], step: Step, tensors: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Output and natural log-sum-exp (batch * heads, tiles, queries) of a step."""
    scale, (bias, shift) = mechanism.scale(at), step_bias(mechanism, at, step)
    mask = with_bias(step.hidden, bias, reach_of(bias, scale, *tensors[:2]), None)
    out, lse = fused_forward(scale, tensors, mask)
    return out, lse if shift is None else lse + shift


def biased_backward(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    step: Step,
    tensors: tuple[Tensor, Tensor, Tensor],
    saved: tuple[Tensor, Tensor],
    grad_out: Tensor,
    grad_lse: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Gradients of q, k and v; None where the operator cannot take in that of the log-sum-exp."""
    scale, (bias, shift) = mechanism.scale(at), step_bias(mechanism, at, step)
    out, lse = saved
    lse = lse if shift is None else lse - shift
    mask = with_bias(step.hidden, bias, reach_of(bias, scale, *tensors[:2]), lse)
    return fused_backward(scale, tensors, mask, (out, lse), grad_out, grad_lse)


def step_bias(mechanism: type[Mechanism], at: dict[str, Any], step: Step) -> tuple[Tensor, Tensor | None]:
    """The bias of a step: what is added to scores, and what is added to the log-sum-exp.

    Returns:
        (1 or batch * heads, tiles, 1 or queries, keys) and (1 or batch * heads, tiles, queries), or None.
    """
    at = at_step(at, step)
    if mechanism.separable_bias:
        middle = [coord[:, coord.shape[1] // 2, None] for coord in step.i]
        row = bias_at(mechanism, at, middle, step.j)
        greatest, place = row.max(-1, keepdim=True)  # of the keys that matter: scores are rounded least there
        key = [coord.expand_as(row).gather(-1, place) for coord in step.j]
        shift = bias_at(mechanism, at, step.i, key)
        if float((shift.amax(-2) - shift.amin(-2)).max()) <= SPREAD:
            row = row - greatest.masked_fill(greatest == -torch.inf, 0.0)
            return folded(row, step), folded(shift, step).squeeze(-1)
    places = of_one_tile(step.i, step.j) if mechanism.bias_by_distance else (step.i, step.j)
    return folded(bias_at(mechanism, at, *places), step), None


def bias_at(mechanism: type[Mechanism], at: dict[str, Any], i: list[Tensor], j: list[Tensor]) -> Tensor:
    """The bias of pairs, (batch or 1, heads or 1, tiles, queries, keys)."""
    bias = torch.as_tensor(mechanism.bias(*i, *j, at), dtype=at["real dtype"])
    shape = torch.broadcast_shapes(i[0].shape, j[0].shape, bias.shape)
    return bias.expand((1,) * (5 - len(shape)) + tuple(shape))


def reach_of(bias: Tensor, scale: float, q: Tensor, k: Tensor) -> Tensor:
    """How far the products of queries with a key may be from zero, of a shape to go with the bias.

    They are at most those of the lengths (Cauchy and Schwarz).

    Args:
        q, k: (layers, tiles, queries, width) and (layers, tiles, keys, width).
    """
    lengths = (torch.linalg.vector_norm(t, dim=-1) for t in (q, k))
    reach = abs(scale) * next(lengths).amax(-1)[..., None, None] * next(lengths).unsqueeze(-2)
    for axis in (0, 1):
        if bias.shape[axis] == 1:
            reach = reach.amax(axis, keepdim=True)
    return reach


def with_bias(hidden: Tensor | None, bias: Tensor, reach: Tensor, lse: Tensor | None) -> Tensor:
    """A mask and a bias, without keys that have no weight to speak of because others' are so much larger.

    Args:
        hidden: minus infinity where a pair is not visible, or None.
        bias: (layers or 1, tiles or 1, queries or 1, keys).
        lse: the log-sum-exp over all keys, (layers, tiles, queries), if it is known.
    """
    if lse is None:
        best = bias - reach if hidden is None else bias - reach + hidden
        best = best.amax(-1, keepdim=True)
    else:
        best = lse.masked_fill(lse == -torch.inf, torch.inf).unsqueeze(-1)
    best = best - NEGLIGIBLE[bias.dtype]
    for axis in range(-best.dim(), -2 if hidden is not None else -1):
        if bias.shape[axis] == 1:
            best = best.amin(axis, keepdim=True)
    negligible = bias + reach < best
    bias = bias if hidden is None else bias + hidden
    return bias.masked_fill(negligible, -torch.inf)


def folded(value: Tensor, step: Step) -> Tensor:
    """(batch or 1, heads or 1, tiles, queries, keys) with batch and heads in one axis."""
    if value.shape[:2] == (1, 1):
        return value[0]
    return value.expand(*step.layers, *value.shape[2:]).flatten(0, 1)


def at_step(at: dict[str, Any], step: Step) -> dict[str, Any]:
    """`at` for the batch elements and heads of a step."""
    here = {name: field_slice(value, step.layer) for name, value in at.items()}
    heads = torch.arange(at["heads"], device=step.device)[step.layer[1]]
    return {**here, "head": heads.view(-1, 1, 1, 1)}


def field_slice(value: Any, layer: tuple[slice, slice]) -> Any:
    """A field restricted to the batch elements and heads at hand; anything else as it is."""
    if not isinstance(value, Field):
        return value
    (batch, head), (batches, heads) = layer, value.data.shape[:2]
    return type(value)(value.data[batch if batches > 1 else slice(None), head if heads > 1 else slice(None)])
