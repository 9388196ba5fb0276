"""Compiles the kernels of a program for a device, without a GPU, and reads what they cost.

Numbers of the simulator's model give way to those of the machine code; what does not fit is an error here,
not at the first call on a GPU. Needs torch and Triton, which nothing else of `attndsl simulate` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attndsl.diagnostics import fail
from attndsl.generated import import_source
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program, Value
from attndsl.planning.layouts import Forced, read_tile
from attndsl.simulation.compiled import CompiledAttend, CompiledKernel
from attndsl.simulation.operators import widths_of
from attndsl.simulation.problems import BadOption, KernelTooLarge, NoMachineCode
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiles import Widths, occupancy

if TYPE_CHECKING:
    from attndsl_codegen.compiled import Case, Compiled

NO_TRITON = "install it: pip install 'attndsl[torch,triton]' (Linux only; no GPU is needed)"
NVIDIA = (
    "choose an NVIDIA device (a100, b200, h100, h200, l40s, rtx4090), or give its file a compute_capability"
)
LOOKED_UP = "fields"
"""The pass of the kernels for gradients of looked-up fields, which the simulator does not count."""
PER_BLOCK = "bytes of shared memory"


def compiled_attends(
    program: Program, extents: Mapping[str, int], setting: Setting, forced: Forced | None = None
) -> dict[str, CompiledAttend]:
    """The compiled kernels of every attend that has Triton kernels, of the passes of the setting.

    Args:
        extents: of all symbols; kernels depend on widths alone.
        forced: tile shapes in place of those that the generated file takes.

    Raises:
        AttnError: there is nothing to compile or to compile with, or a kernel does not fit the device.
    """
    _check(setting)
    module, classes = _imported(program)
    if not classes:
        reason = f"no attend of `{program.name}` has Triton kernels whose machine code is read"
        raise fail(NoMachineCode(reason, "leave out --from-kernel"))
    sizes = setting.sizes(program, extents)
    attends = (value for value in program.attends if value.name in classes)
    return {
        value.name: _Reader(program, value, module, getattr(module, classes[value.name]), setting).attend(
            sizes, forced or Forced()
        )
        for value in attends
    }


def _check(setting: Setting) -> None:
    """Refuses what no kernels are compiled for."""
    device = setting.device
    if device.host is not None:
        raise fail(NoMachineCode(f"{device.name} is a CPU, which Triton kernels do not run on", NVIDIA))
    if device.compute_capability is None:
        raise fail(NoMachineCode(f"{device.name} is no NVIDIA device, as far as its file says", NVIDIA))
    if setting.kernel.name != "attndsl":
        reason = f"kernels of `{setting.kernel.name}` are not generated here"
        raise fail(NoMachineCode(reason, "leave out --kernel"))
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            raise fail(NoMachineCode(f"{package} is not installed", NO_TRITON))
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise fail(NoMachineCode("TRITON_INTERPRET=1 keeps Triton from compiling", "unset it"))


def _imported(program: Program) -> tuple[ModuleType, dict[str, str]]:
    from attndsl_codegen import generate_for_compiler

    text, classes = generate_for_compiler(program)
    return import_source(text, program.name), classes


@dataclass(frozen=True)
class _Reader:
    """Compiles and reads the kernels of one attend."""

    program: Program
    value: Value[Attend]
    module: ModuleType
    mechanism: Any
    setting: Setting

    def attend(self, sizes: Mapping[str, int], forced: Forced) -> CompiledAttend:
        """The kernels of the passes that are asked for; the forward kernel's tiles are the attend's."""
        from attndsl_codegen.compiled import PASSES, Case, constants_of, residues

        widest, widths = self.module.WIDEST, widths_of(self.value.op, sizes)
        if max(widths) > widest:
            reason = f"a width of {max(widths)} is left to torch; Triton kernels go up to {widest}"
            raise fail(NoMachineCode(reason, "give a smaller --dim, or leave out --from-kernel"))
        architecture = self.setting.device.compute_capability
        assert architecture is not None
        fields = {value.name: (value.type.kind, len(value.type.tokens.axes)) for value in self.program.values}
        paired = self.value.op.kernel == "paired"
        asked = (None, None) if paired else self._asked(sizes, forced)
        case = Case(widths, self.setting.dtype, architecture, fields, asked, paired=paired)
        tiles = constants_of(self.module, self.mechanism, "forward", case)
        if any(case.tiles):  # compilers take minutes over tiles that are far too large
            sides = prod(tiles["QUERY_TILE"]), prod(tiles["KEY_TILE"])
            occupancy(self.setting.device, self.setting.kernel, *sides, Widths(*widths), case.dtype)
        ways = {way: list(PASSES[way]) for way in self.setting.passes}
        if "bwd" in ways:
            ways[LOOKED_UP] = [ways["bwd"].pop()]
        passes = {way: tuple(self._kernels(names, case)) for way, names in ways.items()}
        return CompiledAttend(
            tiles["QUERY_TILE"],
            tiles["KEY_TILE"],
            *residues(self.mechanism),
            {way: kernels for way, kernels in passes.items() if kernels},
        )

    def _asked(
        self, sizes: Mapping[str, int], forced: Forced
    ) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        op = self.value.op
        sides = (forced.query, "--tile-q", op.query_tokens), (forced.key, "--tile-k", op.key_tokens)
        return tuple(_asked_tile(text, name, tokens, sizes) for text, name, tokens in sides)  # type: ignore[return-value]

    def _kernels(self, names: Iterable[str], case: Case) -> Iterable[CompiledKernel]:
        from attndsl_codegen.compiled import compile_attend

        for name in names:
            try:
                found = compile_attend(self.module, self.mechanism, name, case)
            except Exception as error:  # what Triton raises is not documented
                words = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
                reason = f"Triton cannot compile the {name} kernel of `{self.value.name}`: {words}"
                raise fail(NoMachineCode(reason, "take other tiles, or leave out --from-kernel")) from error
            for compiled in found:
                yield self._read(compiled, case)

    def _read(self, compiled: Compiled, case: Case) -> CompiledKernel:
        from attndsl_codegen.architectures import residency

        facts, scores = compiled.facts, compiled.scores
        fits = residency(facts.architecture, facts.registers, compiled.warps, facts.shared_bytes)
        if fits.blocks == 0:
            raise fail(self._too_large(compiled, case, fits.limit))
        if not facts.loops:
            raise fail(NoMachineCode(f"the {facts.kernel} kernel has no loop over tiles", "please report it"))
        full, masked = (
            pick(facts.loops, key=lambda loop: loop.instructions) for pick in (min, max)
        )  # of full tiles and of partial ones: masks only add to it
        per_score = compiled.warps * 32 / scores
        flops = full.tensor_flops
        return CompiledKernel(
            name=facts.kernel,
            architecture=facts.architecture,
            source=facts.source,
            queries=prod(compiled.query),
            keys=prod(compiled.key),
            warps=compiled.warps,
            stages=compiled.stages,
            registers=facts.registers,
            spills=facts.spills,
            shared_bytes=facts.shared_bytes,
            serialized=facts.serialized,
            blocks=fits.blocks,
            limit=fits.limit,
            slots=full.instructions * per_score,
            mask=(masked.instructions - full.instructions) * per_score,
            special=full.special * per_score,
            flops=None if flops is None else flops * compiled.warps / scores,
        )

    def _too_large(self, compiled: Compiled, case: Case, limit: str) -> KernelTooLarge:
        from attndsl_codegen.architectures import REGISTERS

        facts = compiled.facts
        shared = (facts.shared_bytes, facts.shared_limit, PER_BLOCK)
        registers = (facts.registers * compiled.warps * 32, REGISTERS, "registers")
        needed, available, what = shared if limit == "shared memory" else registers
        sides = ("x".join(map(str, tile)) for tile in (compiled.query, compiled.key))
        tiles = "{} queries against {} keys".format(*sides) + f" in {compiled.stages} stages"
        remedy = (
            "take smaller tiles" if any(case.tiles) else "take smaller --tile-q or --tile-k, narrower heads, "
        )
        if not any(case.tiles):
            remedy += "16-bit numbers or fewer looked-up fields, or compile with backend='torch'"
        return KernelTooLarge(
            *(facts.kernel, self.value.name, self.setting.device.name, facts.architecture, tiles),
            *(max(case.widths), case.dtype, needed, available, what, remedy),
        )


def _asked_tile(
    text: str | None, option: str, tokens: Any, sizes: Mapping[str, int]
) -> tuple[int, ...] | None:
    """A tile that was asked for: kernels take boxes of a power of two of slots, 16 or more.

    Raises:
        AttnError: it is no such box.
    """
    extents = tokens.extents(sizes)
    tile = read_tile(text, option, tokens, extents)
    if tile is None:
        return None
    slots = prod(tile)
    if len(tile) == len(extents) and slots >= 16 and slots & (slots - 1) == 0:
        return tile
    example = "x".join(["1"] * (len(extents) - 1) + ["64"])
    reason = "Triton kernels take boxes with one side per axis and 16, 32, 64, ... slots"
    raise fail(BadOption(option, str(text), reason, f"write e.g. {option} {example}"))
