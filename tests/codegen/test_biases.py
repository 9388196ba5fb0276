"""Biases on a CPU: rows for all queries of a tile, and keys that are left out because they weigh nothing."""

import math

import pytest
import torch

import attndsl
from attndsl.ir.ops import Attend
from attndsl.language import load_text
from attndsl.verify import Case, Verifier
from attndsl_codegen.kernels.biases import reach_of, with_bias

SLOPE = "2 ** -(8 * (head + 1) / heads)"
SEPARABLE = {
    "ALiBi": f"-({SLOPE}) * (i - j)",
    "of keys alone": "0.01 * j",
    "of queries alone": "-0.25 * i",
    "of both, unlike": "0.25 * i - log(1 + j) / 3",
    "steep": "20.0 * (j - i)",
}
INSEPARABLE = {
    "both ways": f"-({SLOPE}) * abs(i - j)",
    "a product": "0.001 * i * j",
    "looked up": "-bucket[j] * 0.5",
}
MASKS = ("true", "causal", "causal and sliding(70)", "causal and i // 50 == j // 50", "j > i")
SPEC = """attention a {{
  tokens x[n]
  input q, k, v : x
  input bucket : x int
  return attend(q, k, v, where = {where}, bias = {bias})
}}"""


def program_of(bias, where="causal"):
    return load_text(SPEC.format(where=where, bias=bias))


def attend_of(program):
    (op,) = (value.op for value in program.values if isinstance(value.op, Attend))
    return op


@pytest.mark.parametrize("bias", SEPARABLE.values(), ids=list(SEPARABLE))
def test_sums_of_a_term_of_the_query_and_one_of_the_key_are_seen(bias):
    assert attend_of(program_of(bias)).separable_bias


@pytest.mark.parametrize("bias", INSEPARABLE.values(), ids=list(INSEPARABLE))
def test_other_biases_are_not_taken_apart(bias):
    assert not attend_of(program_of(bias)).separable_bias


@pytest.mark.parametrize("where", MASKS)
@pytest.mark.parametrize("bias", [*SEPARABLE.values(), INSEPARABLE["both ways"]])
def test_modules_agree_with_the_definition(bias, where):
    """Several tiles, the last of them ragged; groups of heads; rows without a key where `j > i`."""
    verifier = Verifier(program_of(bias, where))
    for case in (Case({"n": 391, "heads": 4}, kv_heads=2, batch=1), Case({"n": 47, "heads": 3})):
        outcome = verifier.run(case)
        assert outcome.passed, outcome


def test_a_key_counts_whatever_its_bias_if_the_query_points_its_way():
    module = attndsl.compile(program_of(SEPARABLE["ALiBi"]))()
    q, k, v = (torch.randn(1, 4, 391, 16) for _ in range(3))
    bucket = torch.zeros(1, 391, dtype=torch.long)
    q[..., -1, :], k[..., 0, :] = 40.0, 40.0  # a score of 6,400; the bias is at most 98
    torch.testing.assert_close(module(q, k, v, bucket)[..., -1, :], v[..., 0, :])


@pytest.mark.parametrize("known", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("rows", [1, 24])
@pytest.mark.parametrize("masked", [False, True])
def test_only_keys_without_weight_are_left_out(masked, rows, known):
    """Weights of at most exp(-40), of every query that they are left out for; and there are such keys."""
    torch.manual_seed(0)
    q, k = torch.randn(3, 2, 24, 8), torch.randn(3, 2, 96, 8)
    bias = -4.0 * torch.rand(3, 2, rows, 96) * torch.arange(96)
    hidden = torch.zeros(1, 1, 24, 96).masked_fill_(torch.rand(24, 96) < 0.5, -torch.inf) if masked else None
    if hidden is not None:
        hidden[:, :, 5] = -torch.inf  # a query without keys
    scores = 0.3 * q @ k.transpose(-1, -2) + bias + (0.0 if hidden is None else hidden)
    lse = scores.logsumexp(-1)
    mask = with_bias(hidden, bias, reach_of(bias, 0.3, q, k), lse if known else None).expand_as(scores)
    left_out = (mask == -torch.inf) & (scores != -torch.inf)
    weights = (scores - lse.unsqueeze(-1)).exp()
    assert left_out.any()
    assert weights[left_out].max() <= math.exp(-40)
    torch.testing.assert_close(
        (mask - bias)[mask != -torch.inf], torch.zeros(int((mask != -torch.inf).sum()))
    )
