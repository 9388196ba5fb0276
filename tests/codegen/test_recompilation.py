"""New sizes compile no kernel anew: the keys under which Triton keeps compiled kernels are counted."""

import pytest
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from attndsl.language import load_text
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.triton import launch, linear, lookups, pair_launch
from tests.codegen.build import quick

KERNELS = "softmax_forward_kernel", "softmax_query_gradient_kernel", "softmax_key_gradient_kernel"
LENGTHS = 1, 15, 16, 4096, 4097
BACKEND = make_backend(GPUTarget("cuda", 90, 32))


class Counter:
    """Stands for a kernel: remembers under which keys it would be compiled, and runs nothing."""

    def __init__(self, kernel):
        function = JITFunction(kernel.fn)
        self.binder = create_function_from_signature(function.signature, function.params, BACKEND)
        self.keys = set()

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **constants):
        _, key, options = self.binder(*arguments, **constants)
        self.keys.add((tuple(key), str(options)))


@pytest.fixture
def counters(monkeypatch):
    """A counter in the place of every kernel."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    found = {name: Counter(getattr(launch, name)) for name in KERNELS}
    for name, counter in found.items():
        monkeypatch.setattr(launch, name, counter)
    return found


def compilations(counters):
    """How often each kernel would have been compiled."""
    return [len(counter.keys) for counter in counters.values()]


def module_of(options, tokens="x[n]"):
    text = f"attention a {{ tokens {tokens}; input q, k, v : x; return attend(q, k, v, {options}) }}"
    return quick(load_text(text), {"out": Tiles((64,), (64,))}).Module()


def train(module, *shapes, **more):
    """One forward and backward pass; results are not computed."""
    q, k, v = (torch.zeros(shape, requires_grad=True) for shape in shapes)
    module(q, k, v, *more.values()).sum().backward()


ATTENDS = {
    "causal": "where = causal",
    "sliding": "where = sliding(64)",
    "alibi": "where = causal, bias = -(2 ** -(8 * (head + 1) / heads)) * (i - j)",
    "a scale of the length": "where = causal, scale = x.n ** -0.5",
    "a mask of the length": "where = i + j < x.n",
}


@pytest.mark.parametrize("name", ATTENDS)
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(2, 2, 64), (4, 1, 128), (1, 1, 24), (3, 1, 1)])
def test_a_new_length_compiles_nothing(counters, name, heads, kv_heads, width):
    module = module_of(ATTENDS[name])
    for length in LENGTHS:
        shapes = [(1, count, length, width) for count in (heads, kv_heads, kv_heads)]
        train(module, *shapes)
    assert compilations(counters) == [1, 1, 1]


def test_tokens_before_heads(counters):
    """Projections give (batch, tokens, heads, width); strides of batch and token change places."""
    module = module_of("where = causal")
    for length in LENGTHS:
        tensors = (torch.zeros(2, length, 3, 64).transpose(1, 2).requires_grad_() for _ in range(3))
        module(*tensors).sum().backward()
    assert compilations(counters) == [1, 1, 1]


def test_grids(counters):
    module = module_of("where = h: window(1) and w: window(1)", tokens="x[h, w]")
    for grid in ((1, 1), (1, 16), (15, 16), (16, 17)):
        train(module, *[(1, 2, *grid, 64)] * 3)
    assert compilations(counters) == [1, 1, 1]


def test_labels(counters):
    """Twice at first: tokens may be where they are, or in the order of their labels."""
    text = """attention a { tokens x[n]; input q, k, v : x; input doc : x int
      return attend(q, k, v, where = causal and document(doc)) }"""
    module = quick(load_text(text), {"out": Tiles((64,), (64,))}).Module()
    for length in (1, 15, 16, 300):
        train(module, *[(2, 2, length, 64)] * 3, doc=torch.arange(2 * length).view(2, length) // 100)
    assert compilations(counters) == [2, 2, 2]


def test_gradients_of_tables(counters, monkeypatch):
    counter = Counter(lookups.softmax_lookup_gradient_kernel)
    monkeypatch.setattr(lookups, "softmax_lookup_gradient_kernel", counter)
    text = """attention a(P = 8) { tokens x[n]; input q, k, v : x; learn t : [2 * P - 1] scalar
      return attend(q, k, v, where = sliding(P - 1), bias = t[i - j + P - 1]) }"""
    module = quick(load_text(text), {"out": Tiles((64,), (64,))}).Module(heads=2, dim=64)
    for length in (1, 15, 16, 300):
        train(module, *[(1, 2, length, 64)] * 3)
    assert [*compilations(counters), len(counter.keys)] == [1, 1, 1, 1]


def counted(monkeypatch, module, *names):
    """Counters in the place of kernels of one module."""
    monkeypatch.setattr(launch, "BACKEND", "triton")
    found = {name: Counter(getattr(module, name)) for name in names}
    for name, counter in found.items():
        monkeypatch.setattr(module, name, counter)
    return found


LINEAR = {
    "plain": ("", 2),
    "divided": (", normalize = linear", 4),
    "fading": (", times = exp(-0.1 * (i - j))", 2),
}
"""Options, and how often the kernel is compiled: for results, for gradients in two directions, with terms."""


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(2, 2, 64), (4, 1, 128), (1, 1, 24)])
def test_causal_sums(monkeypatch, name, heads, kv_heads, width):
    options, expected = LINEAR[name]
    normalize = "" if "normalize" in options else ", normalize = none"
    text = f"attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal{options}{normalize}) }}"
    counters = counted(monkeypatch, linear, "running_products_kernel")
    module = quick(load_text(text), {}).Module()
    for length in LENGTHS:
        train(module, *[(1, count, length, width) for count in (heads, kv_heads, kv_heads)])
        assert compilations(counters) == [expected]


PAIRED = "paired_forward_kernel", "paired_query_gradient_kernel", "paired_key_gradient_kernel"


@pytest.mark.parametrize("where", ["i - 3 <= j.0 and j.0 <= i and j.1 == i", "j.0 == 0 and j.1 == i"])
def test_pairs(monkeypatch, where):
    """The gradients of first and second factors are two kernels."""
    text = f"""attention a {{ tokens x[n]; input q, k, v : x
      return attend(q, kron(k, k), kron(v, v), where = {where}) }}"""
    counters = counted(monkeypatch, pair_launch, *PAIRED)
    module = quick(load_text(text), {}).Module()
    for length in LENGTHS:
        train(module, *[(1, 2, length, 64)] * 3)
        assert compilations(counters) == [1, 1, 2]


def test_what_is_counted(counters):
    """Another width is another kernel."""
    module = module_of("where = causal")
    for width in (64, 128):
        train(module, *[(1, 2, 16, width)] * 3)
    assert compilations(counters) == [2, 2, 2]
