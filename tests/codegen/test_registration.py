"""Attends as operators of PyTorch: whole graphs under `torch.compile`, symbolic sizes, FLOP counts."""

from unittest.mock import patch

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import attndsl
from attndsl.analysis.layout import Brick
from attndsl.api import import_source
from attndsl.language import load_text
from attndsl.planning.plan import plan_program
from attndsl.simulation.counts import count_tiles
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.kernels.triton import launch
from attndsl_codegen.kernels.triton.configurations import Configuration
from tests.codegen.build import quick

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch.compile itself
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning"),  # the interpreter, on empty slots
]

SPECS = {
    "causal": "return attend(q, k, v, where = causal)",
    "sliding": "return attend(q, k, v, where = sliding(5))",
    "labels": "input doc : x int; return attend(q, k, v, where = causal and document(doc))",
    "bias": "return attend(q, k, v, where = causal, bias = -(2 ** -(8 * (head + 1) / heads)) * (i - j))",
    "table": "learn t : [9] scalar; return attend(q, k, v, where = sliding(4), bias = t[i - j + 4])",
    "vectors": "input a, b : x; return attend(q, k, v, where = causal, bias = 0.1 * dot(a[i], b[j]))",
    "labels in a bias": "input doc : x int; return attend(q, k, v, where = causal, bias = 0.1 * doc[j])",
    "sinks": """tokens r[2]; learn rk, rv : r
      return joint(attend(q, k, v, where = causal and sliding(9)), attend(q, rk, rv))""",
    "all keys": "return attend(q, k, v)",
    "weights of a sigmoid": "return attend(q, k, v, where = causal, normalize = sigmoid)",
    "running sums": "return attend(elu(q) + 1, elu(k) + 1, v, where = causal, normalize = linear)",
    "sums": "return attend(elu(q) + 1, elu(k) + 1, v, normalize = linear)",
    "pairs": "return attend(q, kron(k, k), kron(v, v))",
    "no queries": "input g : x scalar; return attend(v = v, score = g[j] - 0.1 * abs(i - j))",
}


def program_of(name):
    return load_text(f"attention a {{ tokens x[n]; input q, k, v : x; {SPECS[name]} }}")


def inputs_of(program, length, batch=2, heads=2, kv_heads=2, dtype=torch.float32):
    """Random inputs and learned tensors of a program in its function's order."""
    generator = torch.Generator().manual_seed(length)
    found = []
    for value in (*program.inputs, *program.learned):
        count = kv_heads if value.name in ("k", "v", "rk", "rv") else heads
        shape = [count, length] if value in program.inputs else [count, *(9 if value.name == "t" else 2,)]
        shape = [batch, *shape] if value in program.inputs else shape
        if value.type.kind == "int":
            found.append(torch.arange(length).expand(batch, -1) // 7)
        else:
            shape += [16] * (value.type.width is not None)
            found.append(torch.randn(shape, generator=generator).to(dtype))
    return found


def compiled_function(program):
    """The function of a program on top of the imported kernels."""
    return quick(
        program, {name: Tiles(t.query, t.key) for name, t in plan_program(program).tiles.items()}
    ).function


def trained(function, inputs, return_lse=False):
    """Results and gradients of one step; log-sum-exps take part."""
    leaves = [t.clone().requires_grad_(t.is_floating_point()) for t in inputs]
    outputs = function(*leaves, return_lse=return_lse)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(out.masked_fill(out == -torch.inf, 0.0).sin().sum() for out in outputs).backward()
    return [*(out.detach() for out in outputs), *(leaf.grad for leaf in leaves if leaf.requires_grad)]


def same(found, expected, tolerance=1e-5):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=tolerance), (a - b).abs().max()


@pytest.fixture(autouse=True)
def _no_leftovers():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# --- torch.compile ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECS)
def test_whole_graphs(name):
    """Three lengths, one graph for the first and one for all others: sizes become symbols, plans are not traced."""
    program = program_of(name)
    function = compiled_function(program)
    through_lse = program.value(program.results[0]).type.partial
    torch._dynamo.utils.counters.clear()
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    for length in (40, 24, 33):
        inputs = inputs_of(program, length)
        same(trained(whole, inputs, through_lse), trained(function, inputs, through_lse))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_an_attend_is_one_node():
    program = program_of("sliding")
    function = compiled_function(program)
    nodes = []

    def backend(graph, _):
        nodes.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    with torch.no_grad():
        inputs = inputs_of(program, 40)
        found = torch.compile(function, fullgraph=True, backend=backend)(*inputs)
    assert torch.allclose(found, function(*inputs), atol=1e-6)
    assert len([name for name in nodes if name.startswith("attndsl_")]) == 1
    assert not [name for name in nodes if "softmax" in name or "matmul" in name or "attention" in name]


def test_inductor():
    program = program_of("table")
    function = compiled_function(program)
    inputs = inputs_of(program, 40)
    same(trained(torch.compile(function, fullgraph=True), inputs), trained(function, inputs))


@pytest.mark.parametrize("name", ["causal", "labels", "bias", "table"])
def test_whole_graphs_of_triton_kernels(name, monkeypatch):
    monkeypatch.setattr(launch, "configuration", lambda *_: Configuration(16, 16, 4, 1))
    program = program_of(name)
    function = compiled_function(program)
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    for length in (40, 24):
        inputs = inputs_of(program, length, batch=1)
        expected = trained(function, inputs, True)
        with monkeypatch.context() as here:
            here.setenv("TRITON_INTERPRET", "1")
            here.setattr(launch, "BACKEND", "triton")
            here.setattr(launch, "tiled", None)  # torch would fail
            same(trained(whole, inputs, True), expected, 1e-4)


def test_grouped_heads_and_decoding():
    program = program_of("sliding")
    function = import_source(attndsl.source(program), "decoded").a
    inputs = inputs_of(program, 40, heads=4, kv_heads=2)
    same(
        trained(torch.compile(function, fullgraph=True, backend="aot_eager"), inputs),
        trained(function, inputs),
    )
    q, k, v = inputs
    step = torch.compile(lambda *given: function(*given, offset=38), fullgraph=True, backend="aot_eager")
    assert torch.allclose(step(q[:, :, 38:], k, v), function(q, k, v)[:, :, 38:], atol=1e-5)


def test_what_a_trace_cannot_check_is_checked_when_it_runs():
    text = """attention a { tokens x[n]; input q, k, v : x; input at : x int
      return attend(q, k, gather(v, x, at[i])) }"""
    function = compiled_function(load_text(text))
    q, k, v = (torch.randn(1, 1, 8, 16) for _ in range(3))
    whole = torch.compile(function, fullgraph=True, backend="aot_eager")
    places = torch.arange(8).flip(0).unsqueeze(0)
    assert torch.allclose(whole(q, k, v, places), function(q, k, v, places), atol=1e-6)
    with pytest.raises(ValueError, match="outside"):
        function(q, k, v, places + 1)
    with pytest.raises(RuntimeError, match="outside"):
        whole(q, k, v, places + 1)


# --- registration -----------------------------------------------------------------------------------


def arguments_of(function, inputs):
    """What the operators of the only attend are given in a call."""
    seen = []

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            if operator.namespace.startswith("attndsl_"):
                seen.append((operator, args))
            return operator(*args, **(kwargs or {}))

    with Spy():
        trained(function, inputs)
    return seen


@pytest.mark.parametrize("name", ["causal", "sliding", "labels", "bias", "table", "sinks", "all keys"])
def test_opcheck(name):
    """PyTorch's own checks of schema, aliasing, fake tensors and autograd, forward and backward."""
    program = program_of(name)
    heads = 4 if name == "sliding" else 2
    seen = arguments_of(compiled_function(program), inputs_of(program, 24, heads=heads))
    assert len(seen) == 2 * len(program.attends)
    for operator, args in seen:
        back = operator._opname.endswith("_backward")
        own = [
            a.detach().clone().requires_grad_(a.is_floating_point() and not back) if torch.is_tensor(a) else a
            for a in args
        ]
        torch.library.opcheck(operator, tuple(own))


def test_files_that_are_loaded_twice_share_operators_and_variants_have_their_own():
    program = attndsl.load("sliding")
    texts = [
        attndsl.source(program),
        attndsl.source(program),
        attndsl.source(attndsl.load("sliding", radius=3)),
    ]
    modules = [import_source(text, f"copy{number}") for number, text in enumerate(texts)]
    assert modules[0].NAMESPACE == modules[1].NAMESPACE != modules[2].NAMESPACE
    inputs = [torch.randn(1, 1, 32, 16) for _ in range(3)]
    for module in modules:
        found = torch.compile(module.sliding, fullgraph=True, backend="eager")(*inputs)
        assert torch.allclose(found, module.sliding(*inputs), atol=1e-6)
    assert not torch.allclose(modules[0].sliding(*inputs), modules[2].sliding(*inputs), atol=1e-2)


def test_the_backend_that_a_module_asks_for_reaches_its_operators():
    """Two modules of one file share operators, but not this setting."""
    program = attndsl.load("causal")
    inputs = [torch.randn(1, 1, 16, 16, dtype=torch.float64) for _ in range(3)]
    for backend in ("torch", "triton"):
        module = attndsl.compile(program, backend=backend)()
        whole = torch.compile(module, fullgraph=True, backend="eager")
        if backend == "torch":
            assert torch.allclose(whole(*inputs), module(*inputs))
        else:
            with pytest.raises(Exception, match="float64"):
                whole(*inputs)


def test_plain_calls_take_no_detour():
    program = program_of("causal")
    with patch("attndsl_codegen.kernels.registration.AttendOperator.__call__", None):
        trained(compiled_function(program), inputs_of(program, 24))


# --- FLOPs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["causal", "sliding", "labels", "all keys"])
@pytest.mark.parametrize("length", [1, 37, 130])
def test_flops_are_those_of_the_pairs_that_the_analysis_counts(name, length):
    program = program_of(name)
    inputs = inputs_of(program, length, heads=4)
    (attend,) = (value.op for value in program.attends)
    fields = {"doc": inputs[3][:1].numpy()} if name == "labels" else {}
    layout = Brick((length,), (16,))
    pairs = 2 * count_tiles(attend, {"n": length}, layout, layout, 4, fields).pairs
    function = compiled_function(program)  # a counter knows the operators that there are when it is made
    with FlopCounterMode(display=False) as counter:
        trained(function, inputs)
    counted = {str(op).split(".")[-1]: n for op, n in counter.get_flop_counts()["Global"].items()}
    assert counted == {"out": 4 * 16 * pairs, "out_backward": 10 * 16 * pairs}


COUNTED = {
    "documents": ("input doc : x int; ", "where = causal and document(doc)"),
    "documents of a window": ("input doc : x int; ", "where = sliding(5) and document(doc)"),
    "sigmoids": ("", "where = causal and sliding(5), normalize = sigmoid"),
    "squares of dilated keys": ("", "where = dilated(3), score = s ** 2, normalize = linear"),
    "factors": ("", "where = causal, times = 1 / (1 + i - j)"),
}


def counted_flops(function, inputs):
    """FLOPs of the forward and of the backward pass, of an operator alone."""
    leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in inputs]
    with FlopCounterMode(display=False) as counter:
        function(*leaves).sum().backward()
    return [n for _, n in sorted(counter.get_flop_counts()["Global"].items(), key=lambda item: str(item[0]))]


@pytest.mark.parametrize("length", [37, 130])
@pytest.mark.parametrize("name", COUNTED)
def test_flops_of_labels_and_of_other_weights(name, length):
    """Exact where values are known; of FakeTensors, as if labels hid nothing."""
    declared, options = COUNTED[name]
    text = f"attention a {{ tokens x[n]; input q, k, v : x; {declared}return attend(q, k, v, {options}) }}"
    program = load_text(text)
    function, inputs = compiled_function(program), inputs_of(program, length, heads=4)
    fields = {"doc": inputs[3].numpy()} if declared else {}
    batch = len(inputs[0])
    shown = attndsl.mask(program, n=length, fields=fields)  # with a batch axis where labels bring one
    pairs = 4 * int(shown.sum()) * (1 if shown.ndim > 2 else batch)
    assert counted_flops(function, inputs) == [4 * 16 * pairs, 10 * 16 * pairs]
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in inputs]
    relaxed = load_text(text.replace("document(doc)", "true"))
    most = 4 * batch * int(attndsl.mask(relaxed, n=length).sum())
    with mode:
        assert counted_flops(function, fakes) == [4 * 16 * most, 10 * 16 * most]


def test_flops_of_running_sums_and_of_pairs():
    """Two products of a token with the state; two products for every pair of keys."""
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal, normalize = none) }"
    )
    inputs = inputs_of(program, 40, heads=4)
    tokens = 4 * len(inputs[0]) * 40
    assert counted_flops(compiled_function(program), inputs) == [4 * 16 * 16 * tokens, 12 * 16 * 16 * tokens]
    program = attndsl.load("windowed_tensor", near=5, far=5)
    inputs = inputs_of(program, 20, heads=4)
    within = (torch.arange(20)[:, None] - torch.arange(20)).abs()
    near = int((within < 5).sum(1).pow(2).sum())
    assert counted_flops(compiled_function(program), inputs)[0] == 4 * 16 * 4 * len(inputs[0]) * near
