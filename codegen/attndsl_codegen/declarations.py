"""Prints what the tensors are: token sets, arguments, learned tensors, results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from attndsl.ir.incremental import incremental, why_not_incremental
from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import SINGLE, TokenSet
from attndsl.ir.types import HEADS, KV_HEADS, FeatureType
from attndsl_codegen.names import TokenNames
from attndsl_codegen.printers.python import TorchPrinter


class SizePrinter(TorchPrinter):
    """Prints sizes as they are found in `at`."""

    def variable(self, name: str) -> str:
        """A size."""
        return f'at["{name}"]'


def show_size(expr: Expr) -> str:
    """An expression of sizes."""
    return SizePrinter(set()).show(expr)


@dataclass(frozen=True)
class Declarations:
    """The constants of a generated file."""

    program: Program
    sets: TokenNames

    def lines(self) -> list[str]:
        """The constants; token sets first, so that the others can name them."""
        blocks = [
            ["ARGUMENTS = (", *(f"    {self._argument(value)}," for value in self.program.inputs), ")"],
            ["RESULTS = (", *(f"    {self._result(name)}," for name in self.program.results), ")"],
        ]
        if self.program.learned:
            learned = (f"    {self._learned(value)}," for value in self.program.learned)
            blocks.insert(1, ["LEARNED = (", *learned, ")"])
        after = [line for block in blocks for line in block]
        return [*(f"{name} = {self._tokens(tokens)}" for tokens, name in self.sets.used), *after]

    def _tokens(self, tokens: TokenSet) -> str:
        symbols = tuple(
            a.extent.name if isinstance(a.extent, Var) and a.extent.name in self.program.symbols else None
            for a in tokens.axes
        )
        extents = ", ".join(show_size(axis.extent) for axis in tokens.axes)
        comma = "," if len(tokens.axes) == 1 else ""
        parts = [f"{tokens.name!r}, {tokens.axis_words!r}, {symbols!r}".replace("'", '"')]
        return f"Tokens({', '.join([*parts, f'lambda at: ({extents}{comma})'])})"

    def _argument(self, value: Value) -> str:
        type_ = value.type
        heads = {HEADS: '"query"', KV_HEADS: '"kv"', None: "None"}[type_.heads]
        more = ", decodes=True" if value.name in self._decoded else ""
        match self._numbered.get(value.name):
            case Const(count):
                more += f", values={count}"
        return (
            f'Argument("{value.name}", {self.sets.of(type_.tokens)}, heads={heads}, '
            f'width={type_.width is not None}, kind="{type_.kind}"{more})'
        )

    @cached_property
    def _numbered(self) -> dict[str, Expr]:
        """The int inputs that number classes, and how many of these there are."""
        return {name: count for value in self.program.computed for name, count in value.op.numbered.items()}

    @cached_property
    def _decoded(self) -> frozenset[str]:
        """What a decoding step passes for its queries only."""
        return frozenset() if why_not_incremental(self.program) else incremental(self.program).queries

    def _learned(self, value: Value) -> str:
        op, type_ = value.op, value.type
        parts = [f'"{value.name}"', self.sets.of(type_.tokens), f"shape=lambda at: {self._shape(type_)}"]
        parts += [f"{name}=False" for name in ("heads", "width") if getattr(type_, name) is None]
        if op.init != "normal":
            parts.append(f'init="{op.init}"')
        if op.fan_in is not None:
            parts.append(f"fan_in=lambda at: {show_size(op.fan_in)}")
        if op.state:
            parts.append("state=True")
        return f"Learned({', '.join(parts)})"

    def _shape(self, type_: FeatureType) -> str:
        extents = [Const(a.largest) if a.bound is not None else a.extent for a in type_.tokens.axes]
        sizes = [
            *([] if type_.heads is None else [type_.heads]),
            *([] if type_.tokens == SINGLE else extents),
        ]
        shown = [show_size(size) for size in [*sizes, *([] if type_.width is None else [type_.width])]]
        return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"

    def _result(self, name: str) -> str:
        type_ = self.program.value(name).type
        parts = [self.sets.of(type_.tokens)]
        parts += [f"{part}=False" for part in ("heads", "width") if getattr(type_, part) is None]
        parts += ["single=True"] if type_.tokens == SINGLE else []
        return f"Result({', '.join(parts)})"
