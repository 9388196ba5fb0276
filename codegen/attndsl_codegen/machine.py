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

KERNELS = {
    "forward": "softmax_forward_kernel",
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
"""How many sizes a kernel takes, if not six."""
TENSOR_CORES = re.compile(r"\b(HGMMA|HMMA|UTCHMMA|UTCMMA\w*)\b")
EXPONENTIALS = re.compile(r"\bMUFU\.EX2\b")
SPILLS = re.compile(r"\b(LDL|STL)\b")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+(.*?);", re.MULTILINE)
BRANCH = re.compile(r"\bBRA(?:\.\w+)*\s.*?(?:0x([0-9a-f]+)|`\(\.(L_x_\d+)\))")
SHARED_LIMITS = {80: 166912, 90: 232448, 100: 232448}
"""Bytes of shared memory that one block may have (CUDA programming guide, table of compute capabilities)."""


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

    @property
    def clean(self) -> bool:
        """Whether the kernel passes both gates, and fits shared memory."""
        return not (self.spills or self.serialized) and self.shared_bytes <= SHARED_LIMITS[self.architecture]


def compile_kernel(
    module: ModuleType,
    hooks: Any,
    kernel: str,
    constants: Mapping[str, Any],
    architecture: int,
    dtype: str = "bf16",
    axes: int = 1,
    field_axes: int = 1,
) -> KernelFacts:
    """Compiles one kernel of an imported generated file.

    Args:
        module: the file, imported where Triton does not interpret.
        hooks: the `gpu` setting of the attend; its fields are real. None where kernels need none.
        constants: as `Call.constants` gives them.
        architecture: compute capability, e.g. 90.
        axes: of queries and keys.
        field_axes: of every field that the hooks look up.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(module, KERNELS[kernel])
    options = {name: constants[name] for name in ("num_warps", "num_stages")}
    known_names = set(function.arg_names)  # a file leaves out the arguments that its mechanism does not need
    fixed = {name: value for name, value in constants.items() if name in known_names}
    known = {
        "strides": (("i32",) * 3,) * len(TENSORS[kernel]),
        "rows": "*i32",
        "runs": "*i32",
        "pairs": "*i32",
        "sent": "*fp32",
        "sizes": ("i32",) * SIZES.get(kernel, 6),
        "extents": (("i32",) * axes, ("i32",) * (2 if kernel.startswith("pair") else axes)),
        "env": hooks
        and (
            *("i32",) * len(hooks.sizes),
            *((("*fp32", *("i32",) * (2 + field_axes)),) * len(hooks.fields)),
        ),
        "scale": "fp32",
        "lse": "*fp32",
        "delta": "*fp32",
        "sums": "*fp32",
        "out": "*fp32" if kernel == "causal sums" else f"*{dtype}",
        "terms": "*fp32",
    }
    signature: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], list[list[Any]]] = {}
    for at, name in enumerate(function.arg_names):
        signature[name] = "constexpr" if name in fixed else known.get(name, f"*{dtype}")
        if isinstance(signature[name], str) and signature[name].startswith("*"):
            aligned[(at,)] = [["tt.divisibility", 16]]
        if name == "strides":
            paths = ((at, tensor, axis) for tensor in range(len(TENSORS[kernel])) for axis in range(3))
            aligned |= {path: [["tt.divisibility", 16]] for path in paths}
    source = ASTSource(function, signature, fixed, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    return facts(kernel, architecture, compiled.asm["cubin"], compiled.asm["ptx"], compiled.metadata.shared)


def facts(kernel: str, architecture: int, cubin: bytes, ptx: str, shared_bytes: int) -> KernelFacts:
    """Reads the machine code with the tools that come with Triton."""
    with tempfile.TemporaryDirectory() as folder:
        binary, text = Path(folder, "kernel.cubin"), Path(folder, "kernel.ptx")
        binary.write_bytes(cubin)
        text.write_text(ptx)
        usage = _tool("cuobjdump", "--dump-resource-usage", str(binary))
        listing = _tool("cuobjdump", "-sass", str(binary))
        target = f"--gpu-name=sm_{architecture}{'a' if architecture >= 90 else ''}"
        warnings = _tool("ptxas", "-v", target, str(text), "-o", str(Path(folder, "out")))
    registers = re.search(r"REG:(\d+)", usage)
    assert registers is not None, usage
    return KernelFacts(
        kernel,
        architecture,
        registers=int(registers[1]),
        shared_bytes=shared_bytes,
        serialized="C7511" in warnings or "serialized" in warnings,
        **counts(listing),
    )


def counts(listing: str) -> dict[str, Any]:
    """Instructions of a listing by kind."""
    lines = [found[1] for found in INSTRUCTION.findall(listing)]
    tensor = [match[1] for line in lines if (match := TENSOR_CORES.search(line))]
    return {
        "spills": sum(SPILLS.search(line) is not None for line in lines),
        "tensor_instructions": len(tensor),
        "exponential_instructions": sum(EXPONENTIALS.search(line) is not None for line in lines),
        "instructions": len(lines),
        "tensor_names": tuple(sorted(set(tensor))),
    }


def _tool(name: str, *arguments: str) -> str:
    """What a tool of CUDA says, on both of its outputs."""
    import triton

    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    program = folder / (name if "100" not in "".join(arguments) else _newest(folder, name))
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _newest(folder: Path, name: str) -> str:
    """Triton brings a second ptxas for Blackwell."""
    return f"{name}-blackwell" if (folder / f"{name}-blackwell").exists() else name
