"""Writes a program as one self-contained Python file."""

from __future__ import annotations

from attndsl import __version__
from attndsl.files import sealed
from attndsl.ir.program import Program
from attndsl.planning.outlook import outlook
from attndsl.planning.plan import plan_program
from attndsl_codegen.emit import Emitter
from attndsl_codegen.hooks import Tiles

__all__ = ["generate"]


def generate(program: Program) -> str:
    """The generated file. The same program gives the same bytes.

    Raises:
        AttnError: the program chooses pairs, or no sizes satisfy its's requirements.
    """
    plan = plan_program(program)
    found = outlook(program, [name for name, choice in plan.tiles.items() if not choice.query_steps])
    tiles = {
        name: Tiles(choice.query, choice.key, choice.query_steps, choice.key_steps, found.tiles.get(name))
        for name, choice in plan.tiles.items()
    }
    emitter = Emitter(program, tiles, plan.example, plan.sampled, __version__, found.summary)
    return sealed(emitter.source())
