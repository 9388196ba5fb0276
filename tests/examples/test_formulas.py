"""Examples that are more than a mask: module and oracle compute what the formulas of their sources say."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor

import attndsl
from attndsl.api import compile, oracle
from attndsl.ir.program import Program
from attndsl.verify import Case, make_inputs, make_learned
from tests.examples.every_formula import FORMULAS
from tests.examples.formulas import Tensors

TOLERANCE = 1e-9
WIDTH = 8


@dataclass(frozen=True)
class Setting:
    """An example at a small size."""

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 3

    def __str__(self) -> str:
        settings = {**self.sizes, **self.params}
        return "-".join([self.name, *(f"{key}={value}".replace(" ", "") for key, value in settings.items())])

    @cached_property
    def program(self) -> Program:
        return attndsl.load(self.name, **self.params)

    @cached_property
    def case(self) -> Case:
        return Case({**self.sizes, "heads": self.heads}, width=WIDTH, value_width=WIDTH)

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Random; logarithms of edge weights (la, lb) are negative."""
        found = make_inputs(self.program, self.case)
        found |= {name: -found[name].abs() for name in ("la", "lb") if name in found}
        return {name: t.double() if t.is_floating_point() else t for name, t in found.items()}

    @cached_property
    def learned(self) -> dict[str, Tensor]:
        return {name: tensor.double() for name, tensor in make_learned(self.program, self.case).items()}

    def module(self) -> Any:
        """The compiled module in float64, with the learned tensors."""
        if not self.program.learned:
            return compile(self.program)()
        dim = {value.name: WIDTH for value in self.program.inputs if value.type.width is not None}
        module = compile(self.program)(heads=self.heads, dim=dim, dtype=torch.float64)
        module.load_state_dict(self.learned)
        return module.eval()

    def run_formula(self, tensors: dict[str, Tensor]) -> Tensor:
        return FORMULAS[self.name](Tensors(tensors), **self.program.parameters)


def hw(h: int, w: int) -> dict[str, int]:
    return {"h": h, "w": w}


SETTINGS = [
    Setting("agent", hw(14, 9), {"size": 4}),
    Setting("agent", hw(5, 8), {"size": 2}),
    Setting("swin", hw(8, 12), {"size": 4, "shift": 2}),
    Setting("swin", hw(6, 9), {"size": 3, "shift": 1}),
    Setting("swin", hw(8, 4), {"size": 4, "shift": 0}),
    Setting("maxvit_block", hw(6, 9), {"size": 3}),
    Setting("maxvit_grid", hw(6, 9), {"size": 3}),
    Setting("maxvit_grid", hw(8, 4), {"size": 2}),
    Setting("gc_vit", hw(6, 9), {"size": 3}),
    Setting("linformer", {"n": 13}, {"rank": 5, "longest": 16}),
    Setting("linformer", {"n": 16}, {"rank": 3, "longest": 16}),
    Setting("lama", {"n": 11}, {"heads_": 4}),
    Setting("lama", {"n": 11}, {"heads_": 1}),
    Setting("transformer_vq", {"n": 23}, {"codes": 5, "block": 4}),
    Setting("transformer_vq", {"n": 16}, {"codes": 3, "block": 2}),
    Setting("longvq", {"n": 23}, {"codes": 5, "block": 4}),
    Setting("longvq", {"n": 12}, {"codes": 3, "block": 2}),
    Setting("largegt", {"n": 17}, {"codes": 6}),
    Setting("tensor_attention", {"n": 9}),
    Setting("windowed_tensor", {"n": 11}, {"near": 2, "far": 4}),
    *(Setting(name, hw(4, 5)) for name in ("ppma", "ppma_product", "ppma_criss_cross", "ppma_linear")),
    *(Setting(name, hw(1, 6)) for name in ("ppma", "ppma_product", "ppma_criss_cross", "ppma_linear")),
    Setting("mala", hw(5, 4)),
    Setting("l2vit", hw(5, 4)),
    Setting("l2vit", hw(5, 4), {"least": 1}),
    Setting("davit_channel", hw(5, 4)),
    Setting("pam", hw(5, 4), {"reduction": 4}),
    Setting("cam", hw(2, 3)),
    Setting("core_context", {"n": 29}, {"group": 4, "local": 6}),
    Setting("core_context", {"n": 17}, {"group": 3, "local": 2}),
    Setting("rg_sa", hw(35, 18), {"count": 2}),
    Setting("mla", {"n": 9}, {"width_": 12}),
    Setting("tpla", {"n": 9}, {"width_": 12, "share": (0.8, 0.2)}),
    Setting("moh", {"n": 9}, {"shared_": 1, "routed": 3}),
    Setting("moh", {"n": 7}, {"shared_": 2, "routed": 2}),
    Setting("gaam", {"n": 7}),
    Setting("mot", {"n": 13}, {"count": 2, "kinds": 3}),
    Setting("linear", {"n": 11}),
    Setting("retention", {"n": 11}),
    Setting("state_space", {"n": 11}),
    Setting("sinked", {"n": 11}, {"size": 4, "count": 2}),
    Setting("layer", {"n": 9}, {"count": 2}),
    Setting("volo_outlook", hw(5, 6)),
    Setting("volo_outlook", hw(4, 5), {"stride": 1}),
    Setting("volo_outlook", hw(7, 6), {"size": 5}),
]


def with_gradients(run: Any, setting: Setting, seed: int = 0) -> list[Tensor]:
    """The output, and the gradients of all real inputs and parameters for a fixed upstream gradient."""
    inputs, learned = (
        {n: t.clone().requires_grad_() if t.is_floating_point() else t for n, t in part.items()}
        for part in (setting.inputs, setting.learned)
    )
    out = run(inputs, learned)
    upstream = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(seed))
    state = {value.name for value in setting.program.learned if value.op.state}
    leaves = {**inputs, **learned}
    wanted = [t for name, t in leaves.items() if t.is_floating_point() and name not in state]
    grads = torch.autograd.grad(out, wanted, upstream, allow_unused=True)
    return [out.detach(), *(torch.zeros_like(t) if g is None else g for t, g in zip(wanted, grads))]


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    largest = max(float(tensor.abs().max()) for tensor in expected[1:])
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= TOLERANCE * max(float(b.abs().max()), 0.1 * largest)


def test_every_formula_is_tested() -> None:
    assert {setting.name for setting in SETTINGS} == set(FORMULAS)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_oracle_is_the_formula(setting: Setting) -> None:
    found = with_gradients(lambda i, p: oracle(setting.program)(params=p, **i), setting)
    close(found, with_gradients(lambda i, p: setting.run_formula({**i, **p}), setting))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_module_is_the_formula(setting: Setting) -> None:
    """Also that the module's parameters are the ones the formula names."""
    module = setting.module()

    def run(inputs: dict[str, Tensor], learned: dict[str, Tensor]) -> Tensor:
        if not learned:
            return module(**inputs)
        return torch.func.functional_call(module, learned, (), inputs)

    close(with_gradients(run, setting), with_gradients(lambda i, p: setting.run_formula({**i, **p}), setting))
