"""Compiles the kernels of one attend of a generated file as its launches would, without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from types import ModuleType
from typing import Any

from attndsl_codegen.machine import KERNELS, KernelFacts, Operands, compile_kernel

DTYPES = {"bfloat16": ("bf16", 2), "float16": ("fp16", 2), "float32": ("fp32", 4)}
"""What Triton calls the types, and their bytes."""
ELEMENTS = {"real": "fp32", "int": "i64", "bool": "i1"}
"""Elements of looked-up fields by kind; labels are taken to have PyTorch's default type."""
PASSES = {"fwd": ("forward",), "bwd": ("query gradient", "key gradient", "lookup gradient")}


@dataclass(frozen=True)
class Case:
    """What kernels are compiled for.

    Attributes:
        widths: of scores and of values.
        dtype: `bfloat16`, `float16` or `float32`.
        architecture: compute capability, e.g. 90.
        fields: kind and number of axes of every value that the hooks may look up.
        tiles: sides of query tiles and key tiles that are asked for, in place of those of the file.
        paired: whether keys are pairs of tokens.
        ordered: of tokens that go by labels, whether these come in any order; else tokens are where they are.
    """

    widths: tuple[int, int]
    dtype: str
    architecture: int
    fields: dict[str, tuple[str, int]]
    tiles: tuple[tuple[int, ...] | None, tuple[int, ...] | None] = (None, None)
    ordered: bool = False
    paired: bool = False


@dataclass(frozen=True)
class Compiled:
    """One compiled kernel: how it was configured, and what its machine code says.

    Attributes:
        query, key: the sides of its tiles.
        scores: of one round of its inner loop; of pairs of tokens, those of one row of a tile.
    """

    query: tuple[int, ...]
    key: tuple[int, ...]
    scores: int
    warps: int
    stages: int
    facts: KernelFacts


def constants_of(module: ModuleType, mechanism: Any, kernel: str, case: Case) -> dict[str, Any]:
    """What a kernel is compiled for, as `Call.constants` of the file has it.

    The file may be folded: what it has left out is not needed.
    """
    hooks = mechanism.gpu
    given = {
        "kernel": f"pair {kernel}" if case.paired else kernel,
        "width": max(case.widths),
        "bytes_per_number": DTYPES[case.dtype][1],
        "architecture": case.architecture,
        "looks_up": bool(hooks.fields) or not (case.paired or is_softmax(module, mechanism)),
    }
    chosen = accepted(module.configuration, **given)
    steps = [getattr(mechanism, f"{side}_steps", ()) or None for side in ("query", "key")]
    boxes = (hooks.query_boxes, hooks.key_boxes) if steps == [None, None] else (None, None)  # of whole axes
    query, key = (
        asked or accepted(module.brick, slots=slots, axes=axes, boxes=sides)
        for asked, slots, axes, sides in zip(case.tiles, chosen[:2], axes_of(mechanism), boxes)
    )
    if case.paired:
        key = (module.ROWS, chosen.keys)
    width, value_width = case.widths
    return {
        "WHERE": hooks.where,
        "SHAPE": hooks.shape,
        "TIMES": hooks.times,
        "NORMALIZE": getattr(mechanism, "normalize", "softmax"),
        "QUERY_TILE": query,
        "KEY_TILE": key,
        "QUERY_STEP": steps[0],
        "KEY_STEP": steps[1],
        "QUERIES": _slots(query),
        "ROWS": key[0],
        "KEYS": key[-1] if case.paired else _slots(key),
        "WIDTH": width,
        "VALUE_WIDTH": value_width,
        "CHANNELS": module.padded(width),
        "VALUE_CHANNELS": module.padded(value_width),
        "PRECISION": "ieee",
        "SEEN": hooks.queries_seen if kernel == "key gradient" else hooks.keys_seen,
        "LAST_FIRST": hooks.last_first[kernel == "key gradient"],
        "ORDERED": None if getattr(mechanism, "same_labels", None) is None else case.ordered,
        "num_warps": chosen.warps,
        "num_stages": chosen.stages,
        **({} if kernel == "forward" else {"SLOPE": hooks.slope}),
    }


def accepted(function: Any, **arguments: Any) -> Any:
    """Calls a function of a file with those of the arguments that folding has left it."""
    known = signature(function).parameters
    return function(**{name: value for name, value in arguments.items() if name in known})


def compile_attend(module: ModuleType, mechanism: Any, kernel: str, case: Case) -> list[Compiled]:
    """Compiles a kernel of an attend; that of looked-up fields once for every look-up.

    Raises:
        Exception: whatever Triton raises at what it cannot compile.
    """
    hooks = mechanism.gpu
    if kernel == "lookup gradient" and not hooks.lookups:
        return []
    constants = constants_of(module, mechanism, kernel, case)
    own = f"pair {kernel}" if case.paired else kernel_of(module, mechanism, kernel)
    every = [constants]
    if own == "pair key gradient":
        every = [{**constants, "FIRST": first} for first in (True, False)]
    if kernel == "lookup gradient":
        every = [
            {
                **constants,
                **{"SLOPE": found.slope, "OF_FACTOR": found.of_factor},
                **{"BY_QUERY": found.by_query, "BY_KEY": found.by_key},
            }
            for found in hooks.lookups
        ]
    return [
        Compiled(
            c["QUERY_TILE"],
            c["KEY_TILE"],
            c["QUERIES"] * c["KEYS"],
            c["num_warps"],
            c["num_stages"],
            compile_kernel(module, hooks, own, c, case.architecture, operands_of(mechanism, case)),
        )
        for c in every
    ]


def kernel_of(module: ModuleType, mechanism: Any, kernel: str) -> str:
    """The kernel that does this of an attend over tokens."""
    return "weighted forward" if kernel == "forward" and not is_softmax(module, mechanism) else kernel


def is_softmax(module: ModuleType, mechanism: Any) -> bool:
    """Whether weights are a softmax; files bring the kernels they need, and say so only if they differ."""
    softmax, others = (hasattr(module, KERNELS[kernel]) for kernel in ("forward", "weighted forward"))
    return not others or (softmax and mechanism.normalize == "softmax")


def operands_of(mechanism: Any, case: Case) -> Operands:
    """The types that the kernels of an attend are compiled for."""
    query_axes, key_axes = axes_of(mechanism)
    fields = (case.fields[name] for name in mechanism.gpu.fields)
    return Operands(
        DTYPES[case.dtype][0],
        query_axes,
        key_axes,
        tuple((ELEMENTS[kind], axes) for kind, axes in fields),
        all(width % 16 == 0 for width in case.widths),
    )


def axes_of(mechanism: Any) -> tuple[int, int]:
    """How many axes the queries, and the keys, of an attend have."""
    return len(mechanism.query.axes), len(mechanism.key.axes)


def residues(mechanism: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Into how many residue classes each axis is split; folded files leave out where none is."""
    query, key = (len(tokens.axes) for tokens in (mechanism.query, mechanism.key))
    return (
        getattr(mechanism, "query_steps", ()) or (1,) * query,
        getattr(mechanism, "key_steps", ()) or (1,) * key,
    )


def _slots(tile: tuple[int, ...]) -> int:
    slots = 1
    for side in tile:
        slots *= side
    return slots
