"""Programs a few heads at a time: when heads are apart, and that portions change nothing."""

import sys

import pytest
import torch

import attndsl
from attndsl.examples import example_files
from attndsl.ir.apart import heads_apart, pays_apart
from attndsl.language import load_text
from attndsl_codegen.kernels.portions import portion_count
from tests.codegen.test_modules import inputs_of

APART = {
    "grouped": "attention a { tokens x[n]; input q, k, v : x; return attend(relu(q), k, v) }",  # GQA
    "linear": "attention a { tokens x[n]; input q, k, v : x; return attend(elu(q) + 1, elu(k) + 1, v, normalize = linear) }",
    "pooled": """attention a { tokens x[n]; input q, k, v : x; learn t : [] scalar; learn u : [] scalar shared
                 a = pool(q, to = (3,)); return t * attend(q, a, attend(a, k, v)) + u * depthwise(v, 3) }""",
    "labels": """attention a { tokens x[n]; tokens c[4]; input q, k, v : x; input lab : x int
                 return attend(q, mean(k, by = lab[i], c), mean(v, by = lab[i], c)) }""",
    "several": """attention a { tokens x[n]; input q, k, v : x; y = relu(q)
                  return attend(y, k, v), attend(y, k, v, bias = dot(k[j], k[j])) }""",
}
TOGETHER = {
    "a sum over heads": "y = sum(q, over = heads); return attend(q + y, k, v)",
    "a softmax over heads": "return attend(softmax(q, over = heads), k, v)",
    "the number of a head": "return attend(relu(q), k, v, bias = head * 0.1)",
    "heads in the width": "return flat(attend(relu(q), k, v))",
    "how many heads": "return attend(relu(q), k, v) * heads",
    "a loss": "c = codebook(k, 4); loss l = c.loss; return attend(relu(q), k, v)",
}


@pytest.mark.parametrize("rest", TOGETHER.values(), ids=TOGETHER.keys())
def test_programs_that_need_all_heads(rest):
    assert not heads_apart(load_text(f"attention a {{ tokens x[n]; input q, k, v : x; {rest} }}"))


@pytest.mark.parametrize("rest", ["return attend(q, k, v)", "return attend(relu(q), k, v, where = causal)"])
def test_programs_that_gain_nothing(rest):
    assert not pays_apart(load_text(f"attention a {{ tokens x[n]; input q, k, v : x; {rest} }}"))


def gradients(module, inputs, learned):
    leaves = {n: t.detach().requires_grad_() if t.is_floating_point() else t for n, t in inputs.items()}
    found = module(**leaves)
    found = found if isinstance(found, tuple) else (found,)
    wanted = [*(t for t in leaves.values() if t.requires_grad), *learned]
    total = sum((out * torch.linspace(-1, 1, out.shape[-1])).sum() for out in found)
    return [t.detach() for t in found], torch.autograd.grad(total, wanted)


@pytest.mark.parametrize(
    ("name", "kv_heads"), [*((name, 4) for name in APART if name != "grouped"), ("grouped", 2)]
)
def test_portions_change_nothing(name, kv_heads):
    program = load_text(APART[name])
    assert heads_apart(program)
    assert pays_apart(program)
    inputs = inputs_of(program, batch=2, heads=4, kv_heads=kv_heads, value_width=8, n=23)
    module = attndsl.compile(program)(heads=4, dim=8)
    learned = list(module.parameters())
    names = vars(sys.modules[type(module).__module__])
    tensors = tuple(t for t in inputs.values() if t.dim() == 4)
    whole = gradients(module, inputs, learned)
    assert names["portion_count"](tensors, 2) == 1
    names["PORTION_BYTES"] = 23 * 8 * 4
    assert names["portion_count"](tensors, 2) == kv_heads
    apart = gradients(module, inputs, learned)
    with torch.no_grad():
        plain = module(**inputs)
    for found, expected in zip((*apart[0], *apart[1]), (*whole[0], *whole[1])):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for found, expected in zip(plain if isinstance(plain, tuple) else (plain,), whole[0]):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_groups_of_heads_stay_together():
    q, k, one = torch.empty(1, 8, 1 << 20, 4), torch.empty(1, 2, 1 << 20, 4), torch.empty(1, 1, 3, 4)
    assert portion_count((q, k, one), more_than=1) == 2
    assert portion_count((one,), more_than=1) == 1


def test_examples_that_run_in_portions():
    apart = {name for name in example_files() if heads_apart(p := attndsl.load(name)) and pays_apart(p)}
    assert {"linear", "l2vit", "mala", "agent"} <= apart
    assert not apart & {
        "dense",
        "davit_channel",
        "causal",
        "alibi",
        "neighborhood2d",
        "moh",
        "layer",
        "transformer_vq",
    }


def test_results_that_do_not_depend_on_what_wants_a_gradient():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(relu(q), k, v), relu(v) }"
    )
    inputs = inputs_of(program, batch=2, heads=4, kv_heads=4, value_width=8, n=23)
    module = attndsl.compile(program)()
    inputs["q"].requires_grad_()
    (whole,) = torch.autograd.grad(sum(out.square().sum() for out in module(**inputs)), inputs["q"])
    vars(sys.modules[type(module).__module__])["PORTION_BYTES"] = 23 * 8 * 4
    first, second = module(**inputs)
    (apart,) = torch.autograd.grad(first.square().sum() + second.square().sum(), inputs["q"])
    torch.testing.assert_close(apart, whole, rtol=1e-4, atol=1e-5)
    (nothing,) = torch.autograd.grad(module(**inputs)[1].sum(), inputs["q"], materialize_grads=True)
    assert not nothing.any()
