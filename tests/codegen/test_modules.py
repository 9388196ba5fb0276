"""Generated modules against the exact definition: forward, log-sum-exp and all gradients, for random specs."""

import sys

import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st

import attndsl
from attndsl.diagnostics import AttnError
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from tests.codegen.build import check, module_of, quick, run, run_exact, tensors
from tests.strategies import Spec, specs, thorough, tile_shapes

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors are small: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@st.composite
def tiled_specs(draw, **options):
    """A spec and tile shapes for it."""
    spec = draw(specs(**options))
    tiles = Tiles(draw(tile_shapes(spec.query.extents)), draw(tile_shapes(spec.key.extents)))
    note(f"{spec} {tiles}")
    return spec, tiles


def call(module):
    """A module as a function of its inputs by name."""
    return lambda leaves: module(*leaves.values(), return_lse=True)


def agrees(
    spec: Spec, tiles: Tiles, dtype: torch.dtype, scale: float = 1.0, tolerance: float | None = None
) -> None:
    inputs = tensors(spec, dtype)
    inputs["q"] = inputs["q"] * scale
    module = quick(spec.program, {"out": tiles}).Module()
    through_lse = spec.seed % 2 == 0  # without it, backward may take another path
    found, exact = run(call(module), inputs, through_lse), run_exact(spec.program, inputs, through_lse)
    assert found.out.dtype == dtype
    assert all(grad.dtype == dtype for grad in found.grads.values())
    check(found, exact, tolerance or TOLERANCES[dtype])


@thorough(500)
@given(tiled_specs())
def test_float32(case):
    agrees(*case, torch.float32)


@thorough(60)
@given(tiled_specs())
def test_float64(case):
    agrees(*case, torch.float64)


@thorough(40)
@given(tiled_specs(), st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision(case, dtype):
    agrees(*case, dtype)


@thorough(40)
@given(tiled_specs())
def test_large_scores(case):
    """Scores of some hundreds: the exponential must not overflow, and most weights vanish."""
    spec, tiles = case
    agrees(spec, tiles, torch.float32, scale=100.0, tolerance=1e-3)
    agrees(spec, tiles, torch.float64, scale=100.0)


# --- one module, many sizes -----------------------------------------------------------------------


@thorough(30)
@given(tiled_specs(most=20), st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_one_module_serves_every_length(case, more):
    """Symbolic extents are read off the tensors at each call; larger ones satisfy what the spec requires."""
    spec, tiles = case
    module = quick(spec.program, {"out": tiles}).Module()
    for extra in (0, *more, 0):
        grown = spec.resized(*[tuple(e + extra for e in s.extents) for s in spec.sets])
        assert grown.text == spec.text
        inputs = tensors(grown)
        check(run(call(module), inputs), run_exact(spec.program, inputs), 1e-5)


SPECS = {
    "window": "attention a { tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = h: window(3) and w: sliding(2)) }",
    "fixed": "attention a { tokens x[h = 4, w = 6]; input q, k, v : x; return attend(q, k, v, where = w: causal) }",
    "labels": "attention a { tokens x[h, w]; input q, k, v : x; input lab : x int; return attend(q, k, v, where = document(lab)) }",
    "biased": "attention a { tokens x[h, w]; input q, k, v : x; input b : x scalar; return attend(q, k, v, bias = b[i] * (i.h - j.w) - b[j]) }",
    "cross": "attention a { tokens x[h, w]; tokens y[m]; input q : x; input k, v : y; return attend(q, k, v, where = j.m <= i.h * 2) }",
    "chained": "attention a { tokens x[h, w]; tokens c[5]; input q, k, v : x; input m : c\n z = attend(m, k, v, where = i.0 <= j.w)\n return attend(q, m, z) }",
    "empty": "attention a { tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = j.h > i.h + 1 and j.w > 1) }",
}


def inputs_of(program, heads=4, kv_heads=2, batch=2, width=8, value_width=5, seed=0, **sizes):
    """Random inputs for a program."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for value in program.inputs:
        extents = value.type.tokens.extents({"h": 4, "w": 6, "m": 9, "n": 23, **sizes})
        axes = {HEADS: [heads], KV_HEADS: [kv_heads], None: []}[value.type.heads]
        wide = [value_width if value.name == "v" else width] if value.type.width is not None else []
        shape = (batch, *axes, *extents, *wide)
        if value.type.kind == "real":
            found[value.name] = torch.randn(shape, generator=generator)
        else:
            labels = torch.randint(0, 3, shape, generator=generator)
            found[value.name] = labels if value.type.kind == "int" else labels > 1
    return found


@pytest.fixture(params=SPECS, scope="module")
def compiled(request):
    """A program and its module, imported from the generated file as a user gets it."""
    program = load_text(SPECS[request.param])
    return program, attndsl.compile(program)()


def test_imported_module(compiled):
    program, module = compiled
    inputs = inputs_of(program)
    check(run(call(module), inputs), run_exact(program, inputs), 1e-5)
    assert not list(module.parameters())
    assert module.state_dict() == {}


def test_return_lse_is_the_only_difference(compiled):
    program, module = compiled
    inputs = inputs_of(program)
    out, lse = module(**inputs, return_lse=True)
    assert torch.equal(module(**inputs), out)
    assert lse.shape == out.shape[:-1]
    assert lse.dtype == torch.float32


def test_flattened_tokens(compiled):
    """Tokens as one axis give the same numbers as one axis; symbolic grids are told by `grid`."""
    program, module = compiled
    inputs = inputs_of(program)
    expected, expected_lse = module(**inputs, return_lse=True)
    flat = {}
    for value in program.inputs:
        start = 1 + (value.type.heads is not None)
        axes = len(value.type.tokens.axes)
        flat[value.name] = inputs[value.name].flatten(start, start + axes - 1)
    for grid in ((4, 6), {"x": (4, 6)}):
        out, lse = module(**flat, grid=grid, return_lse=True)
        assert torch.equal(out, expected.flatten(2, -2))
        assert torch.equal(lse, expected_lse.flatten(2))
    if all(value.type.tokens.symbols for value in program.inputs if value.type.tokens.name == "x"):
        with pytest.raises(ValueError, match=r"q: the tokens are flattened; pass grid=\(h, w\)"):
            module(**flat)
        with pytest.raises(ValueError, match=r"q: grid=\(5, 6\) does not make 24 tokens"):
            module(**flat, grid=(5, 6))
        with pytest.raises(ValueError, match=r"q: grid=\(24,\) does not make 24 tokens"):
            module(**flat, grid=(24,))
    else:
        assert torch.equal(module(**flat), expected.flatten(2, -2))


def test_strides_do_not_matter(compiled):
    """Transposed, sliced and expanded inputs give the same as their contiguous copies, gradients too."""
    program, module = compiled
    inputs = inputs_of(program)
    expected = run(call(module), inputs)

    def other_strides(tensor):
        wide = torch.stack([tensor, -tensor if tensor.dtype != torch.bool else ~tensor], -1)
        return wide.transpose(0, 1).contiguous().transpose(0, 1)[..., 0]

    found = run(lambda leaves: call(module)({n: other_strides(t) for n, t in leaves.items()}), inputs)
    torch.testing.assert_close(found.out, expected.out, rtol=0, atol=1e-6)
    for name, grad in expected.grads.items():
        torch.testing.assert_close(found.grads[name], grad, rtol=0, atol=1e-6)
    expanded = {n: t[:1].expand(3, *t.shape[1:]) for n, t in inputs.items()}
    torch.testing.assert_close(module(**expanded), module(**{n: t.contiguous() for n, t in expanded.items()}))


def test_repeated_runs_are_equal_bit_for_bit(compiled):
    program, module = compiled
    inputs = inputs_of(program)
    first = run(call(module), inputs)
    for _ in range(3):
        again = run(call(module), inputs)
        assert torch.equal(first.out, again.out)
        assert torch.equal(first.lse, again.lse)
        assert all(torch.equal(first.grads[name], again.grads[name]) for name in first.grads)


def test_gradients_of_some_inputs_only(compiled):
    program, module = compiled
    inputs = inputs_of(program)
    everything = run(call(module), inputs)
    for chosen in everything.grads:
        leaves = {n: t.detach().clone().requires_grad_(n == chosen) for n, t in inputs.items()}

        def alone(_, leaves=leaves):
            return call(module)(leaves)

        run(alone, {})
        torch.testing.assert_close(leaves[chosen].grad, everything.grads[chosen], rtol=0, atol=1e-6)
        assert all(t.grad is None for n, t in leaves.items() if n != chosen)


def test_without_gradients(compiled):
    program, module = compiled
    inputs = inputs_of(program)
    expected = module(**inputs)
    leaves = {n: t.requires_grad_() if t.is_floating_point() else t for n, t in inputs.items()}
    assert module(**leaves).requires_grad
    with torch.no_grad():
        assert not module(**leaves).requires_grad
        assert torch.equal(module(**leaves), expected)
    with torch.inference_mode():
        assert torch.equal(module(**leaves), expected)


def test_inputs_are_left_alone(compiled):
    program, module = compiled
    inputs = inputs_of(program)
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    run(call(module), inputs)
    assert all(torch.equal(inputs[name], before[name]) for name in inputs)


def test_the_second_derivative_is_refused():
    module = module_of(SPECS["window"])
    q, k, v = (torch.randn(1, 1, 4, 4, 3, requires_grad=True) for _ in range(3))
    (grad,) = torch.autograd.grad(module(q, k, v).square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_empty_rows_give_zeros_and_no_gradient():
    module = module_of(SPECS["empty"])
    q, k, v = (torch.randn(1, 2, 4, 5, 3, requires_grad=True) for _ in range(3))
    out, lse = module(q, k, v, return_lse=True)
    out.sum().backward()
    assert (out[:, :, 2:] == 0).all()
    assert (lse[:, :, 2:] == -torch.inf).all()
    assert torch.isfinite(lse[:, :, :2]).all()
    assert (q.grad[:, :, 2:] == 0).all()
    assert (v.grad[:, :, :2] == 0).all()
    assert (v.grad[..., :2, :] == 0).all()


@pytest.mark.parametrize(("batch", "heads"), [(0, 2), (1, 1), (3, 5)])
def test_any_batch_and_heads(batch, heads):
    for name in ("window", "labels", "biased"):
        program = load_text(SPECS[name])
        inputs = inputs_of(program, heads=heads, kv_heads=1, batch=batch)
        out = attndsl.compile(program)()(**inputs)
        assert out.shape == (batch, heads, 4, 6, 5)


def test_one_token():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }"
    )
    inputs = inputs_of(program, n=1)
    check(run(call(attndsl.compile(program)()), inputs), run_exact(program, inputs), 1e-5)


def test_fields_of_lower_precision_than_the_arithmetic():
    """A bias that is a difference of bfloat16 fields is taken in float32, and so is the sum of its gradient."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; input b : x scalar; return attend(q, k, v, bias = 8 * (b[i] - b[j])) }"
    )
    inputs = inputs_of(program, n=300, heads=1, kv_heads=1, batch=1)
    inputs["b"] = inputs["b"].to(torch.bfloat16)
    found, exact = run(call(attndsl.compile(program)()), inputs), run_exact(program, inputs)
    rounded = exact.grads["b"].to(torch.bfloat16)
    check(type(found)(found.out, found.lse, {n: g for n, g in found.grads.items() if n != "b"}),
          type(exact)(exact.out, exact.lse, {n: g for n, g in exact.grads.items() if n != "b"}), 1e-5)  # fmt: skip
    assert found.grads["b"].dtype == torch.bfloat16
    torch.testing.assert_close(found.grads["b"], rounded, rtol=2**-7, atol=float(rounded.abs().max()) * 1e-4)


def test_plans_are_kept():
    """A plan is made once per size, and for fields once per content."""
    program = load_text(SPECS["window"])
    built = quick(program, {"out": Tiles((2, 2), (2, 2))})
    plans = built.names["PLANS"]
    plans.clear()
    for h in (4, 5, 4, 5):
        built.Module()(**inputs_of(program, h=h))
    assert len(plans) == 2
    for h in range(3, 3 + built.names["MAX_PLANS"] + 5):
        built.Module()(**inputs_of(program, h=h))
    assert len(plans) == built.names["MAX_PLANS"]
    labels = quick(load_text(SPECS["labels"]), {"out": Tiles((2, 2), (2, 2))})
    plans = labels.names["PLANS"]
    plans.clear()
    inputs = inputs_of(load_text(SPECS["labels"]))
    for _ in range(2):
        labels.Module()(**inputs)
    assert len(plans) == 1
    for change, known in ((torch.clone, 1), (lambda t: t.add_(1), 2), (lambda t: t - 1, 2)):
        inputs["lab"] = change(inputs["lab"])
        labels.Module()(**inputs)
        assert len(plans) == known


def test_labels_written_through_shared_memory():
    """A change that PyTorch cannot see: the tensor, its address and its version stay the same."""
    program = load_text(SPECS["labels"])
    module, inputs = attndsl.compile(program)(), inputs_of(program)
    module(**inputs)
    inputs["lab"].numpy()[:] = inputs["lab"].numpy()[:, ::-1].copy()
    check(run(call(module), inputs), run_exact(program, inputs), 1e-5)


@pytest.mark.parametrize("name", ["labels", "biased"])
def test_inference_before_training(name):
    """What is remembered of a call in inference mode serves a call with gradients."""
    program = load_text(SPECS[name])
    module = attndsl.compile(program)()
    with torch.inference_mode():
        module(**inputs_of(program))
    inputs = inputs_of(program)
    check(run(call(module), inputs), run_exact(program, inputs), 1e-5)


def test_a_new_label_makes_a_new_plan():
    program = load_text(SPECS["labels"])
    module = attndsl.compile(program)()
    for seed in range(3):
        inputs = inputs_of(program, seed=seed)
        check(run(call(module), inputs), run_exact(program, inputs), 1e-5)


# --- wrong arguments ------------------------------------------------------------------------------


def wrong(inputs, name, change):
    return {**inputs, name: change(inputs[name])}


WRONG = [
    ("q", lambda t: t.tolist(), TypeError, r"q: expected a tensor, got list"),
    ("k", lambda t: None, TypeError, r"k: expected a tensor, got NoneType"),
    ("q", lambda t: t.long(), TypeError, r"q: expected real elements, got torch.int64"),
    ("v", lambda t: t.double(), TypeError, r"v: torch.float64, but q is torch.float32"),
    ("q", lambda t: t.double(), TypeError, r"k: torch.float32, but q is torch.float64"),
    ("v", lambda t: t.to("meta"), TypeError, r"v: on meta, but q is on cpu"),
    ("q", lambda t: t[0], ValueError, None),
    ("q", lambda t: t[0, 0], ValueError, r"q: expected shape \(batch, heads, h, w, width\), got \(4, 6, 8\)"),
    ("k", lambda t: t[None], ValueError, r"k: expected shape \(batch, kv heads, h, w, width\), got \(1, 2, "),
    ("k", lambda t: t[:, :, :3], ValueError, r"k: 3 tokens along axis h, expected 4"),
    ("v", lambda t: t[:, :, :, :5], ValueError, r"v: 5 tokens along axis w, expected 6"),
    ("v", lambda t: t[:1], ValueError, r"v: batch 1, expected 2"),
    ("v", lambda t: t[:, :1], ValueError, r"v: 1 heads, expected 2"),
    ("k", lambda t: t[..., :7], ValueError, r"k: width 7, but q has width 8"),
    ("q", lambda t: t[:, :3], ValueError, r"k: 2 heads cannot serve 3 query heads evenly"),
    ("lab", lambda t: t.float(), TypeError, r"lab: expected int elements, got torch.float32"),
    ("lab", lambda t: t > 0, TypeError, r"lab: expected int elements, got torch.bool"),
    ("lab", lambda t: t[:1], ValueError, r"lab: batch 1, expected 2"),
    ("lab", lambda t: t[..., :2], ValueError, r"lab: 2 tokens along axis w, expected 6"),
]


@pytest.mark.parametrize(
    ("name", "change", "error", "message"), WRONG, ids=[str(at) for at in range(len(WRONG))]
)
def test_errors_name_the_argument(name, change, error, message):
    program = load_text(SPECS["labels"])
    module = quick(program, {"out": Tiles((2, 2), (2, 2))}).Module()
    with pytest.raises(error, match=message or f"{name}: "):
        module(**wrong(inputs_of(program), name, change))


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("axis", [2, 3])
def test_no_tokens(name, axis):
    program = load_text(SPECS["window"])
    module = quick(program, {"out": Tiles((2, 2), (2, 2))}).Module()
    with pytest.raises(ValueError, match=f"^{name}: |^q: |^k: "):
        module(**wrong(inputs_of(program), name, lambda t: t.narrow(axis, 0, 0)))
    with pytest.raises(ValueError, match=r"q: x has \(0, 6\) tokens"):
        module(**{n: t[:, :, :0] for n, t in inputs_of(program).items()})


def test_tokens_of_a_derived_set():
    text = (
        "attention a { tokens x[n]; tokens c[n // 4]; input q : x; input k, v : c; return attend(q, k, v) }"
    )
    module = module_of(text)
    q, c = torch.randn(1, 2, 16, 8), torch.randn(1, 2, 4, 8)
    assert module(q, c, c).shape == q.shape
    with pytest.raises(ValueError, match=r"k: tokens \(3,\), but c has \(4,\)"):
        module(q, c[:, :, :3], c)
    with pytest.raises(ValueError, match=r"k: c has \(0,\) tokens"):
        module(q[:, :, :3], c[:, :, :0], c[:, :, :0])


def test_requirements_hold_at_every_call():
    module = module_of(SPECS["window"])
    good = torch.randn(1, 1, 3, 3, 4)
    module(good, good, good)
    with pytest.raises(ValueError, match="window: requires size <= extent"):
        module(*[good[:, :, :2]] * 3)


def test_arguments_by_position_and_by_name():
    program = load_text(SPECS["labels"])
    module = attndsl.compile(program)()
    inputs = inputs_of(program)
    assert torch.equal(module(*inputs.values()), module(**inputs))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'lab'"):
        module(inputs["q"], inputs["k"], inputs["v"])
    with pytest.raises(TypeError, match="takes"):
        module(*inputs.values(), (4, 6))


def test_module_words():
    module = module_of(
        "attention sliding_one(radius = 3) { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = sliding(radius)) }",
        given={"radius": 5},
    )
    assert type(module).__name__ == "SlidingOne"
    assert repr(module) == "SlidingOne(radius=5)"
    assert "n, width" in type(module).forward.__doc__ or "See" in type(module).forward.__doc__


def test_lookups_on_another_set_stay_inside():
    """A label of every second token: checked for the sizes of each call, with the field's name."""
    module = module_of(
        "attention a { tokens x[n]; tokens y[m]; input q, k, v : x; input lab : y int\n"
        " return attend(q, k, v, where = lab[i // 2] == lab[j // 2]) }"
    )
    q, lab = torch.randn(1, 2, 8, 3), torch.tensor([[0, 1, 0, 1]])
    found, exact = (
        module(q, q, q, lab),
        torch.nn.functional.scaled_dot_product_attention(
            q, q, q, attn_mask=lab[0, torch.arange(8) // 2][:, None] == lab[0, torch.arange(8) // 2]
        ),
    )
    torch.testing.assert_close(found, exact)
    with pytest.raises(ValueError, match="^lab: requires "):
        module(q, q, q, lab[:, :3])


def test_requirements_on_coordinates():
    """A requirement that mentions `i` and `j` must hold for every pair."""
    module = module_of(
        "pattern apart(most) {\n  require i - j < most\n  j <= i\n}\n"
        "attention a { tokens x[h, i_w]; input q, k, v : x; return attend(q, k, v, where = h: apart(4) and i_w: apart(6)) }"
    )
    module(*[torch.randn(1, 1, 4, 6, 3)] * 3)
    for h, w in ((5, 6), (4, 7)):
        with pytest.raises(ValueError, match="apart: requires i - j < most"):
            module(*[torch.randn(1, 1, h, w, 3)] * 3)


def test_scores_that_ignore_the_product():
    """`score` replaces `s`; if it does not use it, queries and keys get no gradient."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; input b : x scalar; return attend(q, k, v, where = causal, score = b[j]) }"
    )
    inputs = inputs_of(program)
    found = run(call(attndsl.compile(program)()), inputs)
    weight = inputs["b"].double()[:, :, None].expand(-1, -1, 23, -1).masked_fill(
        ~torch.ones(23, 23, dtype=torch.bool).tril(), -torch.inf
    )  # fmt: skip
    torch.testing.assert_close(
        found.out.double(),
        weight.softmax(-1) @ inputs["v"].double().repeat_interleave(2, 1),
        rtol=0,
        atol=1e-6,
    )
    assert not found.grads["q"].any()
    assert not found.grads["k"].any()
    assert found.grads["b"].any()


@pytest.mark.parametrize("score", ["i - j", "2", "1 if i == j else 0", "b[0]"])
def test_scores_of_plain_numbers(score):
    program = load_text(
        f"attention a {{ tokens x[n]; input q, k, v : x; input b : x scalar; return attend(q, k, v, score = {score}, bias = b[j]) }}"
    )
    inputs = inputs_of(program)
    found = run(call(attndsl.compile(program)()), inputs)
    exact = attndsl.oracle(program)(**inputs)
    torch.testing.assert_close(found.out.double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "where", ["i >= 0", "b_[0] == 1", "b_[n - 1] != b_[head]", "heads == 4", "n > 2 and head < 3"]
)
def test_masks_without_coordinates(where):
    """Conditions that are the same for many pairs, or for all of them."""
    program = load_text(
        f"attention a {{ tokens x[n]; input q, k, v : x; input b_ : x int\n return attend(q, k, v, where = {where}) }}"
    )
    inputs = inputs_of(program)
    check(run(call(attndsl.compile(program)()), inputs), run_exact(program, inputs), 1e-5)


def test_choices_between_a_coordinate_and_a_number():
    """`i if n < 3 else 2` is a tensor or a number, as the size has it."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x\n"
        " return attend(q, k, v, where = min(i if n < 9 else 2, 5) <= j, bias = tanh(i if n < 9 else 0.5)) }"
    )
    module = attndsl.compile(program)()
    for n in (4, 8, 9, 12):
        inputs = inputs_of(program, n=n)
        check(run(call(module), inputs), run_exact(program, inputs), 1e-5)


def test_fields_at_coordinates_from_fields():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; input lab : x int; input b : x scalar; return attend(q, k, v, bias = b[lab[j]]) }"
    )
    inputs = inputs_of(program)
    check(run(call(attndsl.compile(program)()), inputs), run_exact(program, inputs), 1e-5)


def test_fields_at_coordinates_from_fields_by_hand():
    module = module_of(
        "attention a { tokens x[n]; input q, k, v : x; input lab : x int; input b : x scalar; return attend(q, k, v, bias = b[lab[j]]) }"
    )
    q, b, lab = torch.randn(2, 2, 7, 4), torch.randn(2, 2, 7), torch.randint(0, 7, (2, 7))
    bias = b.gather(2, lab[:, None].expand(2, 2, 7))[:, :, None].expand(2, 2, 7, 7)
    expected = torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=bias)
    torch.testing.assert_close(module(q, q, q, lab, b), expected)


def test_a_bias_of_minus_infinity_hides_a_key_without_gradient():
    """A bias of log(count) is minus infinity where the count is zero; its gradient there is zero."""
    module = module_of(
        "attention a { tokens x[n]; input q, k, v : x; input c : x scalar; return attend(q, k, v, bias = log(c[j])) }"
    )
    q = torch.randn(1, 1, 6, 4)
    c = torch.tensor([[[1.0, 0.0, 2.0, 0.0, 3.0, 1.0]]], requires_grad=True)
    module(q, q, q, c).square().sum().backward()
    assert torch.isfinite(c.grad).all()


@pytest.mark.parametrize(
    "expressions",
    [
        "where = j != 2, bias = log(c[j])",
        "where = i != j, bias = sqrt(abs(c[i] - c[j]))",
        "where = i != j, bias = log(abs(c[i] - c[j]))",
        "bias = log(c[j]) + c[i] / max(i - j, 1)",
        "where = j != 2, score = s * sqrt(c[j])",
        "where = j != 2, score = log(abs(s))",
        "where = j != 2 and i > 1, score = 1 / s, bias = 1 / c[lab[j]]",
        "where = j < i, score = i - j",
    ],
)
def test_hidden_pairs_send_no_gradient_where_derivatives_are_infinite(expressions):
    """Keys 2 and 4 are zero, and so is c there: derivatives are infinite on pairs that are not visible."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; input c : x scalar; input lab : x int\n"
        f" return attend(q, k, v, {expressions}) }}"
    )
    inputs = inputs_of(program, n=6)
    zero = [2, 4] if "log(c[j])" in expressions else [2]
    inputs["k"][:, :, zero], inputs["c"] = 0.0, inputs["c"].abs() + 0.5
    inputs["c"][:, :, zero] = 0.0
    inputs["lab"] = torch.arange(6).expand_as(inputs["lab"])
    exact = run_exact(program, inputs)
    assert all(torch.isfinite(grad).all() for grad in exact.grads.values())
    module = attndsl.compile(program)
    check(run(call(module()), inputs), exact, 1e-5)
    names = vars(sys.modules[module.__module__])

    def by_definition(leaves):
        at, flat, _ = names["read_arguments"](names["ARGUMENTS"], leaves, None)
        return names["results"](at, names["by_definition"](), *flat.values())[0][0]

    check(run(by_definition, inputs), exact, 1e-5)


def test_extents_that_no_input_shows():
    """A module could not know them: 8 pairs come from 16 or 17 tokens."""
    with pytest.raises(AttnError, match="no input shows how large `n` is"):
        load_text("attention a { tokens x[n]; tokens c[n // 2]; input q, k, v : c; return attend(q, k, v) }")
