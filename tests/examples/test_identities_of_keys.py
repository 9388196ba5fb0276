"""Fewer keys, and keys from several sets: what compressed attention is equal to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import attndsl
from attndsl.api import compile
from tests.examples.running import (
    BATCH,
    HEADS,
    WIDTH,
    close,
    dense,
    features,
    gradients,
    leaves,
    randn,
)

# --- Codebooks --------------------------------------------------------------------------------------

VQ = """attention vq(codes = 5) {
  tokens x[n]
  input  q, k, v : x
  c = codebook(k, codes)
  return attend(q, c.code, mean(v, by = c.label), bias = log(c.count[j]))
}"""


def state(count: int) -> dict[str, Tensor]:
    return {
        "c_code": randn(HEADS, count, WIDTH, seed=3),
        "c_weight": torch.ones(HEADS, count, dtype=torch.float64),
    }


def hat(k: Tensor, code: Tensor) -> Tensor:
    """The nearest codeword of each token, found one by one."""
    found = torch.empty_like(k)
    for index in np.ndindex(k.shape[:-1]):
        codes = code[index[1]]
        found[index] = codes[((codes - k[index].detach()) ** 2).sum(-1).argmin()]
    return found


def test_codewords_with_log_counts_are_dense_attention_to_quantised_keys(runs_text: Any) -> None:
    tensors = leaves(features("q k v", 17))
    learned = state(5)
    learned["c_code"][:, 4] = 100.0  # nobody's codeword: its count is 0
    out = runs_text(VQ)(**tensors, **learned)
    expected = dense(tensors["q"], hat(tensors["k"], learned["c_code"]), tensors["v"])
    close(out, expected)
    for a, b in zip(gradients(out, tensors, "q", "v"), gradients(expected, tensors, "q", "v")):
        close(a, b)


def test_a_codeword_for_every_key_is_plain_attention(runs_text: Any) -> None:
    tensors = features("q k v", 6)
    tensors["k"] = tensors["k"][:1].expand(BATCH, -1, -1, -1)
    learned = {"c_code": tensors["k"][0], "c_weight": torch.ones(HEADS, 6, dtype=torch.float64)}
    close(runs_text(VQ.replace("codes = 5", "codes = 6"))(**tensors, **learned), dense(**tensors))


@pytest.mark.parametrize(("n", "block"), [(24, 4), (23, 4), (9, 16), (12, 1)])
def test_blocks_of_transformer_vq_are_dense_causal_attention(runs: Any, n: int, block: int) -> None:
    tensors, learned = leaves(features("q k v", n)), state(5)
    out = runs("transformer_vq", codes=5, block=block)(**tensors, **learned)
    expected = dense(tensors["q"], hat(tensors["k"], learned["c_code"]), tensors["v"], causal=True)
    close(out, expected)
    for a, b in zip(gradients(out, tensors, "q", "v"), gradients(expected, tensors, "q", "v")):
        close(a, b)


def test_longvq_is_the_sum_over_codes_with_a_local_correction(runs: Any) -> None:
    """num = sum_s e^(q C_s) (D' v)_s + sum over near j of e^(q k_j) (e^b - 1) v_j; den the same of ones."""
    n, block = 18, 3
    t, learned = features("q k v", n), state(5)
    table = randn(HEADS, 4 * block - 1, seed=5)
    out = runs("longvq", codes=5, block=block)(**t, **learned, table=table)
    code, scale = learned["c_code"], WIDTH**-0.5
    quantised = hat(t["k"], code)
    goes = (quantised.unsqueeze(-2) == code.unsqueeze(1)).all(-1).double()  # (batch, heads, n, codes)
    values = torch.cat([t["v"], torch.ones(*t["v"].shape[:-1], 1, dtype=torch.float64)], -1)
    place = torch.arange(n)
    near = (place.unsqueeze(-1) // block - place // block).abs() <= 1
    b = table[:, (place.unsqueeze(-1) - place + 2 * block - 1).clamp(0, 4 * block - 2)]
    both = torch.exp(t["q"] @ code.transpose(-1, -2) * scale) @ (goes.transpose(-1, -2) @ values)
    correction = torch.exp(t["q"] @ quantised.transpose(-1, -2) * scale) * torch.where(
        near, torch.exp(b) - 1, 0.0
    )
    both = both + correction @ values
    close(out, both[..., :-1] / both[..., -1:])


# --- Agents, low rank -------------------------------------------------------------------------------


def agent_tensors(size: int, h: int, w: int, biased: bool) -> dict[str, Tensor]:
    shapes = {"t": (size, size, 7, 7), "row": (size, size, 64), "column": (size, size, 64)}
    found = {f"{n}{at}": randn(HEADS, *s, seed=at) * biased for n, s in shapes.items() for at in (1, 2)}
    return {**found, "depthwise_weight": torch.zeros(HEADS, 3, 3, h * w, dtype=torch.float64)}


def test_agent_weights_are_stochastic_and_of_low_rank(runs: Any) -> None:
    """With one-hot values the result is the matrix of weights."""
    h, w, size = 5, 6, 2
    eye = torch.eye(h * w, dtype=torch.float64).view(1, 1, h, w, h * w).expand(BATCH, HEADS, -1, -1, -1)
    t = {**features("q k", h, w), "v": eye}
    matrix = runs("agent", size=size)(**t, **agent_tensors(size, h, w, biased=True)).flatten(2, 3)
    close(matrix.sum(-1), torch.ones_like(matrix[..., 0]))
    assert (matrix > 0).all()
    singular = torch.linalg.svdvals(matrix)
    assert (singular[..., size**2 :] < 1e-12).all()
    assert (singular[..., size**2 - 1] > 1e-9).all()


def test_agent_attention_is_a_product_of_two_softmaxes(runs: Any) -> None:
    h, w, size = 4, 6, 2
    t = features("q k v", h, w)
    learned = agent_tensors(size, h, w, biased=False)
    learned["depthwise_weight"] = learned["depthwise_weight"][..., :WIDTH]
    agents = t["q"].unflatten(3, (size, -1)).unflatten(2, (size, -1)).mean((3, 5)).flatten(2, 3)
    q, k, v = (t[name].flatten(2, 3) for name in "qkv")
    first = (q @ agents.transpose(-1, -2) * WIDTH**-0.5).softmax(-1)
    second = (agents @ k.transpose(-1, -2) * WIDTH**-0.5).softmax(-1)
    close(runs("agent", size=size)(**t, **learned).flatten(2, 3), (first @ second) @ v)
    one = runs("agent", size=1)(
        **t, **agent_tensors(1, h, w, biased=False) | {"depthwise_weight": learned["depthwise_weight"]}
    )
    close(one, one[:, :, :1, :1].expand_as(one))


def test_linformer_of_the_identity_is_dense(runs: Any) -> None:
    t = features("q k v", 7)
    eye = torch.eye(9, dtype=torch.float64)
    eye = eye[:, :7]  # weights of 9 positions, 7 of them in use
    close(runs("linformer", rank=7, longest=9)(**t, e=eye, f=eye), dense(**t))
    with pytest.raises((ValueError, RuntimeError)):
        compile(attndsl.load("linformer", rank=7, longest=9))(heads=HEADS, dim=WIDTH)(**features("q k v", 10))


def test_rg_sa_of_one_pooled_pixel_gives_every_pixel_the_same(runs: Any) -> None:
    shapes = {
        "kernel": (4, 4, 8), "depthwise_weight": (3, 3, 8), "z_weight": (8, 4), "project_weight": (8, 4),
        "project_weight2": (4, 4), "v_weight": (4, 8), "depthwise_weight2": (3, 3, 8), "out_weight": (8, 8),
    }  # fmt: skip
    learned = {name: randn(*shape, seed=at) for at, (name, shape) in enumerate(shapes.items())}
    out = runs("rg_sa", count=2)(y=randn(1, 16, 17, 8), **learned)
    close(out, out[:, :1, :1].expand_as(out))
    assert out.abs().max() > 0


# --- One softmax over several sets of keys ----------------------------------------------------------


def test_core_context_at_its_limits_is_causal_attention(runs: Any) -> None:
    t = features("q k v", 19)
    exact = dense(**t, causal=True)
    close(runs("core_context", group=4, local=19)(**t), exact)
    close(runs("core_context", group=1, local=3)(**t), exact)


@pytest.mark.parametrize(("group", "local"), [(4, 6), (3, 1), (5, 8)])
def test_core_context_counts_every_token_once(runs: Any, group: int, local: int) -> None:
    """With equal scores a core holds 1/g of its tokens; visible mass: cores and the tokens after them."""
    n = 23
    eye = torch.eye(n, dtype=torch.float64).expand(1, HEADS, -1, -1)
    zero = torch.zeros(1, HEADS, n, WIDTH, dtype=torch.float64)
    weight = runs("core_context", group=group, local=local)(q=zero, k=zero, v=eye)[0, 0]
    for i in range(n):
        far = max(0, (i + 1 - local) // group)
        keys = far + i + 1 - far * group
        expected = torch.zeros(n, dtype=torch.float64)
        expected[: far * group] = 1 / group / keys
        expected[far * group : i + 1] = 1 / keys
        close(weight[i], expected)


def test_core_context_is_causal(runs: Any) -> None:
    t, run = features("q k v", 21), runs("core_context", group=4, local=5)
    out = run(**t)
    changed = {name: torch.cat([tensor[:, :, :13], tensor[:, :, 13:] + 1.0], 2) for name, tensor in t.items()}
    close(run(**changed)[:, :, :13], out[:, :, :13])


def test_joint_is_one_softmax_over_concatenated_keys(runs_text: Any) -> None:
    text = """attention two {
      tokens x[n]
      tokens y[m]
      input  q, k1, v1 : x
      input  k2, v2 : y
      z = joint(attend(q, k1, v1, where = causal), attend(q, k2, v2))
      return z, z.lse
    }"""
    t = {**features("q k1 v1", 6), **features("k2 v2", 9)}
    out, lse = runs_text(text)(**t)
    keys, values = torch.cat([t["k1"], t["k2"]], 2), torch.cat([t["v1"], t["v2"]], 2)
    visible = torch.cat([torch.ones(6, 6, dtype=torch.bool).tril(), torch.ones(6, 9, dtype=torch.bool)], -1)
    s = (t["q"] @ keys.transpose(-1, -2) * WIDTH**-0.5).masked_fill(~visible, -torch.inf)
    close(out, s.softmax(-1) @ values)
    close(lse, s.logsumexp(-1))


def test_a_key_in_two_partials_counts_twice(runs_text: Any) -> None:
    text = """attention twice { tokens x[n]; input q, k, v : x
      return joint(attend(q, k, v), attend(q, k, v, where = j == 0)) }"""
    t = features("q k v", 5)
    k, v = (torch.cat([t[name], t[name][:, :, :1]], 2) for name in "kv")
    close(runs_text(text)(**t), dense(t["q"], k, v))


def test_sinks_of_very_low_score_are_no_sinks(runs: Any) -> None:
    t = features("q k v", 11)
    t["q"] = t["q"].abs()
    far = torch.full((HEADS, 2, WIDTH), -1e4, dtype=torch.float64)
    close(runs("sinked", size=11, count=2)(**t, rk=far, rv=far), dense(**t, causal=True))
