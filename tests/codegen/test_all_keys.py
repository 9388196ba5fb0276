"""Attends in which every query sees every key: by the fused operators, by plain products, in pieces."""

import sys
from itertools import product

import pytest
import torch

import attndsl
from attndsl.language import load_text
from attndsl_codegen.kernels import fused
from tests.codegen.build import check, machinery, run, run_exact
from tests.codegen.test_modules import call, inputs_of

SPECS = {
    "plain": "attention a { tokens x[n]; tokens y[m]; input q : x; input k, v : y; return attend(q, k, v) }",
    "counted": """attention a { tokens x[n]; tokens y[m]; input q : x; input k, v : y; input c : y int
                  return attend(q, k, v, bias = log(c[j])) }""",  # a count of 0 hides its key
    "biased": """attention a { tokens x[n]; tokens y[m]; input q : x; input k, v : y; input b : y scalar
                 return attend(q, k, v, bias = b[j] * (i - j) / 9) }""",
    "slopes": """attention a { tokens x[n]; tokens y[m]; input q : x; input k, v : y
                 return attend(q, k, v, bias = -abs(i - j) * (head + 1) / heads, scale = 0.7) }""",
}


def case(name, **sizes):
    program = load_text(SPECS[name])
    assert program.attends[0].op.kernel == "all_keys"
    return program, attndsl.compile(program)(), inputs_of(program, **sizes)


@pytest.mark.parametrize(("name", "equal", "through_lse"), [*product(SPECS, (True, False), (True, False))])
def test_results_and_gradients(name, equal, through_lse):
    """Fused where queries and values are equally wide, else plain; gradients also through the log-sum-exp."""
    program, module, inputs = case(name, value_width=8 if equal else 5, n=37, m=29)
    check(run(call(module), inputs, through_lse), run_exact(program, inputs, through_lse), 1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_in_pieces(name):
    """Where scores or biases are held, some queries at a time."""
    program, module, inputs = case(name, value_width=8, n=37, m=29)
    names = vars(sys.modules[type(module).__module__])
    names["HELD_SCORES"] = 8 * 29 * 5
    check(run(call(module), inputs), run_exact(program, inputs), 1e-5)


def test_few_scores_are_plain_products():
    """Channels: scores are fewer than the elements of queries and keys."""
    program, module, inputs = case("plain", width=96, value_width=96, n=7, m=5)
    check(run(call(module), inputs), run_exact(program, inputs), 1e-5)
    tensor = torch.zeros(1, 1, 7, 96)
    assert machinery()["few_scores"](tensor, tensor)
    assert not machinery()["few_scores"](torch.zeros(1, 1, 64, 8), torch.zeros(1, 1, 64, 8))


def test_lower_precision():
    program, module, inputs = case("counted", value_width=8, n=37, m=29)
    halves = {n: t.bfloat16() if t.is_floating_point() else t for n, t in inputs.items()}
    check(run(call(module), halves), run_exact(program, halves), 2e-2)


def test_every_key_hidden_by_its_count():
    program, module, inputs = case("counted", value_width=8, n=37, m=29)
    inputs["c"][0] = 0
    found = run(call(module), inputs, through_lse=False)
    check(found, run_exact(program, inputs, through_lse=False), 1e-5)
    assert not found.out[0].any()


def test_the_file_has_no_plan():
    text = attndsl.source(load_text(SPECS["plain"]))
    assert "def make_plan" not in text
    assert "class AllKeysAttention" in text


def test_a_gradient_of_the_log_sum_exp_alone_takes_the_plain_path():
    """Where an output has no gradient it cannot carry that of the log-sum-exp."""
    out, grad_out = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    grad_lse = torch.randn(2, 3, 5)
    shifted = fused.shifted_output(out, grad_out, grad_lse)
    assert shifted is not None
    torch.testing.assert_close((grad_out * shifted).sum(-1), (grad_out * out).sum(-1) - grad_lse)
    grad_out[1, 2, 3] = 0
    assert fused.shifted_output(out, grad_out, grad_lse) is None
    grad_lse[1, 2, 3] = 0
    assert fused.shifted_output(out, grad_out, grad_lse) is not None


def test_gradients_of_the_log_sum_exp_alone():
    _, module, inputs = case("plain", value_width=8, n=37, m=29)
    leaves = {n: t.double().requires_grad_() for n, t in inputs.items()}
    _, lse = call(module)(leaves)
    scores = leaves["q"].unflatten(1, (2, 2)) @ leaves["k"].unsqueeze(2).transpose(-1, -2)
    expected = (scores * 8**-0.5).logsumexp(-1).flatten(1, 2)
    for found, exact in zip(
        torch.autograd.grad(lse.square().sum(), (leaves["q"], leaves["k"])),
        torch.autograd.grad(expected.square().sum(), (leaves["q"], leaves["k"])),
    ):
        torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-8)
