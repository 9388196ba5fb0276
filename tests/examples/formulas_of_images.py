"""Formulas on grids, and of pairs of tokens; see formulas.py."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.examples.formulas import (
    Tensors,
    attention,
    convolved,
    formula,
    tokens,
    weights,
)

# --- Windows and grids ------------------------------------------------------------------------------


def windows(f: Tensor, size: int) -> Tensor:
    """(batch, heads, h, w, width) as (batch, heads, rows, columns, size * size, width)."""
    return f.unflatten(3, (-1, size)).unflatten(2, (-1, size)).transpose(3, 4).flatten(4, 5)


def whole(f: Tensor, size: int) -> Tensor:
    """Windows put back."""
    return f.unflatten(4, (size, size)).transpose(3, 4).flatten(4, 5).flatten(2, 3)


def window_bias(table: Tensor, size: int, sign: int) -> Tensor:
    """The official index: differences of the coordinates inside a window, query minus key if sign is 1."""
    coords = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
    offset = sign * (coords[:, :, None] - coords[:, None, :]) + size - 1
    return table[:, offset[0], offset[1]][:, None, None]


@formula
def swin(t: Tensors, size: int, shift: int) -> Tensor:
    """Roll, cut, forbid pairs of different regions, put back, roll back."""
    extents = t.q.shape[2:4]
    region = torch.zeros(extents, dtype=torch.long)
    for axis, extent in enumerate(extents):
        cuts = (
            torch.tensor([extent - size, extent - size + (size - shift)]) if shift else torch.tensor([extent])
        )
        number = (torch.arange(extent).unsqueeze(-1) >= cuts).sum(-1)
        region = region * 3 + number.view(-1, 1) if axis == 0 else region * 3 + number
    # Rolled by size - shift, windows end where the spec's begin: at shift, shift + size, ...
    turn = (-shift, -shift)
    q, k, v = (windows(f.roll(turn, (2, 3)), size) for f in (t.q, t.k, t.v))
    rolled = windows(region.view(1, 1, *extents, 1), size)[..., 0]
    visible = rolled.unsqueeze(-1) == rolled.unsqueeze(-2)
    out = attention(q, k, v, visible, window_bias(t.table, size, 1))
    return whole(out, size).roll((shift, shift), (2, 3))


@formula
def maxvit_block(t: Tensors, size: int) -> Tensor:
    q, k, v = (windows(f, size) for f in (t.q, t.k, t.v))
    return whole(attention(q, k, v, bias=window_bias(t.table, size, -1)), size)


@formula
def maxvit_grid(t: Tensors, size: int) -> Tensor:
    """An axis of H tokens as (size, H // size); groups run over the first part."""

    def grids(f: Tensor) -> Tensor:
        return f.unflatten(3, (size, -1)).unflatten(2, (size, -1)).permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5)

    q, k, v = (grids(f) for f in (t.q, t.k, t.v))
    out = attention(q, k, v, bias=window_bias(t.table, size, -1))
    return out.unflatten(4, (size, size)).permute(0, 1, 4, 2, 5, 3, 6).flatten(4, 5).flatten(2, 3)


@formula
def gc_vit(t: Tensors, size: int) -> Tensor:
    """All windows of an image share their queries."""
    k, v = windows(t.k, size), windows(t.v, size)
    q = t.g.flatten(2, 3)[:, :, None, None].expand(*k.shape[:4], -1, -1)
    return whole(attention(q, k, v, bias=window_bias(t.table, size, 1)), size)


@formula
def agent(t: Tensors, size: int) -> Tensor:
    h, w = t.q.shape[2:4]

    def bias(table: Tensor, row: Tensor, column: Tensor) -> Tensor:
        resized = functional.interpolate(table.flatten(0, 2).unsqueeze(1), (h, w), mode="bilinear")
        resized = resized.squeeze(1).unflatten(0, (-1, size, size))
        return (resized + row[..., :h, None] + column[..., None, :w]).flatten(3).flatten(1, 2)

    maps = t.q.permute(0, 1, 4, 2, 3).flatten(1, 2)
    pooled = functional.adaptive_avg_pool2d(maps, (size, size)).unflatten(1, (t.q.shape[1], -1))
    agents = pooled.flatten(3).transpose(-1, -2)
    q, k, v = tokens(t.q, t.k, t.v)
    values = attention(agents, k, v, bias=bias(t.t1, t.row1, t.column1))
    out = attention(q, agents, values, bias=bias(t.t2, t.row2, t.column2).transpose(-1, -2))
    return out.unflatten(2, (h, w)) + convolved(t.v, t.depthwise_weight)


@formula
def volo_outlook(t: Tensors, size: int, stride: int) -> Tensor:
    """The official module: unfold, multiply by predicted weights, fold."""
    batch, count, h, w, width = t.v.shape
    maps = t.v.permute(0, 1, 4, 2, 3).flatten(0, 1)
    options = {"kernel_size": size, "padding": size // 2, "stride": stride}
    unfolded = functional.unfold(maps, **options).unflatten(1, (width, size**2))  # (B, width, slots, sites)
    sites = t.logit.flatten(0, 1).flatten(1, 2)  # (B, sites, slots, slots)
    mixed = torch.einsum("bnij,bcjn->bcin", (width**-0.5 * sites).softmax(-1), unfolded)
    out = functional.fold(mixed.flatten(1, 2), (h, w), **options)
    return out.unflatten(0, (batch, count)).permute(0, 1, 3, 4, 2)


# --- Linear and channel attention -------------------------------------------------------------------


@formula
def linear(t: Tensors) -> Tensor:
    s = (functional.elu(t.q) + 1) @ (functional.elu(t.k) + 1).transpose(-1, -2)
    return s / s.sum(-1, keepdim=True) @ t.v


@formula
def mala(t: Tensors) -> Tensor:
    """The quadratic form: weights s / S + s - S / n."""
    q, k, v = tokens(t.q, t.k, t.v)
    n = q.shape[2]
    s = (functional.elu(q) + 1) @ (functional.elu(k) + 1).transpose(-1, -2) * q.shape[-1] ** -0.5 / n
    total = s.sum(-1, keepdim=True)
    out = (s / (total + 1e-6) + s - total / n) @ v
    return (out.unflatten(2, t.q.shape[2:4]) + convolved(t.v, t.depthwise_weight)) * t.o


@formula
def l2vit(t: Tensors, least: float) -> Tensor:
    q, k, v = tokens(t.q, t.k, t.v)
    s = q.relu() @ k.relu().transpose(-1, -2)
    out = t.temperature.view(-1, 1, 1) * (s / s.sum(-1, keepdim=True).clamp(min=least)) @ v
    return out.unflatten(2, t.q.shape[2:4])


@formula
def davit_channel(t: Tensors) -> Tensor:
    q, k, v = tokens(t.q, t.k, t.v)
    a = (torch.einsum("bhnc,bhne->bhce", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
    return torch.einsum("bhce,bhne->bhnc", a, v).unflatten(2, t.q.shape[2:4])


@formula
def pam(t: Tensors, reduction: int) -> Tensor:
    x = t.y.flatten(1, 2)
    a = torch.einsum("bnc,bmc->bnm", x @ t.q_weight0, x @ t.q_weight1).softmax(-1)
    return t.gamma * (a @ (x @ t.project_weight)).unflatten(1, t.y.shape[1:3]) + t.y


@formula
def cam(t: Tensors) -> Tensor:
    """The code: energies are subtracted from the largest of their row."""
    x = t.y.flatten(1, 2).transpose(1, 2)
    energy = x @ x.transpose(1, 2)
    a = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
    return t.gamma * (a @ x).transpose(1, 2).unflatten(1, t.y.shape[1:3]) + t.y


# --- Pairs of tokens, paths -------------------------------------------------------------------------


def pair_attention(t: Tensors, visible: Any) -> Tensor:
    s = torch.einsum("bhid,bhjd,bhkd->bhijk", t.q, t.k1, t.k2) * t.q.shape[-1] ** -0.5
    a = s.masked_fill(~visible, -math.inf).flatten(3).softmax(-1).view_as(s)
    return torch.einsum("bhijk,bhjd,bhkd->bhid", a, t.v1, t.v2)


@formula
def tensor_attention(t: Tensors) -> Tensor:
    return pair_attention(t, torch.tensor(True))


@formula
def windowed_tensor(t: Tensors, near: int, far: int) -> Tensor:
    place = torch.arange(t.q.shape[2])
    distance = (place.unsqueeze(-1) - place).abs()
    return pair_attention(t, (distance < far).unsqueeze(-1) & (distance < near).unsqueeze(-2))


def line_products(edge: Tensor) -> Tensor:
    """Products of edge weights between all places of a line (..., n): edge m joins m - 1 and m."""
    n = edge.shape[-1]
    rows = []
    for a in range(n):
        row = [edge[..., min(a, b) + 1 : max(a, b) + 1].prod(-1) for b in range(n)]
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


def paths(t: Tensors) -> tuple[Tensor, Tensor]:
    """Weights of the two polyline paths, V2H and H2V: (batch, heads, tokens, tokens)."""
    rows = line_products(t.la.exp())  # (batch, heads, h, w, w)
    columns = line_products(t.lb.exp().transpose(-1, -2))  # (batch, heads, w, h, h)
    v2h = torch.einsum("bnijl,bnlik->bnijkl", rows, columns)
    h2v = torch.einsum("bnkjl,bnjik->bnijkl", rows, columns)
    return v2h.flatten(4, 5).flatten(2, 3), h2v.flatten(4, 5).flatten(2, 3)


@formula
def ppma(t: Tensors) -> Tensor:
    q, k, v = tokens(t.q, t.k, t.v)
    outs = (attention(q, k, v, bias=path.log()) for path in paths(t))
    return sum(outs).unflatten(2, t.q.shape[2:4]) / 2  # type: ignore[union-attr]


@formula
def ppma_product(t: Tensors) -> Tensor:
    q, k, v = tokens(t.q, t.k, t.v)
    v2h, h2v = paths(t)
    return (weights(q, k) * (v2h + h2v) @ v).unflatten(2, t.q.shape[2:4])


@formula
def ppma_linear(t: Tensors) -> Tensor:
    q, k, v = tokens(t.q, t.k, t.v)
    v2h, h2v = paths(t)
    return (q @ k.transpose(-1, -2) * (v2h + h2v) @ v).unflatten(2, t.q.shape[2:4])


@formula
def ppma_criss_cross(t: Tensors) -> Tensor:
    """Row maps (h, w, w) and column maps (w, h, h), applied in both orders."""
    rows = weights(t.q, t.k, bias=line_products(t.la.exp()).log())
    turned = (f.transpose(2, 3) for f in (t.q, t.k))
    columns = weights(*turned, bias=line_products(t.lb.exp().transpose(-1, -2)).log())

    def along(v: Tensor) -> Tensor:
        return rows @ v

    def down(v: Tensor) -> Tensor:
        return (columns @ v.transpose(2, 3)).transpose(2, 3)

    return (along(down(t.v)) + down(along(t.v))) / 2
