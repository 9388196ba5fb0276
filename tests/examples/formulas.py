"""What the examples that are more than a mask compute, in plain torch: dense formulas of papers and code.

Written from the sources and in another form than the specs: windows are cut out and put back, paths are
multiplied edge by edge, convolutions and resizing are torch's own. One function per example,
`name(t, **parameters)`, with inputs and learned tensors by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Formula = Callable[..., Tensor]
FORMULAS: dict[str, Formula] = {}


@dataclass(frozen=True)
class Tensors:
    """Inputs and learned tensors as attributes."""

    values: dict[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        return self.values[name]


def formula(function: Formula) -> Formula:
    """Enters a formula under the name of its example."""
    assert function.__name__ not in FORMULAS
    FORMULAS[function.__name__] = function
    return function


# --- Parts --------------------------------------------------------------------------------------------


def attention(
    q: Tensor, k: Tensor, v: Tensor, visible: Any = None, bias: Any = 0.0, scale: Any = None
) -> Tensor:
    """Softmax attention along the last two axes; a query without keys gets zeros."""
    return weights(q, k, visible, bias, scale) @ v


def weights(q: Tensor, k: Tensor, visible: Any = None, bias: Any = 0.0, scale: Any = None) -> Tensor:
    """The softmax weights (..., queries, keys)."""
    s = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale) + bias
    if visible is None:
        return s.softmax(-1)
    visible = visible & (s > -math.inf)
    weight = torch.where(visible, torch.exp(s - s.detach().amax(-1, keepdim=True)), 0.0)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1e-300)


def tokens(*features: Tensor) -> tuple[Tensor, ...]:
    """Grids (batch, heads, h, w, width) as lists of tokens."""
    return tuple(feature.flatten(2, 3) for feature in features)


def heads(y: Tensor, count: int) -> Tensor:
    """(batch, n, count * width) as (batch, count, n, width)."""
    return y.unflatten(-1, (count, -1)).transpose(1, 2)


def merged(o: Tensor) -> Tensor:
    """(batch, heads, n, width) as (batch, n, heads * width)."""
    return o.transpose(1, 2).flatten(2)


def rms(y: Tensor, eps: float) -> Tensor:
    return torch.sqrt((y * y).mean(-1, keepdim=True) + eps)


def rope(f: Tensor) -> Tensor:
    """GPT-NeoX: f * cos + rotate_half(f) * sin."""
    half = f.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = (torch.arange(f.shape[-2]).unsqueeze(-1) * rate).repeat(1, 2)
    return f * angle.cos() + torch.cat([-f[..., half:], f[..., :half]], -1) * angle.sin()


def convolved(f: Tensor, weight: Tensor) -> Tensor:
    """Depthwise: f (batch, heads, h, w, width), weight (heads, size, size, width)."""
    maps = f.permute(0, 1, 4, 2, 3).flatten(1, 2)
    kernel = weight.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(1)
    out = functional.conv2d(maps, kernel, padding=weight.shape[1] // 2, groups=maps.shape[1])
    return out.unflatten(1, (f.shape[1], -1)).permute(0, 1, 3, 4, 2)


def nearest(k: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    """The codewords of tokens without gradient, and straight through."""
    label = ((k.unsqueeze(-2) - code.unsqueeze(-3)) ** 2).sum(-1).argmin(-1)
    every = code.expand(k.shape[0], *code.shape) if code.dim() == k.dim() - 1 else code
    hat = every.gather(-2, label.unsqueeze(-1).expand(*label.shape, k.shape[-1])).detach()
    return hat, k + (hat - k).detach()


# --- Windows and grids ----------------------------------------------------------------------------------


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


# --- Codebooks --------------------------------------------------------------------------------------------


@formula
def transformer_vq(t: Tensors, codes: int, block: int) -> Tensor:
    """Dense causal attention to quantised keys; gradients reach keys of this and the last block."""
    hat, through = nearest(t.k, t.c_code)
    i, j = torch.meshgrid(torch.arange(t.q.shape[2]), torch.arange(t.q.shape[2]), indexing="ij")
    exact = i // block - j // block <= 1
    s = torch.where(exact, t.q @ through.transpose(-1, -2), t.q @ hat.transpose(-1, -2))
    s = (s * t.q.shape[-1] ** -0.5).masked_fill(j > i, -math.inf)
    return s.softmax(-1) @ t.v


@formula
def longvq(t: Tensors, codes: int, block: int) -> Tensor:
    """Dense attention to quantised keys, with a bias on near blocks."""
    hat, through = nearest(t.k, t.c_code)
    i, j = torch.meshgrid(torch.arange(t.q.shape[2]), torch.arange(t.q.shape[2]), indexing="ij")
    exact = (i // block - j // block).abs() <= 1
    s = (
        torch.where(exact, t.q @ through.transpose(-1, -2), t.q @ hat.transpose(-1, -2))
        * t.q.shape[-1] ** -0.5
    )
    bias = t.table[:, (i - j + 2 * block - 1).clamp(0, 4 * block - 2)]
    return (s + torch.where(exact, bias, 0.0)).softmax(-1) @ t.v


@formula
def largegt(t: Tensors, codes: int, count: int) -> Tensor:
    """Every node attends to all nodes, each replaced by its centroid."""
    width = t.y.shape[-1]
    u = torch.cat([t.y @ t.project_weight, t.p], -1)
    centroid = nearest(u, t.c_code)[0]
    q = heads(u @ t.project_weight2, count)
    k = heads(centroid @ t.project_weight3, count)
    v = heads(centroid[..., :width] @ t.project_weight4, count)
    return merged(attention(q, k, v))


# --- Low rank, pooled and latent keys -----------------------------------------------------------------------


@formula
def linformer(t: Tensors, rank: int, longest: int) -> Tensor:
    n = t.q.shape[2]
    return attention(t.q, t.e[:n].T @ t.k, t.f[:n].T @ t.v)


@formula
def lama(t: Tensors, heads_: int) -> Tensor:
    """Head r scores token j by c' P_r Q_r' h_j, one rank-one matrix each."""
    out = []
    for y, real in zip(t.y, t.real):
        context = y[real].sum(0) / max(int(real.sum()), 1e-9)
        forms = torch.einsum("ar,br->rab", t.project_weight, t.project_weight2)
        s = torch.tanh(torch.einsum("a,rab,nb->rn", context, forms, y))
        s = s / s.norm(dim=0, keepdim=True).clamp(min=1e-9)
        out.append(
            (s.masked_fill(~real, -1e9).softmax(-1) @ y).flatten() if real.any() else 0 * y[0].repeat(heads_)
        )
    return torch.stack(out)


@formula
def core_context(t: Tensors, group: int, local: int) -> Tensor:
    """Query by query: cores of the groups that are far enough, every token after them."""
    n, scale = t.q.shape[2], t.q.shape[-1] ** -0.5
    cores = []
    for start in range(0, n - group + 1, group):
        own = slice(start, start + group)
        p = (t.q[:, :, start + group - 1 : start + group] @ t.k[:, :, own].transpose(-1, -2) * scale).softmax(
            -1
        )
        cores.append((p @ t.k[:, :, own], p @ t.v[:, :, own]))
    rows = []
    for i in range(n):
        far = max(0, (i + 1 - local) // group)
        keys = torch.cat([*(k for k, _ in cores[:far]), t.k[:, :, far * group : i + 1]], 2)
        values = torch.cat([*(v for _, v in cores[:far]), t.v[:, :, far * group : i + 1]], 2)
        rows.append(attention(t.q[:, :, i : i + 1], keys, values))
    return torch.cat(rows, 2)


@formula
def rg_sa(t: Tensors, count: int) -> Tensor:
    maps = t.y.permute(0, 3, 1, 2)
    kernel = t.kernel.permute(2, 0, 1).unsqueeze(1)
    for _ in range(2):
        maps = functional.conv2d(maps, kernel, stride=4, groups=maps.shape[1])
    local = t.depthwise_weight.permute(2, 0, 1).unsqueeze(1)
    maps = functional.conv2d(maps, local, padding=1, groups=maps.shape[1])
    z = maps.permute(0, 2, 3, 1) @ t.z_weight
    u = functional.gelu(functional.layer_norm(z, z.shape[-1:], eps=1e-5))
    q = heads((t.y @ t.project_weight).flatten(1, 2), count)
    k = heads((u @ t.project_weight2).flatten(1, 2), count)
    v = u @ t.v_weight
    v = v + convolved(v.unsqueeze(1), t.depthwise_weight2.unsqueeze(0))[:, 0]
    out = merged(attention(q, k, heads(v.flatten(1, 2), count)))
    return (out @ t.out_weight).unflatten(1, t.y.shape[1:3])


def latent(q: Tensor, qr: Tensor, c: Tensor, kr: Tensor, width: int) -> Tensor:
    """Scores of latents plus scores of shared rotary keys; values are the latents."""
    s = q @ c.transpose(-1, -2) + rope(qr) @ rope(kr).transpose(-1, -2)
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    return (s / math.sqrt(width + kr.shape[-1])).masked_fill(future, -math.inf).softmax(-1) @ c


@formula
def mla(t: Tensors, width_: int) -> Tensor:
    o = latent(t.q, t.qr, t.c.unsqueeze(1), t.kr.unsqueeze(1), width_)
    return torch.einsum("bhnc,hcw->bnw", o, t.project_weight)


@formula
def tpla(t: Tensors, width_: int, share: tuple[float, float]) -> Tensor:
    half, total = t.c.shape[-1] // 2, 0.0
    for at, part in enumerate((slice(0, half), slice(half, None))):
        alpha = 1 / share[at]
        c = t.c[..., part] / (math.sqrt(alpha / 2) * rms(t.c[..., part], 1e-6 / (alpha / 2)))
        o = latent(t.q[..., part], t.qr, c.unsqueeze(1), t.kr.unsqueeze(1), width_)
        total = total + torch.einsum("bhnc,hcw->bnw", o, t.project_weight[:, part])
    return total


# --- Linear and channel attention ---------------------------------------------------------------------------


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


# --- Pairs of tokens, paths ----------------------------------------------------------------------------------


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


# --- Whole layers ----------------------------------------------------------------------------------------------


def causal(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril()


@formula
def layer(t: Tensors, count: int) -> Tensor:
    q, k, v = (heads(t.y @ w, count) for w in (t.project_weight0, t.project_weight1, t.project_weight2))
    return merged(attention(rope(q), rope(k), v, causal(t.y.shape[1]))) @ t.out_weight


@formula
def sinked(t: Tensors, size: int, count: int) -> Tensor:
    """Learned keys in front of the sequence."""
    batch, n = t.q.shape[0], t.q.shape[2]
    keys, values = (
        torch.cat([learned.expand(batch, -1, -1, -1), own], 2) for learned, own in ((t.rk, t.k), (t.rv, t.v))
    )
    visible = causal(n) & ~causal(n).tril(-size)
    return attention(t.q, keys, values, torch.cat([torch.ones(n, count, dtype=torch.bool), visible], -1))


@formula
def moh(t: Tensors, shared_: int, routed: int) -> Tensor:
    """A sum over heads of gate * output * its rows of the output projection."""
    count = shared_ + routed
    q, k, v = (heads(t.y @ w, count) for w in (t.project_weight0, t.project_weight1, t.project_weight2))
    o = attention(q, k, v)
    share = 2 * (t.y @ t.project_weight).softmax(-1)
    always = shared_ * (t.y @ t.project_weight3).softmax(-1)
    chosen = routed * (t.y @ t.project_weight4).softmax(-1)
    gates = torch.cat([share[..., :1] * always, share[..., 1:] * chosen], -1)
    rows = t.out_weight.unflatten(0, (count, -1))
    return torch.einsum("bnh,bhnw,hwd->bnd", gates, o, rows)


@formula
def gaam(t: Tensors) -> Tensor:
    """Gaussians around the mean, divided by their sum."""
    mean, var = t.y.mean(-1, keepdim=True), t.y.var(-1, keepdim=True) + 1e-8
    offset, spread = t.offset.view(-1, 1, 1), t.log_spread.exp().view(-1, 1, 1)
    g = torch.exp(-((t.y - mean - offset) ** 2) / (2 * var * spread**2)) / torch.sqrt(2 * math.pi * spread**2)
    return t.y * g / g.sum(-1, keepdim=True)


@formula
def mot(t: Tensors, count: int, kinds: int) -> Tensor:
    """Tokens of each modality are picked out, projected and scattered back."""

    def by_kind(y: Tensor, weight: Tensor) -> Tensor:
        out = torch.zeros_like(y)
        for kind in range(kinds):
            chosen = t.modality == kind
            out = out.masked_scatter(chosen.unsqueeze(-1), y[chosen] @ weight[kind])
        return out

    q, k, v = (
        heads(by_kind(t.y, w), count) for w in (t.project_weight0, t.project_weight1, t.project_weight2)
    )
    image = t.image
    same = (image.unsqueeze(-1) == image.unsqueeze(-2)) & (image > 0).unsqueeze(-1)
    o = merged(attention(q, k, v, (causal(image.shape[1]) | same).unsqueeze(1)))
    out = by_kind(o, t.out_weight)
    return out / rms(out, 1e-5) * t.gain[t.modality]
