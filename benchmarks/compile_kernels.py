"""Compiles the Triton kernels ahead of time and writes what the machine code says: `kernels.toml`.

    python benchmarks/compile_kernels.py [--check] [--arch 80 90 100]

The mechanisms below, two widths, bfloat16; no GPU is needed. `--check` compares with the committed table
instead of writing it. Exit code 1 if a kernel spills registers, has serialised tensor-core instructions, has
none, does not fit shared memory, or (with `--check`) differs from the table.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tomllib
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import attndsl
from attndsl.api import import_source
from attndsl.language import load_text
from attndsl_codegen import generate
from attndsl_codegen.compiled import PASSES, Case, compile_attend
from attndsl_codegen.machine import KERNELS, KernelFacts, Operands, compile_kernel

TABLE = Path(__file__).resolve().parents[1] / "codegen" / "attndsl_codegen" / "kernels.toml"
SPECS = {
    "sliding": ("tokens x[n]", "where = causal and sliding(256)"),
    "softcap": ("tokens x[n]", "where = causal, score = 50 * tanh(s / 50)"),
    "window": ("tokens x[h, w]", "where = h: window(13) and w: window(13)"),
    "relative": (
        "tokens x[h, w]; learn t : [13, 13] scalar",
        "where = h: block(7) and w: block(7), bias = t[i.h - j.h + 6, i.w - j.w + 6]",
    ),
    "sigmoids": ("tokens x[n]", "where = causal and sliding(256), bias = -6, normalize = sigmoid"),
    "squares": ("tokens x[n]", "where = causal, score = s * s, normalize = linear"),
}
"""Declarations, and options of attend."""
LINEAR = {
    "linear": {"LATER": False, "SUMS": True, "TERMS": "", "DECAY": False},
    "linear, for queries": {"LATER": False, "SUMS": False, "TERMS": "rows", "DECAY": False},
    "linear, for keys": {"LATER": True, "SUMS": False, "TERMS": "columns", "DECAY": False},
    "linear, for values": {"LATER": True, "SUMS": False, "TERMS": "", "DECAY": False},
    "decay": {"LATER": False, "SUMS": False, "TERMS": "", "DECAY": True},
    "decay, for keys": {"LATER": True, "SUMS": False, "TERMS": "", "DECAY": True},
    "decay, divided": {"LATER": False, "SUMS": True, "TERMS": "", "DECAY": True},
    "decay, divided, for queries": {"LATER": False, "SUMS": False, "TERMS": "rows", "DECAY": True},
    "decay, divided, for keys": {"LATER": True, "SUMS": False, "TERMS": "columns", "DECAY": True},
}
"""The forward pass of causal sums, and their gradients."""
TENSOR_CORES = {80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}
HEADER = """# What ptxas makes of kernels/triton/configurations.py; bfloat16, triton 3.7.1.
# Written by benchmarks/compile_kernels.py; nothing here was run on a GPU.
"""


def main() -> int:
    """Compiles everything, then writes or compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--arch", type=int, nargs="*", default=list(TENSOR_CORES))
    parser.add_argument("--spec", nargs="*", default=[*SPECS, "linear", "pairs"])
    options = parser.parse_args()
    rows = [row for spec in options.spec for row in rows_of(spec, options.arch)]
    bad = [row for row in rows if not row["clean"]]
    if options.check:
        known = tomllib.loads(TABLE.read_text())["kernel"]
        bad += [row for row in rows if row not in known]
    else:
        TABLE.write_text(HEADER + "".join(as_toml(row) for row in rows))
    for row in bad:
        print(row)
    print(f"{len(rows)} kernels, {len(bad)} bad")
    return 1 if bad else 0


def rows_of(spec: str, architectures: list[int]) -> list[dict[str, Any]]:
    """A row per architecture, width and kernel of one spec."""
    if spec in OTHERS:
        return OTHERS[spec](architectures)
    declarations, options = SPECS[spec]
    text = f"attention {spec} {{ {declarations}; input q, k, v : x; return attend(q, k, v, {options}) }}"
    module = import_source(attndsl.source(load_text(text)), spec)
    return [
        row_of(spec, module, architecture, width, kernel)
        for architecture in architectures
        for width in (64, 128)
        for kernel in itertools.chain(*PASSES.values())
        if kernel != "lookup gradient" or module.OutAttend.gpu.lookups
    ]


def rows_of_sums(architectures: list[int]) -> list[dict[str, Any]]:
    """A row per architecture, width and pass of causal sums."""
    options = "where = causal, normalize = linear"
    text = f"attention linear {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, {options}) }}"
    module = import_source(generate(load_text(text), folded=False), "linear")
    found: list[dict[str, Any]] = []
    for architecture, width in itertools.product(architectures, (64, 128)):
        for name, constants in LINEAR.items():
            kernel = "decayed sums" if constants["DECAY"] and constants["TERMS"] else "causal sums"
            chosen = module.configuration(kernel, width, 2, architecture)
            sizes = {"WIDTH": width, "VALUE_WIDTH": width, "CHANNELS": width, "VALUE_CHANNELS": chosen.keys}
            how = {"num_warps": chosen.warps, "num_stages": chosen.stages, "PRECISION": "tf32x3"}
            fixed = {**constants, **sizes, **how, "CHUNK": chosen.queries, "BLOCKS": width // chosen.keys}
            facts = compile_kernel(module, None, "causal sums", fixed, architecture, Operands())
            found.append({"spec": name, "width": width, **chosen._asdict(), **facts_of(facts)})
    return found


def rows_of_pairs(architectures: list[int]) -> list[dict[str, Any]]:
    """A row per architecture, width and kernel of softmax over pairs, and of each of its factors."""
    module = import_source(generate(attndsl.load("windowed_tensor"), folded=False), "pairs")
    hooks = module.OutAttend.gpu
    found: list[dict[str, Any]] = []
    kernels = [(kernel, False) for kernel in KERNELS if kernel.startswith("pair")]
    for architecture, width in itertools.product(architectures, (64, 128)):
        for kernel, first in [*kernels, ("pair key gradient", True)]:
            chosen = module.configuration(kernel, width, 2, architecture)
            widths = ("WIDTH", "VALUE_WIDTH", "CHANNELS", "VALUE_CHANNELS")
            fixed = {
                **{"WHERE": hooks.where, "SHAPE": hooks.shape, "SLOPE": hooks.slope, "FIRST": first},
                **{"QUERY_TILE": (chosen.queries,), "QUERY_STEP": None, "QUERIES": chosen.queries},
                **{"ROWS": module.ROWS, "KEYS": chosen.keys, **dict.fromkeys(widths, width)},
                **{"PRECISION": "ieee", "num_warps": chosen.warps, "num_stages": chosen.stages},
            }
            facts = compile_kernel(module, hooks, kernel, fixed, architecture, Operands(key_axes=2))
            spec = "pairs, first factor" if first else "pairs"
            found.append({"spec": spec, "width": width, **chosen._asdict(), **facts_of(facts)})
    return found


OTHERS = {"linear": rows_of_sums, "pairs": rows_of_pairs}
"""Mechanisms that are no softmax over tokens."""


def row_of(spec: str, module: ModuleType, architecture: int, width: int, kernel: str) -> dict[str, Any]:
    """The configuration of one kernel, and what its machine code says."""
    mechanism, axes = module.OutAttend, len(module.TOKENS_X.axes)
    fields = dict.fromkeys(mechanism.gpu.fields, ("real", axes))
    case = Case((width, width), "bfloat16", architecture, fields)
    (found,) = compile_attend(module, mechanism, kernel, case)
    tiles = {"queries": prod(found.query), "keys": prod(found.key)}
    chosen = {**tiles, "warps": found.warps, "stages": found.stages}
    return {"spec": spec, "width": width, **chosen, **facts_of(found.facts)}


def facts_of(found: KernelFacts) -> dict[str, Any]:
    """The part of the facts that the table shows."""
    return {
        "kernel": found.kernel,
        "architecture": found.architecture,
        "registers": found.registers,
        "spills": found.spills,
        "shared_bytes": found.shared_bytes,
        "serialized": found.serialized,
        "tensor_cores": " ".join(found.tensor_names),
        "clean": found.clean and TENSOR_CORES[found.architecture] in found.tensor_names,
    }


def as_toml(row: dict[str, Any]) -> str:
    """One entry of the table."""
    shown = (f"{name} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for name, v in row.items())
    return "\n[[kernel]]\n" + "\n".join(line.replace("'", '"') for line in shown) + "\n"


if __name__ == "__main__":
    sys.exit(main())
