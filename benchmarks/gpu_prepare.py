"""Writes what `benchmarks/gpu.py` needs on a machine that has torch and Triton, but not attndsl.

    python benchmarks/gpu_prepare.py -o prepared            # modules, tile maps, predictions: minutes
    python benchmarks/gpu_prepare.py -o prepared --small    # the small sizes alone, as the tests do

The folder holds `index.json`, a generated module and modifiers for FlexAttention per attention and size, and
`.pt` files with tile maps and labels. `--kernels` adds predictions from the machine code of the kernels.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from gpu_modifiers import modifiers
from gpu_specs import DTYPE, SMALL_DTYPE, SMALL_WIDTHS, SPECS, WIDTHS, Size, Spec
from torch import Tensor

import attndsl
from attndsl.analysis.attention import analyse
from attndsl.analysis.layout import make_layout
from attndsl.diagnostics import AttnError
from attndsl.examples import find_spec
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.ir.walk import evaluate, fields, variables
from attndsl.language import load_text
from attndsl.planning.plan import sample_fields
from attndsl.planning.simulate import simulate
from attndsl.simulation.report import Report
from attndsl.simulation.setting import make_setting
from attndsl_codegen import generate
from attndsl_codegen.names import function_name

BLOCK = 128
"""Tokens of a block of FlexAttention's mask, its default."""


def main() -> int:
    """Writes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("prepared"))
    parser.add_argument("--small", action="store_true", help="the small sizes alone, files not folded")
    parser.add_argument("--device", default="h100", help="what to predict for (default h100)")
    parser.add_argument("--kernels", action="store_true", help="predict from compiled kernels as well")
    parser.add_argument("--spec", nargs="*", help="only these, by name")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    known = {spec.name: spec for spec in SPECS}
    cases: list[dict[str, Any]] = []
    for name in options.spec or known:
        for size in ("small",) if options.small else ("small", "full"):
            cases += prepared(known[name], size, options)
            print(f"{name}, {size}: written", flush=True)
    document = {"device": options.device, "attndsl": attndsl.__version__, "cases": cases}
    (options.output / "index.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


def prepared(spec: Spec, which: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The files of one attention at one size; a case per width."""
    size = spec.full if which == "full" else spec.small
    program = program_of(spec, which, size)
    (value,) = program.attends
    stem = f"{''.join(c if c.isalnum() else '_' for c in spec.name)}_{which}"
    extents = extents_of(program, size)
    source = generate(program, folded=False) if options.small else attndsl.source(program)
    (options.output / f"{stem}.py").write_text(source)
    full = which == "full"
    widths = WIDTHS if full else SMALL_WIDTHS
    sizes = {**extents, "heads": size.heads, "kv heads": size.heads}
    known = make_setting(options.device, heads=size.heads, dim=widths[0]).sizes(program, extents)
    (options.output / f"{stem}_modifiers.py").write_text(
        modifiers(program, value.op, known, size.hand, spec.name)
    )
    labels = sample_fields(program, known, heads=size.heads)
    tensors = {name: torch.as_tensor(label) for name, label in labels.items()}
    maps = tile_maps(value.op, sizes, size, tensors)
    torch.save({"labels": tensors, "maps": maps}, options.output / f"{stem}.pt")
    shared = {
        "name": spec.name,
        "size": which,
        "stem": stem,
        "function": function_name(program.name),
        "shape": list(size.shape),
        "batch": size.batch,
        "heads": size.heads,
        "dtype": DTYPE if full else SMALL_DTYPE,
        "arguments": list(arguments(program, known)),
        "hand": None if size.hand is None else list(size.hand),
        "causal": spec.name == "causal",
    }
    return [
        {
            **shared,
            "width": width,
            "scale": scale_of(value.op, {**known, f"{value.op.q}.width": width}),
            "predicted": predictions(program, extents, size, width, options),
        }
        for width in widths
    ]


def program_of(spec: Spec, which: str, size: Size) -> Program:
    """The program; at the small size with extents left open."""
    text = find_spec(spec.example).read_text()
    if which == "small" and spec.free is not None:
        if spec.free[0] not in text:
            raise ValueError(f"{spec.example} no longer declares {spec.free[0]}")
        text = text.replace(*spec.free)
    return load_text(text, spec.example, None, dict(size.set))


def extents_of(program: Program, size: Size) -> dict[str, int]:
    """The values of the open symbols."""
    (value,) = program.attends
    names = [axis.extent for axis in value.op.query_tokens.axes]
    known = {str(getattr(name, "name", "")): extent for name, extent in zip(names, size.shape)}
    return {symbol: known[symbol] for symbol in program.symbols}


def arguments(program: Program, sizes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The arguments of the generated function in order: features, labels, learned tensors."""
    for value in (*program.inputs, *program.learned):
        kind = "learned" if value in program.learned else "label" if value.type.width is None else "feature"
        found: dict[str, Any] = {"name": value.name, "kind": kind}
        if kind == "learned":
            heads = [] if value.type.heads is None else [sizes["heads"]]
            found["shape"] = [*heads, *value.type.tokens.extents(sizes)]
        yield found


def scale_of(op: Attend, sizes: Mapping[str, int]) -> float:
    """The factor of the dot product."""
    return float(evaluate(op.scale, sizes, EXACT))


def tile_maps(
    op: Attend, sizes: Mapping[str, int], size: Size, labels: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Which blocks each form of FlexAttention's mask visits: (heads or 1, blocks, blocks), 2 where full.

    The maps come from our own bounds: `create_block_mask` would look at every pair.
    """
    shapes = {"raster": (BLOCK,), **({} if size.hand is None else {"hand-tiled": size.hand})}
    extents = op.query_tokens.extents(sizes), op.key_tokens.extents(sizes)
    values = {name: label.numpy() for name, label in labels.items() if name in fields(op.where)}
    heads = size.heads if "head" in variables(op.where) else 1
    found: dict[str, Any] = {}
    for name, tile in shapes.items():
        query, key = (make_layout(side, tile) for side in extents)
        classes = analyse(op, {**sizes, "heads": heads}, query, key, values).classes
        by_head = {head: one for one in classes for head in one.heads}
        tiles = [torch.as_tensor(by_head[head].schedule.tile_map()) for head in range(heads)]
        pairs = [by_head[head].counts.pairs for head in range(heads)]
        total = sum(pairs) * size.heads // heads
        found[name] = {"tiles": torch.stack(tiles), "tile": list(tile), "slots": prod(tile), "pairs": total}
    return found


def predictions(
    program: Program, extents: Mapping[str, int], size: Size, width: int, options: argparse.Namespace
) -> dict[str, Any]:
    """What the simulator says of every pass, by its model and from compiled kernels."""
    found: dict[str, Any] = {}
    for direction in ("fwd", "bwd"):
        setting = make_setting(
            options.device,
            *("attndsl",),
            batch=size.batch,
            heads=size.heads,
            kv_heads=size.heads,
            dim=width,
            direction=direction,
        )
        found[direction] = {"model": of_report(simulate(program, extents, setting))}
        if options.kernels:
            from attndsl.machine_code import compiled_attends
            from attndsl.planning.layouts import Forced

            try:
                forced = replace(Forced(), compiled=compiled_attends(program, extents, setting))
                found[direction]["kernels"] = of_report(simulate(program, extents, setting, forced))
            except AttnError as error:
                found[direction]["kernels"] = {"error": str(error)}
    return found


def of_report(report: Report) -> dict[str, Any]:
    """The part of a report that is compared with measurements."""
    full = report.to_dict()
    names = ("flop_bound", "tile_bound", "schedule_bound", "predicted_speedup")
    attend = full["attends"][0]
    return {
        "seconds": report.seconds,
        "dense_seconds": report.dense_seconds,
        "dense_flops": report.dense_flops,
        "flops": report.flops,
        **{name: full[name] for name in names},
        **{name: attend[name] for name in ("tile", "layout", "tiles", "pairs", "limited_by", "cycles")},
        "losses": full["losses"],
    }


if __name__ == "__main__":
    sys.exit(main())
