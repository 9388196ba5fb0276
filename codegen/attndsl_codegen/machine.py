"""Compiles Triton kernels of a generated file ahead of time, without a GPU, and reads their machine code."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from attndsl_codegen.architectures import limits_of
from attndsl_codegen.listing import (
    EXPONENTIALS,
    SASS,
    SPILLS,
    TENSOR_CORES,
    Loop,
    inner_loops,
    read_ptx,
    read_sass,
)

KERNELS = {
    "forward": "softmax_forward_kernel",
    "weighted forward": "weighted_forward_kernel",
    "query gradient": "softmax_query_gradient_kernel",
    "key gradient": "softmax_key_gradient_kernel",
    "lookup gradient": "softmax_lookup_gradient_kernel",
    "causal sums": "running_products_kernel",
    "pair forward": "paired_forward_kernel",
    "pair query gradient": "paired_query_gradient_kernel",
    "pair key gradient": "paired_key_gradient_kernel",
}
TENSORS = {
    "forward": ("q", "k", "v", "out"),
    "weighted forward": ("q", "k", "v", "out"),
    "query gradient": ("q", "k", "v", "grad_out", "grad_q"),
    "key gradient": ("q", "k", "v", "grad_out", "grad_k", "grad_v"),
    "lookup gradient": ("q", "k", "v", "grad_out"),
    "causal sums": ("a", "b", "c", "out"),
    "pair forward": ("q", "k1", "k2", "v1", "v2", "out"),
    "pair query gradient": ("q", "k1", "k2", "v1", "v2", "grad_out", "grad_q"),
    "pair key gradient": ("q", "rows_k", "keys_k", "rows_v", "keys_v", "grad_out", "grad_k", "grad_v"),
}
"""The tensors of a kernel whose strides it takes, in order."""
SIZES = {"lookup gradient": 7, "causal sums": 5}
"""How many sizes a kernel takes, if not four."""
TABLES = 3
"""Tensors that `visits` begins with."""


@dataclass(frozen=True)
class KernelFacts:
    """What the machine code of one kernel says.

    Attributes:
        registers: per thread.
        spills: instructions that move registers to local memory or back.
        shared_bytes: shared memory of a block.
        serialized: whether ptxas gave warning C7511: tensor-core instructions wait for one another.
        tensor_instructions, exponential_instructions, instructions: how many there are, once each.
        tensor_names: what the tensor-core instructions are called, e.g. HGMMA.
        loops: the inner loops, of full tiles and then of partial ones.
        source: what was read: `SASS`, or `PTX` where Triton brings no disassembler.
    """

    kernel: str
    architecture: int
    registers: int
    spills: int
    shared_bytes: int
    serialized: bool
    tensor_instructions: int
    exponential_instructions: int
    instructions: int
    tensor_names: tuple[str, ...]
    loops: tuple[Loop, ...] = ()
    source: str = "SASS"

    @property
    def shared_limit(self) -> int:
        """Bytes of shared memory that a block may have."""
        return limits_of(self.architecture).shared_of_block

    @property
    def clean(self) -> bool:
        """Whether the kernel passes both gates, and fits shared memory."""
        return not (self.spills or self.serialized) and self.shared_bytes <= self.shared_limit


@dataclass(frozen=True)
class Operands:
    """The types that a kernel is compiled for.

    Attributes:
        dtype: of queries, keys and values as Triton spells it, e.g. `bf16`.
        query_axes, key_axes: of the token sets.
        fields: of every field that the hooks look up, the type of its elements and its axes.
        aligned: whether rows are multiples of 16 elements, as `row_steps` asks.
    """

    dtype: str = "bf16"
    query_axes: int = 1
    key_axes: int = 1
    fields: tuple[tuple[str, int], ...] = ()
    aligned: bool = True


def compile_kernel(
    module: ModuleType,
    hooks: Any,
    kernel: str,
    constants: Mapping[str, Any],
    architecture: int,
    operands: Operands,
) -> KernelFacts:
    """Compiles one kernel of an imported generated file.

    Args:
        module: the file, imported where Triton does not interpret.
        hooks: the `gpu` setting of the attend. None where kernels need none.
        constants: as `Call.constants` gives them.
        architecture: compute capability, e.g. 90.

    Raises:
        Exception: whatever Triton raises at what it cannot compile.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(module, KERNELS[kernel])
    options = {name: constants[name] for name in ("num_warps", "num_stages")}
    known_names = set(function.arg_names)  # a file leaves out the arguments that its mechanism does not need
    fixed: dict[Any, Any] = {name: value for name, value in constants.items() if name in known_names}
    absent = {"orders": constants.get("ORDERED") is None, "visits": constants.get("SEEN") is not None}
    fixed |= {name: None for name, is_absent in absent.items() if is_absent and name in known_names}
    known = _types(hooks, kernel, operands)
    signature: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], list[list[Any]]] = {}
    for at, name in enumerate(function.arg_names):
        signature[name] = "constexpr" if name in fixed else known.get(name, f"*{operands.dtype}")
        if isinstance(signature[name], str) and signature[name].startswith("*"):
            aligned[(at,)] = [["tt.divisibility", 16]]
        if name == "visits" and name not in fixed:
            aligned |= {(at, table): [["tt.divisibility", 16]] for table in range(TABLES)}
        if name == "strides" and operands.aligned:
            paths = ((at, tensor, axis) for tensor in range(len(TENSORS[kernel])) for axis in range(3))
            aligned |= {path: [["tt.divisibility", 16]] for path in paths}
        elif name == "strides":
            fixed |= {(at, tensor, 3): None for tensor in range(len(TENSORS[kernel]))}
    source = ASTSource(function, signature, fixed, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    return facts(kernel, architecture, compiled.asm["cubin"], compiled.asm["ptx"], compiled.metadata.shared)


def _types(hooks: Any, kernel: str, operands: Operands) -> dict[str, Any]:
    """The types of arguments that are not tensors of `dtype`."""
    steps = ("i32",) * 3 if operands.aligned else ("i32", "i32", "i32", "constexpr")
    fields = ((f"*{element}", *("i32",) * (2 + axes)) for element, axes in operands.fields)
    return {
        "strides": (steps,) * len(TENSORS[kernel]),
        "visits": (*("*i32",) * TABLES, "i32", "i32"),
        "pairs": "*i32",
        "sent": "*fp32",
        "sizes": ("i32",) * SIZES.get(kernel, 4),
        "extents": (("i32",) * operands.query_axes, ("i32",) * operands.key_axes),
        "env": hooks and (*("i32",) * len(hooks.sizes), *fields),
        "scale": "fp32",
        "orders": ("*i32", "*i32", "*i32", ("i32", "i32")),
        "lse": "*fp32",
        "divisors": "*fp32",
        "delta": "*fp32",
        "sums": "*fp32",
        "terms": "*fp32",
        "since": "*fp32",
        "change": "*fp32",
        **({"out": "*fp32"} if kernel == "causal sums" else {}),
    }


def facts(kernel: str, architecture: int, cubin: bytes, ptx: str, shared_bytes: int) -> KernelFacts:
    """Reads the machine code with the tools that come with Triton; PTX where the disassembler is missing."""
    with tempfile.TemporaryDirectory() as folder:
        binary, text = Path(folder, "kernel.cubin"), Path(folder, "kernel.ptx")
        binary.write_bytes(cubin)
        text.write_text(ptx)
        target = f"--gpu-name=sm_{architecture}{'a' if architecture >= 90 else ''}"
        said = _tool(_assembler(architecture), "-v", target, str(text), "-o", str(Path(folder, "out"))) or ""
        usage = _tool("cuobjdump", "--dump-resource-usage", str(binary)) or ""
        listing = _tool("cuobjdump", "-sass", str(binary)) or ""
    registers = re.search(r"REG:(\d+)", usage) or re.search(r"Used (\d+) registers", said)
    if registers is None:
        raise RuntimeError(f"ptxas did not say how many registers it used: {said}")
    sass = SASS.search(listing) is not None
    return KernelFacts(
        kernel,
        architecture,
        registers=int(registers[1]),
        shared_bytes=shared_bytes,
        serialized="C7511" in said or "serialized" in said,
        loops=tuple(inner_loops(read_sass(listing) if sass else read_ptx(ptx))),
        source="SASS" if sass else "PTX",
        **(counts(listing) if sass else _counts_of_ptx(ptx, said)),
    )


def counts(listing: str) -> dict[str, Any]:
    """Instructions of a listing of SASS by kind."""
    return _by_kind([text for _, text in SASS.findall(listing)])


def _counts_of_ptx(ptx: str, said: str) -> dict[str, Any]:
    """The same of PTX; registers are spilled later, when ptxas runs."""
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    spills = sum(map(int, spilled.groups())) // 4 if spilled else 0
    return {**_by_kind([i.text for i in read_ptx(ptx)]), "spills": spills}


def _by_kind(lines: list[str]) -> dict[str, Any]:
    tensor = [match[1] or match[2] for line in lines if (match := TENSOR_CORES.search(line))]
    return {
        "spills": sum(SPILLS.search(line) is not None for line in lines),
        "tensor_instructions": len(tensor),
        "exponential_instructions": sum(EXPONENTIALS.search(line) is not None for line in lines),
        "instructions": len(lines),
        "tensor_names": tuple(sorted(set(tensor))),
    }


def _tool(name: str, *arguments: str) -> str | None:
    """What a tool of CUDA says, on both of its outputs; None where Triton does not bring it."""
    program = _tools() / name
    if not program.exists():
        return None
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _tools() -> Path:
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def _assembler(architecture: int) -> str:
    """Triton brings a second ptxas for Blackwell."""
    newest = "ptxas-blackwell"
    return newest if architecture >= 100 and (_tools() / newest).exists() else "ptxas"
