"""The derivative of every elementwise function, beside torch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attndsl.ir.bounds import Bounds
from attndsl.ir.functions import FUNCTIONS, USER_FUNCTIONS
from attndsl.ir.index import Const, Var, apply
from attndsl.ir.namespaces import EXACT, Arrays

TORCH = Arrays(torch, torch.float64)
SMOOTH = sorted(name for name, function in FUNCTIONS.items() if function.torch)
SEVERAL = {"+": 3, "*": 4, "/": 2, "**": 2, "min": 3, "max": 3, "abs": 1}


def arguments(name: str, count: int) -> list[torch.Tensor]:
    """Points on both sides of zero, apart from each other; positive ones where the function asks for it."""
    generator = torch.Generator().manual_seed(1)
    found = [torch.randn(50, generator=generator, dtype=torch.float64) * 2 for _ in range(count)]
    if name in ("log", "sqrt"):
        found = [arg.abs() + 0.1 for arg in found]
    if name == "**":
        found[0] = found[0].abs() + 0.1
    return [arg.requires_grad_() for arg in found]


@pytest.mark.parametrize("name", [*SMOOTH, *SEVERAL])
def test_derivatives_are_those_of_torch(name):
    function = FUNCTIONS[name]
    args = arguments(name, SEVERAL.get(name, 1))
    exact = torch.autograd.grad(function.value(TORCH, *args).sum(), args)
    assert function.derivative is not None
    found = function.derivative(TORCH, *(arg.detach() for arg in args))
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(
            torch.as_tensor(a, dtype=torch.float64).expand(50), b, rtol=1e-10, atol=1e-12
        )


def test_choices_differentiate_by_what_they_choose():
    test, a, b = torch.tensor([True, False]), torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    derivative = FUNCTIONS["select"].derivative
    assert derivative is not None
    assert [torch.as_tensor(part).tolist() for part in derivative(TORCH, test, a, b)[1:]] == [[1, 0], [0, 1]]


@pytest.mark.parametrize("name", SMOOTH)
@settings(max_examples=30, deadline=None)
@given(x=st.floats(0.05, 20), negative=st.booleans())
def test_the_printed_forms_are_the_function(name, x, negative):
    import math

    x = -x if negative and name not in ("log", "sqrt") else x
    function = FUNCTIONS[name]
    expected = function.value(EXACT, x)
    shown = function.python.format(repr(x))
    in_torch = function.torch.format("x")
    scope = {"math": math, "torch": torch, "functional": torch.nn.functional}
    assert eval(shown, scope) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    tensor = eval(in_torch, {**scope, "x": torch.tensor(x, dtype=torch.float64)})
    assert float(tensor) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in USER_FUNCTIONS if FUNCTIONS[name].torch])
def test_bounds_of_real_functions_are_sound(name):
    """They may be infinite, but they must exist: conditions on reals ask for them."""
    lo, hi = Bounds({"x": (Const(0.5), Const(2.0))}).interval(apply(name, Var("x", "real")))
    values = [FUNCTIONS[name].value(EXACT, 0.5 + 1.5 * at / 20) for at in range(21)]
    assert lo.value <= min(values) + 1e-12
    assert hi.value >= max(values) - 1e-12
