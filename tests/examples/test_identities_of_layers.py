"""Windows with tables, heads, latents and classes: what they become at their limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import attndsl
from tests.examples.running import (
    BATCH,
    HEADS,
    close,
    dense,
    features,
    gradients,
    leaves,
    module_of,
    oracle_of,
    randn,
)

# --- Tables, windows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params"),
    [("swin", {"size": 3, "shift": 1}), ("maxvit_block", {"size": 3}), ("maxvit_grid", {"size": 3})],
)
def test_tables_are_read_outside_on_hidden_pairs_only(name: str, params: dict[str, int]) -> None:
    """Differences of far pixels lie outside the table: they change neither results nor gradients."""
    program = attndsl.load(name, **params)
    t, size = leaves(features("q k v", 9, 9)), params["size"]
    table = randn(HEADS, 2 * size - 1, 2 * size - 1).requires_grad_()
    results = []
    for run in (module_of(program), oracle_of(program)):
        out = run(**t, table=table)
        (grad,) = torch.autograd.grad(out, [table], randn(*out.shape))
        results.append((out.detach(), grad))
        # Every entry belongs to some visible pair; a row's gradients cancel, so their sum does too.
        assert (grad != 0).all()
        close(grad.sum(), torch.zeros((), dtype=torch.float64))
    close(results[0][0], results[1][0])
    close(results[0][1], results[1][1])


def test_global_queries_in_one_window_are_cross_attention(runs: Any) -> None:
    t = features("g k v", 3, 3)
    table = torch.zeros(HEADS, 5, 5, dtype=torch.float64)
    close(runs("gc_vit", size=3)(**t, table=table).flatten(2, 3), dense(*(t[n].flatten(2, 3) for n in "gkv")))


def test_windows_of_equal_content_give_equal_results(runs: Any) -> None:
    t = features("g k v", 3, 3)
    t |= {name: t[name].repeat(1, 1, 2, 3, 1) for name in "kv"}
    out = runs("gc_vit", size=3)(**t, table=randn(HEADS, 5, 5))
    close(out, out[:, :, :3, :3].repeat(1, 1, 2, 3, 1))


def test_outlook_attention_of_zero_logits_is_a_box_sum_of_box_means(runs: Any) -> None:
    """Of ones: 9 inside, 2.778 in a corner."""
    ones = torch.ones(1, 1, 6, 6, 2, dtype=torch.float64)
    logit = torch.zeros(1, 1, 6, 6, 9, 9, dtype=torch.float64)
    out = runs("volo_outlook", stride=1)(v=ones, logit=logit)
    close(out[0, 0, 2:4, 2:4], torch.full((2, 2, 2), 9.0, dtype=torch.float64))
    close(out[0, 0, 0, 0], torch.full((2,), (4 + 6 + 6 + 9) / 9, dtype=torch.float64))
    t = features("v", 4, 3)["v"]
    close(runs("volo_outlook", size=1, stride=1)(v=t, logit=t[..., :1, None]), t)


# --- Heads, latents, classes ------------------------------------------------------------------------


def test_lama_does_not_know_an_order(runs: Any) -> None:
    y, real = randn(BATCH, 9, 8), torch.ones(BATCH, 9, dtype=torch.bool)
    learned = {"project_weight": randn(8, 3, seed=1), "project_weight2": randn(8, 3, seed=2)}
    run, order = runs("lama", heads_=3), torch.tensor([4, 0, 8, 3, 1, 7, 2, 6, 5])
    out = run(y=y, real=real, **learned)
    close(run(y=y[:, order], real=real, **learned), out)
    padded = torch.cat([y, randn(BATCH, 2, 8, seed=9)], 1)
    close(run(y=padded, real=torch.arange(11).expand(BATCH, -1) < 9, **learned), out)


def test_one_head_of_lama_depends_on_signs_alone(runs: Any) -> None:
    y, real = randn(BATCH, 9, 8), torch.ones(BATCH, 9, dtype=torch.bool)
    p, q = randn(8, 1, seed=1), randn(8, 1, seed=2)
    out = runs("lama", heads_=1)(y=y, real=real, project_weight=p, project_weight2=q)
    sign = torch.sign((y.mean(1, keepdim=True) @ p) * (y @ q))[..., 0]
    close(out, torch.einsum("bn,bnc->bc", sign.softmax(-1), y))


def test_gates_of_uniform_routers_are_one(runs: Any) -> None:
    y = randn(BATCH, 7, 8)
    dense_weights = {f"project_weight{at}": randn(8, 8, seed=at) for at in range(3)}
    routers = {"project_weight": (8, 2), "project_weight3": (8, 1), "project_weight4": (8, 3)}
    zero = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in routers.items()}
    out_weight = randn(8, 8, seed=5)
    out = runs("moh", shared_=1, routed=3)(y=y, **dense_weights, **zero, out_weight=out_weight)
    q, k, v = ((y @ w).unflatten(-1, (4, 2)).transpose(1, 2) for w in dense_weights.values())
    close(out, dense(q, k, v).transpose(1, 2).flatten(2) @ out_weight)


def test_gaussian_weights_sum_to_one_and_ignore_scale(runs: Any) -> None:
    y = randn(BATCH, HEADS, 5, 6)
    spread = torch.tensor([0.3, -0.2], dtype=torch.float64)
    zero, run = torch.zeros(HEADS, dtype=torch.float64), runs("gaam")
    weight = run(y=y, shift=zero, log_spread=spread) / y
    close(weight.sum(-1), torch.ones_like(weight[..., 0]))
    close(
        run(y=3 * y, shift=zero, log_spread=spread) / (3 * y), weight, atol=1e-6
    )  # up to 1e-8 beside the variance


def test_several_gaussians_are_one(runs: Any) -> None:
    """Of precision sum c^-2 and offset sum c^-2 d over it."""
    y = randn(BATCH, 1, 5, 6)
    c, d = (
        torch.tensor([0.7, 1.3, 2.0], dtype=torch.float64),
        torch.tensor([0.1, -0.4, 0.3], dtype=torch.float64),
    )
    away = y.unsqueeze(-1) - y.mean(-1, keepdim=True).unsqueeze(-1) - d
    var = (y.var(-1, keepdim=True) + 1e-8).unsqueeze(-1)
    expected = y * (-(away**2) / (2 * var * c**2)).sum(-1).softmax(-1)
    precision = (c**-2).sum()
    shift, spread = (d * c**-2).sum() / precision, precision**-0.5
    both = {"shift": shift.expand(HEADS), "log_spread": spread.log().expand(HEADS)}
    close(runs("gaam")(y=y.expand(-1, HEADS, -1, -1), **both)[:, :1], expected)


def mot_tensors(kinds: int) -> dict[str, Tensor]:
    names = ("project_weight0", "project_weight1", "project_weight2", "out_weight")
    found = {name: randn(kinds, 8, 8, seed=at) for at, name in enumerate(names)}
    return {**found, "gain": randn(kinds, 8, seed=9)}


def test_equal_weights_of_all_modalities_are_one_transformer(runs: Any) -> None:
    learned = {name: tensor[:1].expand_as(tensor) for name, tensor in mot_tensors(3).items()}
    y, image = randn(BATCH, 9, 8), torch.zeros(BATCH, 9, dtype=torch.long)
    modality = torch.arange(9).expand(BATCH, -1) % 3
    out = runs("mot", count=2, kinds=3)(y=y, modality=modality, image=image, **learned)
    first = {name: tensor[0] for name, tensor in learned.items()}
    q, k, v = ((y @ first[f"project_weight{at}"]).unflatten(-1, (2, 4)).transpose(1, 2) for at in range(3))
    o = dense(q, k, v, causal=True).transpose(1, 2).flatten(2) @ first["out_weight"]
    close(out, o / torch.sqrt((o**2).mean(-1, keepdim=True) + 1e-5) * first["gain"])


def test_relabelled_modalities_with_their_weights_change_nothing(runs: Any) -> None:
    learned, order = mot_tensors(3), torch.tensor([2, 0, 1])
    y, image = randn(BATCH, 9, 8), torch.arange(9).expand(BATCH, -1) // 4
    modality = torch.arange(9).expand(BATCH, -1) % 3
    run = runs("mot", count=2, kinds=3)
    out = run(y=y, modality=modality, image=image, **learned)
    turned = {name: tensor[order.argsort()] for name, tensor in learned.items()}
    close(run(y=y, modality=order[modality], image=image, **turned), out)


def latents(n: int, width: int) -> dict[str, Tensor]:
    per_head = {"q": randn(BATCH, HEADS, n, width), "qr": randn(BATCH, HEADS, n, 4, seed=1)}
    return {**per_head, "c": randn(BATCH, n, width, seed=2), "kr": randn(BATCH, n, 4, seed=3)}


def test_latent_attention_in_a_rotated_basis(runs: Any) -> None:
    """An orthogonal change of the latent's basis, folded into the weights, is neutral."""
    t, weight = latents(7, 6), randn(HEADS, 6, 6, seed=4)
    turn = torch.linalg.qr(randn(6, 6, seed=5))[0]
    run = runs("mla", width_=8)
    turned = {**t, "q": t["q"] @ turn, "c": t["c"] @ turn}
    close(run(**turned, project_weight=turn.T @ weight), run(**t, project_weight=weight))


def test_tensor_parallel_latents_are_exact_in_one_half(runs: Any) -> None:
    """Latents that lie in half of the width: the other half's attention adds nothing."""
    t, weight = latents(7, 8), randn(HEADS, 8, 8, seed=4)
    t["c"] = torch.cat([t["c"][..., :4], torch.zeros_like(t["c"][..., 4:])], -1)
    # Of variance share 1: the local norm is the norm of the whole.
    out = runs("tpla", width_=8, share=(1.0, 1e-9))(**t, project_weight=weight)
    whole = t["c"] / torch.sqrt((t["c"] ** 2).mean(-1, keepdim=True) + 1e-6)
    exact = runs("mla", width_=8)(**{**t, "c": whole}, project_weight=weight)
    close(out, exact, atol=1e-5)


def test_channels_may_lie_apart_in_memory() -> None:
    """As those of `rotary` in a layer do, where nothing copies them: of one sequence."""
    parts = {name: tensor[:1] for name, tensor in features("q k v", 37).items()}
    apart = {name: tensor.movedim(-1, 0).contiguous().movedim(0, -1) for name, tensor in parts.items()}
    assert apart["q"].stride(-1) != 1
    found, expected = leaves(apart), leaves(parts)
    out, plain = module_of(attndsl.load("causal"))(**found), dense(**expected, causal=True)
    close(out, plain)
    for a, b in zip(gradients(out, found, *"qkv"), gradients(plain, expected, *"qkv")):
        close(a, b)
