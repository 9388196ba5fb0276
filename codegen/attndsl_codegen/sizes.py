"""Prints what a program requires of its sizes, as a function that checks it at every call."""

from __future__ import annotations

from attndsl.ir.index import Expr
from attndsl.ir.program import Program
from attndsl.ir.requirement import Requirement
from attndsl.ir.walk import variables
from attndsl_codegen.printers.python import TorchPrinter, identifier


def check_sizes(program: Program) -> list[str]:
    """The function, or nothing where nothing is required."""
    if not program.requirements:
        return []
    lines = [line for requirement in program.requirements for line in _need(requirement)]
    names = sorted({name for requirement in program.requirements for name in _outside(requirement)})
    unpack = [f'    {identifier(name)} = at["{name}"]' for name in names]
    return [
        "def check_sizes(at: dict[str, Any]) -> None:",
        '    """What the spec requires of the sizes."""',
        *unpack,
        *lines,
    ]


def _need(requirement: Requirement) -> list[str]:
    coordinates = dict(requirement.coordinates)
    lines = []
    for at, (name, extent) in enumerate(coordinates.items()):
        plain = TorchPrinter(set()).show(extent)
        axes = ", ".join(["-1"] + ["1"] * (len(coordinates) - 1 - at))
        shape = "" if len(coordinates) == 1 else f".view({axes})"
        lines.append(f"    {identifier(name)} = torch.arange({plain}){shape}")
    text = TorchPrinter(set(coordinates)).show(requirement.condition)
    message = f"{requirement.subject}: requires {requirement.text}".replace("\\", "\\\\")
    message = message.replace('"', '\\"')
    return [*lines, f'    need({text}, "{message}")']


def _outside(requirement: Requirement) -> set[str]:
    extents: list[Expr] = [extent for _, extent in requirement.coordinates]
    return variables(requirement.condition, *extents) - {name for name, _ in requirement.coordinates}
