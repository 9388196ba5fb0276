"""Formulas of linear-time programs as plain PyTorch: what one would write by hand. Used by linear.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from measure_memory import PROGRAMS
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, elu, one_hot, relu
from torch.nn.functional import scaled_dot_product_attention as sdpa


def linear(t: Mapping[str, Tensor]) -> Tensor:
    q, k, v = elu(t["q"]) + 1, elu(t["k"]) + 1, t["v"]
    return (q @ (k.transpose(-1, -2) @ v)) / (q @ k.sum(2, keepdim=True).transpose(-1, -2))


def linear_causal(t: Mapping[str, Tensor], chunk: int = 128) -> Tensor:
    """In chunks: products within one, a running sum of states before it."""
    q, k, v = (x.unflatten(2, (-1, chunk)) for x in (elu(t["q"]) + 1, elu(t["k"]) + 1, t["v"]))
    state = (k.transpose(-1, -2) @ v).cumsum(2).roll(1, 2)
    total = k.sum(3, keepdim=True).cumsum(2).roll(1, 2)
    state[:, :, 0], total[:, :, 0] = 0, 0
    near = (q @ k.transpose(-1, -2)).tril()
    out = near @ v + q @ state
    return (out / (near.sum(-1, keepdim=True) + q @ total.transpose(-1, -2))).flatten(2, 3)


def retention(t: Mapping[str, Tensor], chunk: int = 128) -> Tensor:
    """In chunks: products within one, and a state that fades from chunk to chunk."""
    q, k, v = (t[name].unflatten(2, (-1, chunk)) for name in "qkv")
    rate = (1 - 2.0 ** (-5 - torch.arange(q.shape[1]))).view(1, -1, 1, 1)
    i = torch.arange(chunk)
    inside = (rate ** (i.view(-1, 1) - i)).tril().unsqueeze(2)
    out = (q @ k.transpose(-1, -2) * inside) @ v
    since, until = rate ** (i.view(-1, 1) + 1), rate ** (chunk - 1 - i.view(-1, 1))
    added = (k * until.unsqueeze(2)).transpose(-1, -2) @ v
    states = [torch.zeros_like(added[:, :, 0])]
    for part in added.unbind(2)[:-1]:
        states.append(rate**chunk * states[-1] + part)
    out = out + (q * since.unsqueeze(2)) @ torch.stack(states, 2)
    return out.flatten(2, 3) * t["q"].shape[-1] ** -0.5


def l2vit(t: Mapping[str, Tensor]) -> Tensor:
    q, k, v = relu(t["q"]), relu(t["k"]), t["v"]
    total = (q * k.sum(2, keepdim=True)).sum(-1, keepdim=True)
    return t["temperature"].view(-1, 1, 1) * (q @ (k.transpose(-1, -2) @ v)) / total.clamp(min=100)


def mala(t: Mapping[str, Tensor]) -> Tensor:
    q, k, v = elu(t["q"]) + 1, elu(t["k"]) + 1, t["v"]
    scale = q.shape[-1] ** -0.5
    total = scale * q @ k.mean(2, keepdim=True).transpose(-1, -2)
    beta, n = 1 + 1 / (total + 1e-6), k.shape[2]
    y = beta * (q @ ((k * (scale / n)).transpose(-1, -2) @ v)) - total * v.mean(2, keepdim=True)
    return (y + convolution(v, t["depthwise_weight"], 5)) * t["o"]


def agent(t: Mapping[str, Tensor]) -> Tensor:
    q, k, v = t["q"], t["k"], t["v"]
    side = round(q.shape[2] ** 0.5)
    grid = q.flatten(0, 1).transpose(1, 2).unflatten(-1, (side, side))
    a = adaptive_avg_pool2d(grid, (7, 7)).flatten(2).transpose(1, 2)
    a = a.unflatten(0, q.shape[:2])
    return sdpa(q, a, sdpa(a, k, v)) + convolution(v, t["depthwise_weight"], 3)


def convolution(v: Tensor, kernel: Tensor, size: int) -> Tensor:
    """Depthwise, with a kernel (heads, size, size, width)."""
    side = round(v.shape[2] ** 0.5)
    grid = v.transpose(-1, -2).flatten(1, 2).unflatten(-1, (side, side))
    weight = kernel.movedim(-1, 1).flatten(0, 1).unsqueeze(1)
    out = conv2d(grid, weight, padding=size // 2, groups=grid.shape[1])
    return out.flatten(2).unflatten(1, v.shape[1::2]).transpose(-1, -2)


def channel(t: Mapping[str, Tensor]) -> Tensor:
    q, k, v = (t[name].transpose(-1, -2) for name in "qkv")
    return sdpa(q, k, v, scale=t["q"].shape[-1] ** -0.5).transpose(-1, -2)


def linformer(t: Mapping[str, Tensor]) -> Tensor:
    n = t["q"].shape[2]
    e, f = t["e"][:n].T, t["f"][:n].T
    return sdpa(t["q"], e @ t["k"], f @ t["v"])


def labels(k: Tensor, code: Tensor) -> Tensor:
    """The nearest codeword of every key, (batch, heads, tokens)."""
    return ((code**2).sum(-1).unsqueeze(-2) - 2 * k @ code.transpose(-1, -2)).argmin(-1)


def codebook(t: Mapping[str, Tensor]) -> Tensor:
    code, v = t["c_code"].unsqueeze(0), t["v"]
    with torch.no_grad():
        which = labels(t["k"], code)
        member = one_hot(which, code.shape[2]).to(v.dtype)
        count = member.sum(2)
    mean = (member.transpose(-1, -2) @ v) / count.clamp(min=1).unsqueeze(-1)
    return sdpa(t["q"], code, mean, attn_mask=count.log().unsqueeze(2))


def codebook_causal(t: Mapping[str, Tensor], block: int = 128) -> Tensor:
    """The own block and the one before token by token, all earlier ones by codeword; one softmax."""
    code, k = t["c_code"].unsqueeze(0), t["k"]
    with torch.no_grad():
        which = labels(k, code)
        member = one_hot(which, code.shape[2]).to(k.dtype).unflatten(2, (-1, block))
        count = earlier(member.sum(3).cumsum(2), 2).unsqueeze(3)
    codes = code.expand(*k.shape[:2], -1, -1).gather(2, which.unsqueeze(-1).expand_as(k))
    q, k, v = (x.unflatten(2, (-1, block)) for x in (t["q"], k + (codes - k).detach(), t["v"]))
    total = earlier((member.transpose(-1, -2) @ v).cumsum(2), 2)
    scale = q.shape[-1] ** -0.5
    near = scale * q @ torch.cat([earlier(k, 1), k], 3).transpose(-1, -2)
    far = scale * q @ code.unsqueeze(2).transpose(-1, -2) + count.log()
    hidden = torch.ones(k.shape[2], block, 2 * block, dtype=torch.bool).triu(block + 1)
    hidden[0, :, :block] = True
    weight = torch.cat([near.masked_fill(hidden, -torch.inf), far], -1).softmax(-1)
    means = total / count.clamp(min=1).transpose(-1, -2)
    return (weight @ torch.cat([earlier(v, 1), v, means], 3)).flatten(2, 3)


def earlier(blocks: Tensor, by: int) -> Tensor:
    """Every block's place taken by an earlier one, zeros before the first."""
    rest = blocks.new_zeros(*blocks.shape[:2], by, *blocks.shape[3:])
    return torch.cat([rest, blocks[:, :, :-by]], 2)


@dataclass(frozen=True)
class Transcription:
    """A program and its formula.

    Attributes:
        spec: the name of an example, or the text of a spec.
        plain: the formula, given inputs (batch, heads, tokens, width) and learned tensors by name.
        square: whether tokens lie on a square grid.
        parameters: of the spec, for a number of tokens.
    """

    spec: str
    plain: Callable[[Mapping[str, Tensor]], Tensor]
    square: bool = False
    parameters: Callable[[int], Mapping[str, int]] = lambda tokens: {}


TRANSCRIPTIONS = {
    "linear": Transcription(PROGRAMS["linear"], linear),
    "linear, causal": Transcription(PROGRAMS["linear, causal"], linear_causal),
    "retention": Transcription("retention", retention),
    "L2ViT": Transcription("l2vit", l2vit, square=True),
    "MALA": Transcription("mala", mala, square=True),
    "agent": Transcription(PROGRAMS["agent"], agent, square=True),
    "channels (DaViT)": Transcription("davit_channel", channel, square=True),
    "Linformer": Transcription("linformer", linformer, parameters=lambda tokens: {"longest": tokens}),
    "codebook": Transcription(PROGRAMS["codebook"], codebook),
    "codebook, causal": Transcription(PROGRAMS["codebook, causal"], codebook_causal),
}
