"""One attend by its definition, for some rows of queries against every key."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import Field, VectorField, VisibleField
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_query_head, shaped_scores, visible_scores

SMALLEST_SUM = 1e-6
"""`normalize = linear` divides by at least this, with the sign of the row sum."""


def weighted_rows(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    rows: Tensor,
    q: Tensor | None,
    k: Tensor | None,
    v: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Output (batch, heads, rows, width) and, for a softmax, the natural log-sum-exp (batch, heads, rows).

    Args:
        rows: the numbers of the queries.
        q: these queries only, (batch, heads, rows, width).
    """
    dtype, heads = at["real dtype"], at["heads"]
    i, j = (
        coordinates(mechanism.query.extents(at), v.device),
        coordinates(mechanism.key.extents(at), v.device),
    )
    rows = rows + at.get("offset", 0)
    i, j = [coord[rows].view(1, -1, 1) for coord in i], [coord.view(1, 1, -1) for coord in j]
    at = {**at, "head": torch.arange(heads, device=v.device).view(-1, 1, 1, 1)}
    v = per_query_head(v.to(dtype), heads)
    if q is None or k is None:
        s = v.new_zeros(1, 1, 1, len(rows), v.shape[2])  # fields bring batch and heads, where there are any
    else:
        k = per_query_head(k.to(dtype), heads)
        s = ((q.to(dtype) * mechanism.scale(at)) @ k.transpose(-1, -2)).unsqueeze(2)
    shaped = shaped_scores(mechanism, at, s.detach(), i, j)
    visible = mechanism.where(*i, *j, at)
    if visible is True and bool(shaped.amin() > -torch.inf):
        s = shaped_scores(mechanism, at, s, i, j) if torch.is_grad_enabled() else shaped
        weight, lse = normalized_all(mechanism.normalize, s)
    else:
        visible = torch.as_tensor(visible, device=v.device) & (shaped != -torch.inf)
        s = visible_scores(mechanism, at, s, i, j, visible)
        weight, lse = normalized(mechanism.normalize, s, visible)
    if mechanism.times is not None:
        weight = weight * visible_times(mechanism, at, i, j, torch.as_tensor(visible, device=v.device))
    return weight.squeeze(2) @ v, None if lse is None else lse.squeeze(2)


def visible_times(
    mechanism: type[Mechanism], at: dict[str, Any], i: list[Tensor], j: list[Tensor], visible: Tensor
) -> Tensor:
    """The factors of weights, zero where a pair is hidden: one may be infinite there."""
    fields = {name: VisibleField(at[name], visible) for name in mechanism.real_fields}
    times = mechanism.times(*i, *j, {**at, **fields})
    return torch.where(visible, torch.as_tensor(times, dtype=at["real dtype"], device=visible.device), 0.0)


def normalized_all(normalize: str, s: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weights of scores where every pair is visible; for a softmax also the log-sum-exp."""
    match normalize:
        case "softmax":
            return s.softmax(-1), s.logsumexp(-1)
        case "sigmoid":
            return torch.sigmoid(s), None
        case "linear":
            return s / away_from_zero(s.sum(-1, keepdim=True)), None
        case _:
            return s, None


def normalized(normalize: str, s: Tensor, visible: Tensor) -> tuple[Tensor, Tensor | None]:
    """As `normalized_all` for visible pairs; the weights of hidden ones are zero."""
    if normalize != "softmax":
        return torch.where(visible, normalized_all(normalize, torch.where(visible, s, 0.0))[0], 0.0), None
    # Rows without keys pass through finite numbers so that no NaN is born.
    seen = visible.any(-1, keepdim=True)
    s = torch.where(visible, s, torch.where(seen, -torch.inf, 0.0))
    lse = torch.where(seen[..., 0], s.logsumexp(-1), -torch.inf)
    return torch.where(seen, s.softmax(-1), 0.0), lse


def away_from_zero(total: Tensor) -> Tensor:
    """A divisor of at least `SMALLEST_SUM`; its sign is kept."""
    least = torch.where(total < 0, -SMALLEST_SUM, SMALLEST_SUM)
    return torch.where(total.abs() < SMALLEST_SUM, least, total)


def query_extents(mechanism: type[Mechanism], at: dict[str, Any]) -> tuple[int, ...]:
    """The extents of the queries: of all tokens, or of those that a decoding step computes."""
    return (at["queries"],) if "queries" in at else mechanism.query.extents(at)


def coordinates(extents: tuple[int, ...], device: torch.device | None = None) -> list[Tensor]:
    """The coordinates of every token, per axis."""
    grid = torch.meshgrid(*(torch.arange(extent, device=device) for extent in extents), indexing="ij")
    return [coord.flatten() for coord in grid]


def as_field(value: Tensor, extents: tuple[int, ...]) -> Field:
    """A scalar value (batch, heads, tokens, 1) as a field that expressions look up."""
    return Field(value[..., 0].unflatten(2, extents))


def as_vectors(value: Tensor, extents: tuple[int, ...]) -> VectorField:
    """A feature (batch, heads, tokens, width) whose vectors expressions look up."""
    return VectorField(value.unflatten(2, extents))
