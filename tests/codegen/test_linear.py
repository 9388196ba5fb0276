"""The Triton kernel of causal attention without softmax, in the interpreter, against the exact definition."""

import pytest
import torch

import attndsl
from attndsl.api import import_source
from attndsl.language import load_text
from attndsl_codegen.kernels import causal
from attndsl_codegen.kernels.triton import launch, linear
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import check, quick, run
from tests.codegen.interpreter import bfloat16

SMALL = Configuration(queries=16, keys=32, warps=4, stages=1)
PROGRAMS = {
    "divided": "attend(elu(q) + 1, elu(k) + 1, v, where = causal, normalize = linear)",
    "plain": "attend(q, k, v, where = causal, normalize = none)",
    "a negative scale": "attend(q, k, v, where = causal, normalize = none, scale = -0.3)",
    "divided by what may vanish": "attend(q, k, v, where = causal, normalize = linear, scale = 1)",
}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Several chunks, and no torch in place of the kernel."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(linear, "configuration", lambda *_: SMALL)
    monkeypatch.setattr(linear, "contracted", None)


def program_of(name):
    return load_text(f"attention a {{ tokens x[n]; input q, k, v : x; return {PROGRAMS[name]} }}")


def inputs_of(q, k=None, v=None, dtype=torch.float32):
    """Random inputs of these shapes."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"q": q, "k": k or q, "v": v or k or q}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def agrees(name, inputs, tolerance=1e-4):
    """Results and gradients of the kernel are those of the definition."""
    program = program_of(name)
    module = quick(program, {}).Module()

    def with_no_lse(call):
        def called(leaves):
            out = call(leaves)
            return out, torch.zeros(1)

        return called

    found = run(with_no_lse(lambda leaves: module(*leaves.values())), inputs, through_lse=False)
    exact = {n: t.double() for n, t in inputs.items()}
    oracle = attndsl.oracle(program)
    check(found, run(with_no_lse(lambda leaves: oracle(**leaves)), exact, through_lse=False), tolerance)


SHAPES = {
    "one token": {"q": (1, 1, 1, 16)},
    "a chunk": {"q": (1, 2, 16, 16)},
    "odd lengths and widths": {"q": (2, 2, 37, 24), "v": (2, 2, 37, 5)},
    "grouped heads": {"q": (2, 4, 40, 16), "k": (2, 2, 40, 16)},
    "wide values": {"q": (1, 1, 33, 16), "v": (1, 1, 33, 100)},
    "wide keys": {"q": (1, 2, 20, 130), "v": (1, 2, 20, 16)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    agrees("plain", inputs_of(**SHAPES[shape]))


@pytest.mark.parametrize("name", ["divided", "a negative scale"])
def test_programs(name):
    agrees(name, inputs_of((2, 2, 37, 24), v=(2, 2, 37, 5)))


DECAY = "input la : x scalar; a = cumsum(la, axis = n)"
DECAYS = {
    "of weights": "q, k, v, where = causal, normalize = none, times = exp(a[i] - a[j])",
    "of scores": "q, k, v, where = causal, normalize = none, score = s * exp(a[i] - a[j])",
    "of scores, divided": "q, k, v, where = causal, normalize = linear, score = 0.9 ** (i - j) * s * exp(a[i] - a[j])",
}


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("strength", [0.01, 8.0], ids=["weak", "strong"])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=str)
def test_decay(strength, heads, name, backend, monkeypatch):
    """Over several chunks, also of a state that vanishes; with the gradient of the decay."""
    if backend == "torch":
        monkeypatch.undo()
        monkeypatch.setattr(causal, "CAUSAL_CHUNK", 16)
    text = f"attention a {{ tokens x[n]; input q, k, v : x; {DECAY}; return attend({DECAYS[name]}) }}"
    program, (count, kv_heads) = load_text(text), heads
    assert program.attends[0].op.kernel == "contracted"
    inputs = inputs_of((2, count, 37, 24), (2, kv_heads, 37, 24), (2, kv_heads, 37, 5))
    inputs |= {n: inputs[n].abs() for n in "qk"}  # sums of rows are not next to zero
    inputs["la"] = -strength * torch.rand(2, count, 37, generator=torch.Generator().manual_seed(2))
    results = []
    for call, dtype in (
        (quick(program, {}).function, torch.float32),
        (attndsl.oracle(program), torch.float64),
    ):
        leaves = {n: t.to(dtype).requires_grad_() for n, t in inputs.items()}
        out = call(**leaves)
        results.append([out, *torch.autograd.grad(out.sin().sum(), list(leaves.values()))])
    for found, expected in zip(*results):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Against the definition on the same rounded inputs. float16 is computed in float32."""
    with bfloat16():
        agrees("plain", inputs_of((1, 2, 40, 16), dtype=dtype), 2e-2 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile itself
def test_whole_graphs():
    """The operator of the attend runs the kernel, and again for its gradient."""
    program, inputs = program_of("divided"), inputs_of((1, 2, 24, 16))
    function = quick(program, {}).function
    torch._dynamo.reset()
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for called in (function, whole):
        leaves = [t.clone().requires_grad_() for t in inputs.values()]
        out = called(*leaves)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results))


def test_folded_files():
    """As they are for readers: what this program does not need of the kernel is gone."""
    text = attndsl.source(program_of("plain"))
    assert "running_products_kernel" in text
    assert "SUMS" not in text
    folded, inputs = import_source(text, "folded"), inputs_of((1, 2, 40, 16))
    folded.configuration = lambda *_: SMALL
    results = []
    for folded.BACKEND in ("triton", "torch"):
        leaves = [t.clone().requires_grad_() for t in inputs.values()]
        out = folded.a(*leaves)
        results.append([out, *torch.autograd.grad(out.sin().sum(), leaves)])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*results))


def test_programs_that_decode_are_left_to_torch(monkeypatch):
    monkeypatch.undo()
    inputs = inputs_of((1, 2, 8, 16))
    module = quick(program_of("plain"), {}).Module()
    whole = module(*inputs.values())
    step = module(inputs["q"][:, :, 5:], inputs["k"], inputs["v"], offset=5)
    assert torch.allclose(step, whole[:, :, 5:], atol=1e-5)


def test_sums_near_zero_keep_their_sign():
    inputs = inputs_of((1, 1, 20, 16))
    inputs["k"][:, :, :3] = 0  # a sum of nothing
    agrees("divided by what may vanish", inputs, 1e-3)
