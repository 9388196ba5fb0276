"""Choices among heads, channels or tokens: conditions and ranks, without gradient.

Features are (batch, heads, tokens, width). What `where` hides is never chosen; what `always` names comes
first; then the largest, among equals the lowest index.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.arguments import need
from attndsl_codegen.kernels.operators import per_token


def tabulated(places: tuple[Any, ...], extents: tuple[int, ...]) -> Tensor:
    """An expression of every token's coordinates, (batch or 1, heads or 1, tokens, 1)."""
    value = per_token(torch.as_tensor(places[0]))
    return value.expand(*value.shape[:2], math.prod(extents)).unsqueeze(-1)


def top_entries(
    e: Tensor, where: Any, always: Any, count: int, extents: tuple[int, ...], dims: tuple[int, ...]
) -> Tensor:
    """The `count` largest entries along dimensions of (batch, heads, *extents, width)."""
    e, may, must, shape = competing(e, where, always, extents, dims)
    order = order_of_choice(e, may, must)
    first = torch.arange(e.shape[-1], device=e.device).expand(e.shape) < count
    chosen = torch.zeros_like(may).scatter(-1, order, first)
    return not_competing(may & (chosen | must), shape, dims)


def mass_entries(
    e: Tensor, where: Any, always: Any, share: float, extents: tuple[int, ...], dims: tuple[int, ...]
) -> Tensor:
    """The fewest largest entries that hold a share of the sum; at least one besides those of `always`."""
    e, may, must, shape = competing(e, where, always, extents, dims)
    need(~(may & (e < 0)), "mass: a weight is negative; for scores write exp(...)")
    order = order_of_choice(e, may, must)
    weight = torch.where(may, e, 0.0).gather(-1, order)
    running = weight.cumsum(-1)
    total = running[..., -1:]
    place = torch.arange(e.shape[-1], device=e.device)
    needed = (running - weight < share * total) | (place == must.sum(-1, keepdim=True)) | (total == 0)
    chosen = torch.zeros_like(may).scatter(-1, order, needed)
    return not_competing(may & (chosen | must), shape, dims)


def competing(
    e: Tensor, where: Any, always: Any, extents: tuple[int, ...], dims: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Entries, which may and which must be chosen, with those that compete last; the shape of their grid."""
    yes = torch.ones((), dtype=torch.bool, device=e.device)
    parts = (e.detach(), yes if where is None else where, ~yes if always is None else always)
    grids = [part.unflatten(2, extents) for part in torch.broadcast_tensors(*parts)]
    e, may, must = (g.movedim(dims, tuple(range(-len(dims), 0))).flatten(-len(dims)) for g in grids)
    return e, may, must & may, tuple(grids[0].shape)


def not_competing(chosen: Tensor, shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """Rows of entries as (batch, heads, tokens, width) again."""
    rows = chosen.unflatten(-1, [shape[dim] for dim in dims])
    return rows.movedim(tuple(range(-len(dims), 0)), dims).flatten(2, -2)


def order_of_choice(e: Tensor, may: Tensor, must: Tensor) -> Tensor:
    """The numbers of the entries, first choice first."""
    by_value = e.argsort(dim=-1, descending=True, stable=True)
    group = torch.where(must, 0, torch.where(may, 1, 2)).gather(-1, by_value)
    return by_value.gather(-1, group.argsort(dim=-1, stable=True))


def ranked(f: Tensor) -> Tensor:
    """The place of every token when tokens are sorted by a number each, the lowest first, stably."""
    return f.detach().argsort(dim=2, stable=True).argsort(dim=2)


def min_max(e: Tensor, extents: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """Entries moved and scaled to [0, 1] along dimensions; nearly equal ones are only moved."""
    grid = e.unflatten(2, extents)
    low = grid.amin(dims, keepdim=True)
    span = grid.amax(dims, keepdim=True) - low
    return ((grid - low) / torch.where(span <= 1e-6, 1.0, span)).flatten(2, -2)
