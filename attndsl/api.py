"""The Python interface: load a spec, compile it, see its mask, run its exact definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attndsl.examples import find_spec
from attndsl.generated import import_source
from attndsl.ir.program import Program
from attndsl.language import load_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from attndsl.exact import Oracle
    from attndsl.simulation.report import Report


def load(path_or_name: str | Path, attention: str | None = None, **params: Any) -> Program:
    """Loads and checks an attention.

    Args:
        path_or_name: a file, or the name of an installed example.
        attention: which one, if the file defines several.
        params: values for its parameters.

    Raises:
        AttnError: with every problem found in the spec.
    """
    return load_file(find_spec(path_or_name), attention, params)


def source(program: Program) -> str:
    """The generated, self-contained Python file for a program. The same program gives the same text."""
    from attndsl_codegen import generate

    return generate(program)


def compile(program: Program, backend: str = "auto") -> type[nn.Module]:
    """The `nn.Module` class of a program, imported from generated source.

    The source is that of `source` before it is folded for readers, which takes seconds and changes no result.

    Args:
        backend: `auto` runs Triton kernels on a GPU where they serve and torch elsewhere; `torch` never
            runs them; `triton` raises ValueError at a call that they do not serve.

    Raises:
        ValueError: the backend is unknown, or no part of the program has Triton kernels.
    """
    if backend not in ("auto", "torch", "triton"):
        raise ValueError(f"unknown backend {backend!r}; there are `auto`, `torch` and `triton`")
    from attndsl_codegen import generate

    module = import_source(generate(program, folded=False), program.name)
    if backend == "triton" and not hasattr(module, "BACKEND"):
        raise ValueError(f"no attend of `{program.name}` has Triton kernels; use backend='auto'")
    if hasattr(module, "BACKEND"):
        module.__dict__["BACKEND"] = backend
    return getattr(module, module.__all__[0])


def oracle(program: Program) -> Oracle:
    """The exact definition: dense, float64, differentiable; called with the inputs by name."""
    from attndsl.exact import oracle as dense_oracle

    return dense_oracle(program)


def mask(
    program: Program,
    *,
    attend: str | None = None,
    heads: int = 1,
    fields: Mapping[str, NDArray[Any]] | None = None,
    **extents: int,
) -> NDArray[np.bool_]:
    """The dense mask of one attend, for small sizes.

    Args:
        attend: its name; the last one if not given.
        heads: the number of heads.
        fields: values of run-time fields, (batch, [heads,] *extents).
        extents: the symbolic extents, e.g. `n=64`.

    Returns:
        Booleans (queries, keys); with leading (batch, heads) axes where the mask depends on them.
    """
    from attndsl.analysis.attention import dense_mask
    from attndsl.planning.sizes import check_sizes

    sizes = {**extents, "heads": heads}
    check_sizes(program, sizes)
    ops = {value.name: value.op for value in program.attends}
    if attend is not None and attend not in ops:
        raise ValueError(f"no attend called {attend!r}; there are: {', '.join(ops)}")
    found = dense_mask(ops[attend or list(ops)[-1]], sizes, fields)
    return found[0, 0] if found.shape[:2] == (1, 1) else found


def simulate(
    program: Program,
    device: str = "h100",
    *,
    kernel: str = "attndsl",
    shape: Mapping[str, int] | None = None,
    tile_q: tuple[int, ...] | None = None,
    tile_k: tuple[int, ...] | None = None,
    from_kernel: bool = False,
    **options: Any,
) -> Report:
    """The speed that a program can reach, and where the rest is lost; needs no GPU.

    Args:
        device: a name (see `attndsl devices`) or a .toml file.
        kernel: `attndsl`, `flash`, `flex` or `natten`.
        shape: the symbolic extents, e.g. `{"n": 4096}`; what `attndsl simulate` takes by default.
        tile_q, tile_k: tile shapes, one size per axis or one for stretches; chosen by time if not given.
        from_kernel: compile the Triton kernels for the device, and take costs from their machine code.
        options: `dtype`, `batch`, `heads`, `kv_heads`, `dim`, `direction` (`fwd`, `bwd`, `both`), `queries`.

    Raises:
        AttnError: the device, the kernel, the extents or the tiles do not fit, or nothing can be compiled.
        TypeError: an option is unknown.
    """
    from attndsl.planning.layouts import Forced
    from attndsl.planning.simulate import default_extents, simulate_in_full
    from attndsl.simulation.setting import make_setting

    setting = make_setting(device, kernel, **options)
    extents = dict(shape) if shape else default_extents(program, setting.heads)
    query, key = (None if tile is None else "x".join(map(str, tile)) for tile in (tile_q, tile_k))
    forced = Forced(query, key)
    if from_kernel:
        from attndsl.machine_code import compiled_attends

        forced = replace(forced, compiled=compiled_attends(program, extents, setting, forced))
    return simulate_in_full(program, extents, setting, forced)
