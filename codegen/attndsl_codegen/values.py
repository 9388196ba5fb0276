"""Prints the program itself: one line per value, calls of kernels and arithmetic between features."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from attndsl.ir.incremental import incremental, why_not_incremental
from attndsl.ir.index import Expr, Load
from attndsl.ir.ops import OFFSET, Attend, Hooks, Inline, Kernel, Lowered, LoweredArgument, Places, Read
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import TokenSet
from attndsl.ir.walk import postorder
from attndsl_codegen.hooks import HookPrinter, Tiles
from attndsl_codegen.names import TokenNames, class_name, safe, unused
from attndsl_codegen.places import PlacesPrinter
from attndsl_codegen.printers.body import signature
from attndsl_codegen.printers.python import TorchPrinter

RETURN_WIDTH = 88
"""Longer lists of results get a line each."""
UNNAMED = re.compile(r"attend(\d*)")
"""What attends are called that the spec binds to no name."""
KERNELS_WITH_TILES = ("tiled",)
"""Kernels that plan tiles; the others need no bounds of the mask."""


class ValuePrinter(TorchPrinter):
    """Prints arithmetic between whole features; sizes are read from `at`."""

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        """A whole feature is its variable."""
        return safe(field)

    def variable(self, name: str) -> str:
        """A size."""
        return f'at["{name}"]'


@dataclass
class ValueLines:
    """The lines of a program, and the hooks and functions that they call.

    Attributes:
        hooks, places: what was met on the way, by value.
    """

    program: Program
    tiles: Mapping[str, Tiles]
    sets: TokenNames
    hooks: dict[str, HookPrinter] = field(default_factory=dict)
    places: dict[str, PlacesPrinter] = field(default_factory=dict)

    def function(self) -> list[str]:
        """The function `results`."""
        program = self.program
        given = (*program.inputs, *program.learned)
        parameters = ["at: dict[str, Any]", "attend: Attend", *(f"{safe(v.name)}: Tensor" for v in given)]
        returns = "tuple[list[tuple[Tensor, Any]], dict[str, Tensor], dict[str, Tensor]]"
        body = [line for value in given for line in self._as_field(value)]
        for value in program.computed:
            body += [*self._value(value), *self._as_field(value)]
        checks = ["check_sizes(at)"] if program.requirements else []
        changes = ["at = {**at}"] if any(line.startswith("at[") for line in body) else []
        return [
            *signature("results", parameters, returns),
            '    """The program: per result its value and log-sum-exp, then losses and state by name.',
            "",
            "    Tensors are (batch, heads, tokens, width), with 1 for axes that a value lacks.",
            '    """',
            *(f"    {line}" for line in [*checks, *changes, *body, *self._returned()]),
        ]

    def _returned(self) -> Iterator[str]:
        types = {value.name: value.type for value in self.program.values}
        pairs = [
            f"({safe(name)}, {self._variable(name, '_lse') if types[name].partial else None})"
            for name in self.program.results
        ]
        losses = [f'"{name}": {safe(value)}.mean()' for name, value in self.program.losses.items()]
        state = [
            f'"{state}": {self._variable(value.name, suffix)}'
            for value in self.program.updates
            for state, suffix in zip(value.op.updates, _results(value))
        ]
        parts = [f"[{', '.join(pairs)}]", f"{{{', '.join(losses)}}}", f"{{{', '.join(state)}}}"]
        line = f"return {', '.join(parts)}"
        if len(line) <= RETURN_WIDTH:
            yield line
            return
        yield from (f"{name} = {part}" for name, part in zip(("found", "losses", "state"), parts))
        yield "return found, losses, state"

    @cached_property
    def _variables(self) -> dict[str, str]:
        """Python names of what a value has besides itself, and of its functions and classes; all differ."""
        taken = {safe(value.name) for value in self.program.values}
        found: dict[str, str] = {}
        for value in self.program.computed:
            lowered = value.op.lowered()
            suffixes = [s for s in lowered.results if s] if isinstance(lowered, Lowered) else []
            for name in (f"{value.name}{suffix}" for suffix in (*suffixes, "_places")):
                found[name] = unused(safe(name), taken)
            inner = UNNAMED.fullmatch(value.name)
            stem = class_name(f"inner{inner[1]}" if inner else value.name)
            found[f"{value.name} class"] = unused(f"{stem.rstrip('_')}Attend", taken)
        return found

    @cached_property
    def _decoded(self) -> frozenset[str]:
        """Values that a decoding step computes for its queries only."""
        return frozenset() if why_not_incremental(self.program) else incremental(self.program).queries

    def _variable(self, name: str, suffix: str) -> str:
        return self._variables[name + suffix] if suffix else safe(name)

    def _as_field(self, value: Value) -> Iterator[str]:
        """A value that expressions look up at coordinates is also a field."""
        if value.name in self._looked_up:
            extents = f"{self.sets.of(value.type.tokens)}.extents(at)"
            function = "as_field" if value.type.width is None else "as_vectors"
            yield f'at["{value.name}"] = {function}({safe(value.name)}, {extents})'

    @property
    def _looked_up(self) -> set[str]:
        expressions = [expr for value in self.program.values for expr in value.op.expressions.values()]
        return {node.field for node in postorder(expressions) if isinstance(node, Load) and node.coords}

    def _value(self, value: Value) -> list[str]:
        lowered = value.op.lowered()
        if isinstance(lowered, Inline):
            return [f"{safe(value.name)} = {ValuePrinter(set()).show(lowered.expr)}"]
        parts = [self._argument(value, argument) for argument in lowered.arguments]
        if value.name in self.hooks:
            parts[0] = self.hooks[value.name].runs
        shown = ", ".join(parts)
        targets = ("_" if r is None else self._variable(value.name, r) for r in lowered.results)
        return [f"{', '.join(targets)} = {lowered.function}({shown})"]

    def _argument(self, value: Value, argument: LoweredArgument) -> str:
        match argument:
            case Read(name, suffix):
                return self._variable(name, suffix)
            case Kernel(name):
                return name
            case Hooks(Attend() as op):
                has_tiles = any(
                    isinstance(a, Kernel) and a.name in KERNELS_WITH_TILES for a in _arguments(value)
                )
                tiles = self.tiles[value.name] if has_tiles else None
                own = self._variables[f"{value.name} class"]
                self.hooks[value.name] = HookPrinter(self.program, value.name, op, tiles, self.sets, own)
                return f"{self.hooks[value.name].class_name}, at"
            case Places():
                printer = PlacesPrinter(
                    self._variables[f"{value.name}_places"], argument, self.program.labels, self.sets
                )
                self.places[value.name] = printer
                return f"{printer.name}(at, {self._device(value)})"
            case TokenSet() if value.name in self._decoded:
                return f"({safe(value.op.tensors[0])}.shape[2],)"
            case TokenSet():
                return f"{self.sets.of(argument)}.extents(at)"
            case Expr() if argument is OFFSET:
                return 'at.get("offset", 0)' if value.name in self._decoded else "0"
            case Expr():
                return ValuePrinter(set()).show(argument)
            case tuple() as items:
                inner = ", ".join(self._argument(value, item) for item in items)
                return f"({inner}{',' if len(items) == 1 else ''})"
            case str():
                return f'"{argument}"'
            case _:
                return repr(argument)

    def _device(self, value: Value) -> str:
        """A tensor's device: an operand's, or that of some input."""
        name = value.op.tensors[0] if value.op.tensors else self.program.inputs[0].name
        return f"{safe(name)}.device"


def _arguments(value: Value) -> tuple[LoweredArgument, ...]:
    lowered = value.op.lowered()
    return lowered.arguments if isinstance(lowered, Lowered) else ()


def _results(value: Value) -> tuple[str, ...]:
    lowered = value.op.lowered()
    assert isinstance(lowered, Lowered)
    return tuple(suffix for suffix in lowered.results if suffix is not None)
