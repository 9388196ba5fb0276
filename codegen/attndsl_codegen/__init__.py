"""Writes a program as one self-contained Python file."""

from __future__ import annotations

from attndsl import __version__
from attndsl.files import sealed
from attndsl.ir.program import Program
from attndsl.planning.outlook import outlook
from attndsl.planning.plan import plan_program
from attndsl_codegen.emit import Emitter
from attndsl_codegen.hooks import Tiles

__all__ = ["generate", "generate_for_compiler"]


def generate(program: Program, folded: bool = True) -> str:
    """The generated file. The same program gives the same bytes.

    Args:
        folded: whether what the program does not need is left out of the kernels; they are linked whole
            otherwise, which the tests compare with.

    Raises:
        AttnError: the program chooses pairs, or no sizes satisfy its's requirements.
    """
    return sealed(_emitter(program, folded).source())


def generate_for_compiler(program: Program) -> tuple[str, dict[str, str]]:
    """The generated file, not folded (kernels compile to the same), and the class of hooks of every attend
    that Triton kernels run.
    """
    emitter = _emitter(program, folded=False)
    return emitter.source(), emitter.on_gpu


def _emitter(program: Program, folded: bool) -> Emitter:
    plan = plan_program(program)
    found = outlook(program, [name for name, choice in plan.tiles.items() if not choice.query_steps])
    tiles = {
        name: Tiles(
            choice.query,
            choice.key,
            choice.query_steps,
            choice.key_steps,
            choice.backward_query,
            choice.origin,
            found.tiles.get(name),
        )
        for name, choice in plan.tiles.items()
    }
    return Emitter(program, tiles, plan.example, plan.sampled, __version__, found.summary, folded)
