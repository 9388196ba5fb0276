"""Generated modules where models are trained: autocast, distributed data parallel."""

import pytest
import torch
from torch import distributed
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.parallel import DistributedDataParallel

import attndsl
from attndsl.language import load_text

PROJECTED = """attention a { tokens x[n]; input y : x flat
  q, k, v = split(project(y, 3), 2)
  return project(flat(attend(q, k, v, where = causal))) }"""
LEARNED = """attention a(P = 4) { tokens x[n]; input q, k, v : x; learn t : [2 * P - 1] scalar
  return attend(q, k, v, where = sliding(P - 1), bias = t[i - j + P - 1]) }"""


def tensors(*dtypes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, 40, 16, generator=generator).to(dtype).requires_grad_() for dtype in dtypes]


# --- autocast ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["causal", "dense"])
def test_mixed_types_end_in_the_type_of_autocast(name):
    """As with PyTorch's own attention; the gradient of each input keeps the input's type."""
    module = attndsl.compile(attndsl.load(name))()
    inputs = tensors(torch.float32, torch.bfloat16, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(*inputs)
        expected = scaled_dot_product_attention(*inputs, is_causal=name == "causal")
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), atol=2e-2)
    found.float().sum().backward()
    assert [t.grad.dtype for t in inputs] == [t.dtype for t in inputs]


def test_sums_stay_exact_under_autocast():
    """Matrix products inside the attend are not rounded to bfloat16: inputs of that type give the same bits."""
    module = attndsl.compile(load_text(LEARNED))(heads=2, dim=16)
    inputs = [t.detach().bfloat16() for t in tensors(*[torch.float32] * 3)]
    plain = module(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(*inputs), plain)


def test_without_autocast_mixed_types_are_refused_and_float64_is_left_alone():
    module = attndsl.compile(attndsl.load("causal"))()
    with pytest.raises(TypeError, match="k: torch.bfloat16, but q is torch.float32"):
        module(*tensors(torch.float32, torch.bfloat16, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        assert module(*tensors(*[torch.float64] * 3)).dtype == torch.float64


# --- distributed data parallel ----------------------------------------------------------------------


@pytest.fixture
def group(tmp_path):
    """A group of this process alone."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def step(model, inputs):
    """One step of gradient descent; the parameters afterwards."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(*inputs).square().sum().backward()
    optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("text", [PROJECTED, LEARNED])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_parallel_training_takes_the_same_step(group, text):
    program = load_text(text)
    plain, wrapped = (attndsl.compile(program)(heads=2, dim=16) for _ in range(2))
    wrapped.load_state_dict(plain.state_dict())
    inputs = [torch.randn(1, 12, 16)] if text == PROJECTED else tensors(*[torch.float32] * 3)
    before = [parameter.detach().clone() for parameter in plain.parameters()]
    expected, found = step(plain, inputs), step(DistributedDataParallel(wrapped), inputs)
    assert all(torch.allclose(a, b) for a, b in zip(found, expected))
    assert not any(torch.equal(a, b) for a, b in zip(before, expected))
