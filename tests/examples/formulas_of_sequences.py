"""Formulas on lists of tokens; see formulas.py."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tests.examples.formulas import (
    Tensors,
    attention,
    causal,
    convolved,
    formula,
    heads,
    merged,
    nearest,
    rms,
    rope,
)

# --- Codebooks --------------------------------------------------------------------------------------


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


# --- Low rank, pooled and latent keys ---------------------------------------------------------------


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


# --- Whole layers -----------------------------------------------------------------------------------


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
    shift, spread = t.shift.view(-1, 1, 1), t.log_spread.exp().view(-1, 1, 1)
    g = torch.exp(-((t.y - mean - shift) ** 2) / (2 * var * spread**2)) / torch.sqrt(2 * math.pi * spread**2)
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


# --- Decay ------------------------------------------------------------------------------------------


def recurrent(q: Tensor, k: Tensor, v: Tensor, kept: Tensor) -> Tensor:
    """A state per head, token by token: what is kept of it, plus the products of a key and its value.

    Args:
        kept: (batch | 1, heads, tokens).
    """
    state, found = torch.zeros(*q.shape[:2], k.shape[-1], v.shape[-1], dtype=q.dtype), []
    for at in range(q.shape[2]):
        state = kept[:, :, at, None, None] * state + k[:, :, at, :, None] * v[:, :, at, None, :]
        found.append((q[:, :, at, None, :] @ state).squeeze(-2))
    return torch.stack(found, 2)


@formula
def retention(t: Tensors) -> Tensor:
    rate = 1 - 2.0 ** (-5 - torch.arange(t.q.shape[1], dtype=t.q.dtype))
    return recurrent(t.q * t.q.shape[-1] ** -0.5, t.k, t.v, rate.view(1, -1, 1).expand(1, -1, t.q.shape[2]))


@formula
def state_space(t: Tensors) -> Tensor:
    return recurrent(t.q, t.k, t.v, t.la.exp())
