"""Programs that compute more than attention: Triton kernels multiply in the type of the inputs all the same."""

import pytest
import torch

import attndsl
from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.triton import launch, linear, pair_launch
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import quick
from tests.codegen.interpreter import bfloat16

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

SMALL = Configuration(queries=16, keys=16, warps=4, stages=1)
X = "tokens x[n]; input q, k, v : x; "
PROGRAMS = {
    "turned": X + "a = rotary(q); b = rotary(k); return attend(a, b, v, where = causal)",
    "an attend of attends": X
    + "z = attend(q, k, v, where = sliding(5)); return attend(q, z, v, where = causal)",
    "all keys": X + "z = attend(q, k, v); return z + v",
    "linear": X
    + "a = elu(q) + 1; b = elu(k) + 1; return attend(a, b, v, normalize = linear, where = causal)",
    "pairs": X + "return attend(q, kron(k, k), kron(v, v + q), where = j.0 <= i and j.1 <= i)",
    "a bias": X + "input b : x scalar; z = 2 * v; return attend(q, k, z, where = causal, bias = b[i] * b[j])",
}
KERNELS = {
    launch: ("softmax_forward_kernel", "softmax_query_gradient_kernel", "softmax_key_gradient_kernel"),
    linear: ("running_products_kernel",),
    pair_launch: ("paired_forward_kernel", "paired_query_gradient_kernel", "paired_key_gradient_kernel"),
}


class Watched:
    """A kernel; keeps the types of the tensors that it multiplies."""

    def __init__(self, kernel, operands, seen):
        self.kernel, self.operands, self.seen = kernel, operands, seen

    def __getitem__(self, grid):
        def launched(*arguments, **constants):
            self.seen.update(t.dtype for t in arguments[: self.operands])
            return self.kernel[grid](*arguments, **constants)

        return launched


@pytest.fixture
def seen(monkeypatch):
    """The types of what kernels multiply."""
    found = set()
    monkeypatch.setattr(launch, "BACKEND", "triton")
    monkeypatch.setattr(launch, "configuration", lambda *_: SMALL)
    for module, names in KERNELS.items():
        for name in names:
            monkeypatch.setattr(module, name, Watched(getattr(module, name), 3, found))
    return found


def leaves_of(program, dtype, exact=None):
    """Random inputs, rounded to `dtype`, in the type of the definition if `exact`."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for value in program.inputs:
        shape = (1, 2, 20, 16) if value.type.width is not None else (1, 2, 20)
        t = torch.randn(shape, generator=generator).to(dtype)
        found[value.name] = t.to(exact or dtype).requires_grad_()
    return found


def differentiated(call, leaves):
    """Results, and gradients of something of them."""
    out = call(**leaves)
    return [out, *torch.autograd.grad(out.double().sin().sum(), list(leaves.values()))]


def program_of(name):
    return load_text(f"attention a {{ {PROGRAMS[name]} }}")


def function_of(program):
    return quick(program, {v.name: Tiles((16,), (16,)) for v in program.attends}).function


@pytest.mark.parametrize("name", PROGRAMS)
def test_bfloat16(name, seen):
    """Results within 1 % of the largest value, gradients within 3 %: as PyTorch's attention under autocast."""
    program = program_of(name)
    with bfloat16():
        found = differentiated(function_of(program), leaves_of(program, torch.bfloat16))
    assert seen == {torch.bfloat16}
    exact = differentiated(attndsl.oracle(program), leaves_of(program, torch.bfloat16, torch.float64))
    for a, b, tolerance in zip(found, exact, [1e-2] + [3e-2] * len(exact)):
        assert a.dtype == torch.bfloat16
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["turned", "linear"])
def test_other_types_are_multiplied_in_float32(name, dtype, seen):
    program = program_of(name)
    differentiated(function_of(program), leaves_of(program, dtype))
    assert seen == {torch.float32}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile itself
@pytest.mark.parametrize("name", ["turned", "linear"])
def test_operators_tell_kernels_the_type(name, seen):
    """Traced calls give the same bits; float32 results stay in float32 between two attends."""
    program = program_of(name)
    function = function_of(program)
    torch._dynamo.reset()
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    with bfloat16():
        found = [differentiated(call, leaves_of(program, torch.bfloat16)) for call in (function, whole)]
    assert seen == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(*found))
