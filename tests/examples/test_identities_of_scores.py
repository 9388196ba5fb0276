"""Other weights than a softmax of products: linear, over pairs, along paths, of channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.examples.running import (
    BATCH,
    HEADS,
    WIDTH,
    close,
    dense,
    features,
    randn,
)

# --- Pairs of tokens --------------------------------------------------------------------------------


def test_tensor_attention_with_ones_is_dense(runs: Any) -> None:
    t = features("q k1 v1", 9)
    ones = torch.ones_like(t["q"])
    out = runs("tensor_attention")(**t, k2=ones, v2=ones)
    close(out, dense(t["q"], t["k1"], t["v1"]))


@pytest.mark.parametrize(
    ("name", "params"), [("tensor_attention", {}), ("windowed_tensor", {"near": 3, "far": 3})]
)
def test_tensor_attention_is_symmetric(runs: Any, name: str, params: dict[str, int]) -> None:
    t = features("q k1 k2 v1 v2", 9)
    turned = {"q": t["q"], "k1": t["k2"], "k2": t["k1"], "v1": t["v2"], "v2": t["v1"]}
    run = runs(name, **params)
    close(run(**t), run(**turned))


def test_windows_around_everything_change_nothing(runs: Any) -> None:
    t = features("q k1 k2 v1 v2", 7)
    close(runs("windowed_tensor", near=7, far=7)(**t), runs("tensor_attention")(**t))
    apart = runs("windowed_tensor", near=1, far=1)(**t)
    close(apart, t["v1"] * t["v2"])


# --- Polyline paths ---------------------------------------------------------------------------------

PATH = """attention path {
  tokens x[h, w]
  input  v : x
  input  la, lb : x scalar
  a = cumsum(la, axis = w)
  b = cumsum(lb, axis = h)
  return attend(v = v, score = exp(%s), normalize = none, on = x)
}"""
V2H = "-abs(a[i.h, i.w] - a[i.h, j.w]) - abs(b[i.h, j.w] - b[j.h, j.w])"
H2V = "-abs(a[j.h, i.w] - a[j.h, j.w]) - abs(b[i.h, i.w] - b[j.h, i.w])"
FACTORED = """attention path {
  tokens x[h, w]
  input  v : x
  input  la, lb : x scalar
  a = cumsum(la, axis = w)
  b = cumsum(lb, axis = h)
  z = attend(v = v, score = exp(-abs(b[i] - b[j])), where = i.w == j.w, normalize = none, on = x)
  return attend(v = z, score = exp(-abs(a[i] - a[j])), where = i.h == j.h, normalize = none, on = x)
}"""


def edges(h: int, w: int) -> dict[str, Tensor]:
    return {name: -randn(BATCH, HEADS, h, w, seed=at).abs() for at, name in enumerate(("la", "lb"))}


def scan(x: Tensor, edge: Tensor) -> Tensor:
    """Along the last axis but one: f_j = x_j + a_j f_(j-1), g_j = x_j + a_(j+1) g_(j+1); f + g - x."""
    n = x.shape[-2]
    f, g = list(x.unbind(-2)), list(x.unbind(-2))
    for j in range(1, n):
        f[j] = f[j] + edge[..., j, None] * f[j - 1]
    for j in range(n - 2, -1, -1):
        g[j] = g[j] + edge[..., j + 1, None] * g[j + 1]
    return torch.stack(f, -2) + torch.stack(g, -2) - x


def test_polyline_masks_dense_factored_and_by_scans(runs_text: Any) -> None:
    h, w = 4, 5
    t = {**features("v", h, w), **edges(h, w)}
    whole, factored = runs_text(PATH % V2H)(**t), runs_text(FACTORED)(**t)
    close(whole, factored)
    columns = scan(t["v"].transpose(2, 3), t["lb"].exp().transpose(2, 3)).transpose(2, 3)
    close(whole, scan(columns, t["la"].exp()))


def test_polyline_masks_are_transposes_of_each_other(runs_text: Any) -> None:
    h, w = 3, 4
    eye = torch.eye(h * w, dtype=torch.float64).view(1, 1, h, w, h * w).expand(BATCH, HEADS, -1, -1, -1)
    t = {"v": eye, **edges(h, w)}
    v2h, h2v = (runs_text(PATH % form)(**t).flatten(2, 3) for form in (V2H, H2V))
    close(v2h, h2v.transpose(-1, -2))
    rows = torch.arange(h * w) // w
    columns = torch.arange(h * w) % w
    straight = (rows.unsqueeze(-1) == rows) | (columns.unsqueeze(-1) == columns)
    close(v2h[..., straight], h2v[..., straight])
    assert (v2h - h2v)[..., ~straight].abs().max() > 1e-2


def test_ppma_without_decay_is_plain_attention(runs: Any) -> None:
    h, w = 3, 4
    t = features("q k v", h, w)
    zero = {name: torch.zeros(BATCH, HEADS, h, w, dtype=torch.float64) for name in ("la", "lb")}
    plain = dense(*(t[name].flatten(2, 3) for name in "qkv"))
    close(runs("ppma")(**t, **zero).flatten(2, 3), plain)
    close(runs("ppma_product")(**t, **zero).flatten(2, 3), 2 * plain)


def test_constant_decay_is_manhattan_distance(runs: Any) -> None:
    h, w, g = 3, 4, -0.3
    t = features("q k v", h, w)
    constant = {name: torch.full((BATCH, HEADS, h, w), g, dtype=torch.float64) for name in ("la", "lb")}
    place = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")).flatten(1)
    distance = (place.unsqueeze(-1) - place.unsqueeze(-2)).abs().sum(0).double()
    q, k, v = (t[name].flatten(2, 3) for name in "qkv")
    s = q @ k.transpose(-1, -2) * WIDTH**-0.5
    close(runs("ppma")(**t, **constant).flatten(2, 3), (s + g * distance).softmax(-1) @ v)
    expected = 2 * s.softmax(-1) * torch.exp(g * distance) @ v
    close(runs("ppma_product")(**t, **constant).flatten(2, 3), expected)


# --- Linear attention -------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "where = causal, "])
def test_linear_attention_is_dense_with_its_kernel(runs_text: Any, where: str) -> None:
    t = features("q k v", 37)
    text = "attention l { tokens x[n]; input q, k, v : x; return attend(elu(q) + 1, elu(k) + 1, v, %snormalize = linear) }"
    s = torch.einsum("bhic,bhjc->bhij", *(torch.where(t[n] > 0, t[n] + 1, t[n].exp()) for n in "qk"))
    s = s.tril() if where else s
    close(runs_text(text % where)(**t), s @ t["v"] / s.sum(-1, keepdim=True))


def test_mala_weights(runs: Any) -> None:
    """They sum to one, may be negative, are 1/n among equal keys; a small q gives plain linear attention."""
    h, w = 3, 4
    n = h * w
    eye = torch.eye(n, dtype=torch.float64).view(1, 1, h, w, n).expand(BATCH, HEADS, -1, -1, -1)
    rest = {
        "v": eye,
        "o": torch.ones_like(eye),
        "depthwise_weight": torch.zeros(HEADS, 5, 5, n, dtype=torch.float64),
    }
    t = features("q k", h, w)
    weight = runs("mala")(**t, **rest).flatten(2, 3)
    close(weight.sum(-1), torch.ones_like(weight[..., 0]), atol=1e-4)  # up to the 1e-6 beside the sum
    fq, fk = (torch.nn.functional.elu(t[name].flatten(2, 3)) + 1 for name in "qk")
    s = fq @ fk.transpose(-1, -2) * WIDTH**-0.5 / n
    total = s.sum(-1, keepdim=True)
    close(weight, s / total + s - total / n, atol=1e-4)
    assert (runs("mala")(q=t["q"] * 9, k=t["k"], **rest) < 0).any()
    same = runs("mala")(q=t["q"], k=torch.ones_like(t["k"]), **rest)
    close(same, torch.full_like(same, 1 / n), atol=1e-4)


def test_l2vit_is_linear_attention_where_its_clamp_is_inactive(runs: Any) -> None:
    h, w = 3, 4
    t = features("q k v", h, w)
    run = runs("l2vit", least=1e-9)
    temperature = torch.tensor([0.5, 1.0], dtype=torch.float64)
    s = torch.einsum("bhic,bhjc->bhij", *(t[name].flatten(2, 3).relu() for name in "qk"))
    expected = (
        temperature.view(-1, 1, 1) * (s / s.sum(-1, keepdim=True)).nan_to_num(0.0) @ t["v"].flatten(2, 3)
    )
    out = run(**t, temperature=temperature)
    close(out.flatten(2, 3), expected)
    close(run(q=t["q"], k=3 * t["k"], v=t["v"], temperature=temperature), out)
    silent = run(q=-t["q"].abs(), k=t["k"], v=t["v"], temperature=temperature)
    close(silent, torch.zeros_like(silent))


# --- Channels ---------------------------------------------------------------------------------------


def test_channel_attention_is_attention_of_transposed_tensors(runs: Any) -> None:
    t = features("q k v", 5, 3)
    q, k, v = (t[name].flatten(2, 3).transpose(-1, -2) for name in "qkv")
    out = runs("davit_channel")(**t).flatten(2, 3)
    close(out.transpose(-1, -2), dense(q, k, v, scale=WIDTH**-0.5))
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    moved = {name: tensor.flatten(2, 3)[:, :, order].view_as(tensor) for name, tensor in t.items()}
    close(runs("davit_channel")(**moved).flatten(2, 3), out[:, :, order])


def test_channels_of_width_one_pass_values_through(runs: Any) -> None:
    t = features("q k v", 5, 3, width=1)
    close(runs("davit_channel")(**t), t["v"])


def test_position_and_channel_attention_without_their_share(runs: Any) -> None:
    y, gamma = randn(BATCH, 3, 4, 8), torch.zeros((), dtype=torch.float64)
    learned = {f"q_weight{at}": randn(8, 1, seed=at) for at in (0, 1)}
    close(runs("pam")(y=y, gamma=gamma, project_weight=randn(8, 8), **learned), y)
    close(runs("cam")(y=y, gamma=gamma), y)


def test_cam_moves_with_channels_and_not_with_pixels(runs: Any) -> None:
    y, gamma = randn(BATCH, 3, 4, 8), torch.ones((), dtype=torch.float64)
    run = runs("cam")
    out, order = run(y=y, gamma=gamma), torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    close(run(y=y[..., order], gamma=gamma), out[..., order])
    close(run(y=y.flip(1, 2), gamma=gamma), out.flip(1, 2))
