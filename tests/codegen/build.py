"""Modules for the tests: built fast, run with gradients, compared with the exact definition."""

import hashlib
import importlib
import inspect
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import attndsl
from attndsl.exact import oracle
from attndsl.ir.program import Program
from attndsl.language import load_text
from attndsl_codegen.emit import Emitter
from attndsl_codegen.hooks import Tiles
from attndsl_codegen.linker import MODULES, PACKAGE
from attndsl_codegen.names import class_name, function_name
from tests.strategies import Spec

FLOOR = 0.25
"""The scale of small gradients, as a share of the largest: some are zero by cancellation, their rounding is not."""


def machinery() -> dict[str, Any]:
    """Everything that the kernels define and import."""
    names: dict[str, Any] = {"nn": torch.nn}
    for module in MODULES:
        names |= vars(importlib.import_module(f"{PACKAGE}.{module}"))
    return names


MACHINERY = machinery()
"""The same, taken before any test puts something in the place of a kernel."""


def quick(program: Program, tiles: dict[str, Tiles]) -> SimpleNamespace:
    """The part of the generated file that is the program's own, on top of the imported kernels.

    Reading back 900 lines of machinery for each of hundreds of specs takes longer than running them;
    `test_linker.py` shows that linked machinery is the kernels' text.
    """
    own = Emitter(program, tiles, example={}, sampled=False, version="0").own
    text = f"from __future__ import annotations\n{own}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    more = {"PARAMETERS": dict(program.parameters), "NAMESPACE": f"attndsl_{digest}"}
    names = {**MACHINERY, "__name__": "quick", **more}
    file = f"<generated {digest}>"
    linecache.cache[file] = (
        len(text),
        None,
        text.splitlines(keepends=True),
        file,
    )  # Triton reads its kernels
    exec(compile(text, file, "exec"), names)
    return SimpleNamespace(
        Module=names[class_name(program.name)], function=names[function_name(program.name)], names=names
    )


def called(generated: Any, name: str, **arguments: Any) -> Any:
    """Calls a kernel of a generated file with those of the arguments that folding has left it."""
    function = getattr(generated, name)
    known = inspect.signature(function).parameters
    return function(**{name: value for name, value in arguments.items() if name in known})


def module_of(text: str, **options: Any) -> torch.nn.Module:
    """The compiled module of a spec, imported from its whole generated file."""
    return attndsl.compile(load_text(text, **options))()


def tensors(spec: Spec, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The inputs of a spec, reals in the given type."""
    return {
        name: torch.from_numpy(values).to(dtype) if values.dtype == float else torch.from_numpy(values)
        for name, values in spec.inputs().items()
    }


@dataclass(frozen=True)
class Run:
    """What one call gave: output, log-sum-exp, gradients of the real inputs in order."""

    out: Tensor
    lse: Tensor
    grads: dict[str, Tensor]


Call = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]


def run(call: Call, inputs: dict[str, Tensor], through_lse: bool = True) -> Run:
    """Calls and differentiates a fixed random projection of the output, and of the finite log-sum-exps."""
    leaves = {n: t.detach().clone().requires_grad_(t.is_floating_point()) for n, t in inputs.items()}
    out, lse = call(leaves)
    generator = torch.Generator().manual_seed(0)
    seen = torch.isfinite(lse)
    total = (torch.randn(out.shape, generator=generator).double() * out.double()).sum()
    if through_lse:
        total = (
            total + (torch.randn(lse.shape, generator=generator).double()[seen] * lse[seen].double()).sum()
        )
    total.backward()
    real = {n: t for n, t in leaves.items() if t.requires_grad}
    grads = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in real.items()}
    return Run(out.detach(), lse.detach(), grads)


def run_exact(program: Program, inputs: dict[str, Tensor], through_lse: bool = True) -> Run:
    """The same by the exact definition, in float64."""
    definition = oracle(program)
    doubled = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    return run(lambda leaves: definition.with_lse(leaves)[0], doubled, through_lse)


def error(found: Tensor, exact: Tensor, floor: float = 1e-3) -> float:
    """The largest difference over the largest exact value (at least `floor`); infinities must be the same."""
    assert found.shape == exact.shape
    found, exact = found.double(), exact.double()
    finite = torch.isfinite(exact)
    assert torch.equal(torch.isfinite(found), finite)
    assert torch.equal(found[~finite], exact[~finite])
    if not finite.any():
        return 0.0
    difference = (found[finite] - exact[finite]).abs().max()
    return float(difference / exact[finite].abs().max().clamp(min=floor))


def check(found: Run, exact: Run, tolerance: float) -> None:
    """Output, log-sum-exp and every gradient agree."""
    errors = {"out": error(found.out, exact.out), "lse": error(found.lse, exact.lse)}
    assert found.grads.keys() == exact.grads.keys()
    floor = FLOOR * max(float(grad.abs().max()) for grad in exact.grads.values())
    errors |= {f"d {n}": error(found.grads[n], grad, max(floor, FLOOR)) for n, grad in exact.grads.items()}
    assert max(errors.values()) <= tolerance, errors
