"""What programs compute besides attention, on tensors (batch, heads, tokens, width)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attndsl_codegen.kernels.arguments import need
from attndsl_codegen.kernels.definition import coordinates


def reduced(f: Tensor, how: str, extents: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """A reduction over dimensions of (batch, heads, *extents, width), which stay, with size 1."""
    grid = f.unflatten(2, extents)
    if how == "var":
        found = grid.var(dims, correction=0, keepdim=True)
    elif how == "max":
        found = grid.amax(dims, keepdim=True)
    elif how == "norm":
        found = torch.linalg.vector_norm(grid, dim=dims, keepdim=True)
    elif how == "softmax":
        found = torch.exp(grid - grid.logsumexp(dims, keepdim=True))
    else:
        found = getattr(grid, how)(dims, keepdim=True)
    return found.flatten(2, -2)


def token_numbers(
    places: tuple[Any, ...], extents: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Numbers of the tokens at places, clamped, and which places lie inside; (batch, heads, tokens)."""
    number, inside = (
        torch.zeros((), dtype=torch.long, device=device),
        torch.ones((), dtype=torch.bool, device=device),
    )
    for place, extent in zip(places, extents):
        place = torch.as_tensor(place, device=device)
        inside = inside & (place >= 0) & (place < extent)
        number = number * extent + place.clamp(0, extent - 1)
    number, inside = torch.broadcast_tensors(number, inside)
    return per_token(number), per_token(inside)


def per_token(value: Tensor) -> Tensor:
    """A value per token, (..., 1, tokens, 1) with any leading axes, as (batch, heads, tokens)."""
    return value[(None,) * (5 - value.dim())][:, :, 0, :, 0]


def all_tokens(extents: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """The coordinates of every token as expressions take them, (1, tokens, 1) per axis."""
    return [coord.view(1, -1, 1) for coord in coordinates(extents, device)]


def gathered(f: Tensor, places: tuple[Any, ...], extents: tuple[int, ...], outside: str) -> Tensor:
    """The feature read at places; beyond the border an error, zeros, or the nearest token."""
    number, inside = token_numbers(places, extents, f.device)
    if outside == "error":
        need(inside, f"gather: a place lies outside the {extents} tokens")
    batch, heads = (max(a, b) for a, b in zip(f.shape[:2], number.shape[:2]))
    if number.shape[:2] == (1, 1):
        found = f.index_select(2, number.flatten())
    else:
        every = number.expand(batch, heads, -1).unsqueeze(-1).expand(-1, -1, -1, f.shape[-1])
        found = f.expand(batch, heads, -1, -1).gather(2, every)
    return torch.where(inside.unsqueeze(-1), found, 0) if outside == "zero" else found


def regrouped(f: Tensor | None, how: str, places: tuple[Any, ...], extents: tuple[int, ...]) -> Tensor:
    """Sum, mean, maximum or count of the tokens that go to each place; places outside are left out."""
    first = next((p for p in places if isinstance(p, Tensor)), torch.zeros(()))
    number, inside = token_numbers(places, extents, first.device if f is None else f.device)
    count = math.prod(extents)
    number = torch.where(inside, number, count).unsqueeze(-1)  # one group more, for what goes outside
    if how == "count" or f is None:
        ones = torch.ones(number.shape, device=number.device)
        return scattered(ones, number, count, "sum")[:, :, :count]
    batch, heads = (max(a, b) for a, b in zip(f.shape[:2], number.shape[:2]))
    every = number.expand(batch, heads, -1, f.shape[-1])
    found = scattered(f.expand(batch, heads, -1, -1), every, count, "amax" if how == "max" else "sum")[
        :, :, :count
    ]
    if how != "mean":
        return found
    size = scattered(torch.ones(number.shape, dtype=f.dtype, device=f.device), number, count, "sum")
    return found / size[:, :, :count].clamp(min=1)


def scattered(f: Tensor, number: Tensor, count: int, how: str) -> Tensor:
    """Rows of a feature combined by number."""
    start = f.new_zeros(*f.shape[:2], count + 1, f.shape[-1])
    if how == "sum":
        return start.scatter_add(2, number, f)
    return start.scatter_reduce(2, number, f, how, include_self=False)


def pooled(f: Tensor, extents: tuple[int, ...], bins: tuple[int, ...]) -> Tensor:
    """Adaptive average pooling: one matrix of averages per axis."""
    lead, trail = f.shape[0] * f.shape[1], math.prod(extents) * f.shape[3]
    found = f
    for n, m in zip(extents, bins):
        token, number = torch.arange(n, device=f.device), torch.arange(m, device=f.device).unsqueeze(-1)
        covered = (token >= number * n // m) & (token < -(-(number + 1) * n // m))
        trail //= n
        found = (covered.to(f.dtype) / covered.sum(-1, keepdim=True)) @ found.reshape(lead, n, trail)
        lead *= m
    return found.reshape(*f.shape[:2], -1, f.shape[3])


def running_sum(f: Tensor, extents: tuple[int, ...], axis: int) -> Tensor:
    """Sums along an axis up to and with each token."""
    return f.unflatten(2, extents).cumsum(2 + axis).flatten(2, -2)


def joined(*parts: Tensor) -> Tensor:
    """Features side by side along the width."""
    shape = torch.broadcast_shapes(*(part.shape[:3] for part in parts))
    return torch.cat([part.expand(*shape, part.shape[-1]) for part in parts], -1)


def split_heads(f: Tensor, count: int) -> Tensor:
    """The width dealt out to heads."""
    if f.shape[-1] % count:
        raise ValueError(f"split: a width of {f.shape[-1]} does not divide into {count} heads")
    return f.squeeze(1).unflatten(-1, (count, -1)).transpose(1, 2)


def merged_heads(f: Tensor) -> Tensor:
    """Heads side by side along the width."""
    return f.transpose(1, 2).flatten(2).unsqueeze(1)


def swapped_channels(f: Tensor) -> Tensor:
    """Tokens and width change places."""
    return f.transpose(-1, -2)


def channel_part(f: Tensor, start: int, width: int) -> Tensor:
    """A stretch of the width."""
    if start + width > f.shape[-1]:
        raise ValueError(f"part: channels up to {start + width} of a width of {f.shape[-1]}")
    return f[..., start : start + width]


def as_scalar(value: Tensor) -> Tensor:
    """One number per token, (batch, heads, tokens), as a feature without a width."""
    return value.unsqueeze(-1)


def joint_softmax(*parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One softmax over the keys of several partials: outputs weighted by exp(log-sum-exp)."""
    outs, lses = zip(*parts)
    every = torch.stack(torch.broadcast_tensors(*lses))
    top = every.detach().amax(0)
    top = torch.where(top == -torch.inf, 0.0, top)
    weight = torch.exp(every - top)
    total = weight.sum(0)
    empty = total == 0
    share = weight / torch.where(empty, 1.0, total)
    out: Any = sum(part.to(out.dtype).unsqueeze(-1) * out for part, out in zip(share, outs))
    return out, torch.where(empty, -torch.inf, torch.log(torch.where(empty, 1.0, total)) + top)


def rotated(f: Tensor, extents: tuple[int, ...], base: float, offset: int = 0) -> Tensor:
    """Rotary positions: in each axis' share channels c and c + width/2 turn by position / base ** (2c/width).

    The first token is at position `offset`.
    """
    if f.shape[-1] % (2 * len(extents)):
        raise ValueError(
            f"rotary: a width of {f.shape[-1]} does not divide into halves for {len(extents)} axes"
        )
    turned: list[Tensor] = []
    for part, position in zip(f.chunk(len(extents), -1), coordinates(extents, f.device)):
        a, b = part.chunk(2, -1)
        rate = base ** (-torch.arange(a.shape[-1], dtype=torch.float64, device=f.device) / a.shape[-1])
        angle = (position + offset).double().unsqueeze(-1) * rate
        cos, sin = angle.cos().to(f.dtype), angle.sin().to(f.dtype)
        turned += [a * cos - b * sin, a * sin + b * cos]
    return torch.cat(turned, -1)


def projected(f: Tensor, weight: Tensor) -> Tensor:
    """f @ W, with one matrix for all heads or one per head."""
    return f @ weight.to(f.dtype)


def projected_by_class(f: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """f[i] @ W[class[i]]; classes (batch, 1, tokens, 1)."""
    every = weight.to(f.dtype).unflatten(2, (-1, f.shape[-1]))
    total: Any = 0.0
    for number in range(every.shape[2]):
        total = total + torch.where(classes == number, f @ every[:, :, number], 0.0)
    return total


def depthwise(f: Tensor, weight: Tensor, extents: tuple[int, ...], size: int) -> Tensor:
    """A convolution with a kernel per head and channel, zeros beyond the border."""
    grid = f.transpose(-1, -2).flatten(1, 2).unflatten(-1, extents)
    kernel = weight.to(f.dtype).transpose(-1, -2).flatten(1, 2)[0].unsqueeze(1)
    out = CONVOLUTIONS[len(extents)](
        grid, kernel.unflatten(-1, (size,) * len(extents)), padding=size // 2, groups=grid.shape[1]
    )
    return out.flatten(2).unflatten(1, f.shape[1::2]).transpose(-1, -2)


def convolved(f: Tensor, weight: Tensor, extents: tuple[int, ...], size: int) -> Tensor:
    """A convolution that mixes the channels of each head, zeros beyond the border."""
    heads = f.shape[1]
    grid = f.transpose(-1, -2).flatten(1, 2).unflatten(-1, extents)
    kernel = weight.to(f.dtype)[0].unflatten(1, (-1, f.shape[-1]))  # (heads, offsets, from, width)
    kernel = kernel.permute(0, 3, 2, 1).flatten(0, 1).unflatten(-1, (size,) * len(extents))
    out = CONVOLUTIONS[len(extents)](grid, kernel, padding=size // 2, groups=heads)
    return out.flatten(2).unflatten(1, (heads, -1)).transpose(-1, -2)


CONVOLUTIONS: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
"""By the number of axes."""


DISTANCES = 1 << 21
"""Distances held at a time."""


def nearest_code(f: Tensor, code: Tensor) -> Tensor:
    """The number of the nearest codeword of every token, the lowest among equals."""
    with torch.no_grad():
        kind = torch.promote_types(f.dtype, torch.float32)
        code = code.to(kind)
        size = max(1, DISTANCES // max(1, f.shape[0] * f.shape[1] * code.shape[2]))
        # |f|^2 is the same for every codeword, so it does not decide.
        square, doubled = (code**2).sum(-1).unsqueeze(2), 2 * code.transpose(-1, -2)
        nearest = [(square - part.to(kind) @ doubled).argmin(-1, keepdim=True) for part in f.split(size, 2)]
        return torch.cat(nearest, 2)


def codes_of(code: Tensor, label: Tensor, dtype: torch.dtype) -> Tensor:
    """The codeword of every token, without gradient."""
    every = code.detach().to(dtype).expand(*label.shape[:2], -1, -1)
    return every.gather(2, label.expand(-1, -1, -1, code.shape[-1]))


def assigned_code(f: Tensor, code: Tensor, label: Tensor) -> Tensor:
    """The codeword of every token; its gradient goes to the token."""
    return f + (codes_of(code, label, f.dtype) - f).detach()


def commitment(f: Tensor, code: Tensor, label: Tensor) -> Tensor:
    """The mean squared distance of tokens from their codewords, with gradient to the tokens."""
    return ((f - codes_of(code, label, f.dtype)) ** 2).sum(-1).mean().view(1, 1, 1, 1)


def followed_tokens(
    f: Tensor, code: Tensor, weight: Tensor, label: Tensor, decay: float, least: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Codewords and weights after a step: decayed sums of tokens over decayed counts."""
    with torch.no_grad():
        f = f.to(code.dtype)
        rows = label.expand(-1, -1, -1, f.shape[-1])
        start = f.new_zeros(*f.shape[:2], *code.shape[2:])
        added = start.scatter_add(2, rows, f).sum(0, keepdim=True)
        number = start[..., :1].scatter_add(2, label, torch.ones_like(f[..., :1])).sum(0, keepdim=True)
        total = decay * code * weight.clamp(min=least) + (1 - decay) * added
        weight = decay * weight + (1 - decay) * number
        return total / weight.clamp(min=least), weight
