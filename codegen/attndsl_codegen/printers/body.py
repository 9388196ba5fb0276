"""Prints function bodies: shared subexpressions become named lines, under the spec's own names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from attndsl.ir.index import Apply, Const, Expr, Load, Var
from attndsl.ir.walk import children, postorder, variables
from attndsl_codegen.printers.python import identifier

SMALL = 4
"""Shared subexpressions of fewer nodes are repeated rather than named."""
SIGNATURE_WIDTH = 110
WIDTH = 88
"""Longer lines are broken at `&` and `|`."""


class LinePrinter(Protocol):
    """What a body needs of a printer."""

    names: dict[Expr, str]

    def show(self, expr: Expr) -> str:
        """An expression on one line."""
        ...

    def operand(self, expr: Expr) -> str:
        """An expression as an operand of `&` or `|`."""
        ...


@dataclass
class Body:
    """Lines of a function and the expressions it returns.

    Args:
        printer: prints the lines; learns the names bound here.
        labels: the spec's names for subexpressions.
        reserved: names that are taken, e.g. parameters.
        result_names: names for the results, where there are several.
        several_axes: whether names should say which axis they are about.
    """

    printer: LinePrinter
    labels: Mapping[Expr, str]
    reserved: set[str]
    result_names: tuple[str, ...] = ("result",)
    several_axes: bool = True
    lines: list[str] = field(default_factory=list)

    def print(self, results: Sequence[Expr]) -> None:
        """Adds lines that bind what is shared or named, and return the results."""
        nodes = list(postorder(results))
        uses = Counter(child for node in nodes for child in children(node))
        uses.update(results)
        sizes: dict[Expr, int] = {}
        for node in nodes:
            sizes[node] = 1 + sum(sizes[child] for child in children(node))
            if node in results and uses[node] == 1:
                continue
            named = node in self.labels and isinstance(node, Apply | Load)
            worthwhile = isinstance(node, Load) or (isinstance(node, Apply) and sizes[node] >= SMALL)
            shared = uses[node] > 1 and worthwhile
            if named or shared:
                self._bind(node)
        if len(results) == 1:
            self.lines += self._laid_out("return ", results[0])
            return
        names = [self._fresh(name) for name in self.result_names]
        for name, result in zip(names, results):
            self.lines += self._laid_out(f"{name} = ", result)
        self.lines.append(f"return {', '.join(names)}")

    def _laid_out(self, prefix: str, expr: Expr) -> list[str]:
        """One line, or one line per operand where it would be too long."""
        line = prefix + self.printer.show(expr)
        if len(line) <= WIDTH or not self._breaks(expr):
            return [line]
        return [f"{prefix}(", *_indented(self._operands(expr)), ")"]

    def _breaks(self, expr: Expr) -> bool:
        return isinstance(expr, Apply) and expr.function in ("and", "or") and expr not in self.printer.names

    def _operands(self, expr: Expr) -> list[str]:
        """The operands of `and` or `or`, a line each, led by their operator; long ones are broken again."""
        assert isinstance(expr, Apply)
        lines: list[str] = []
        for at, operand in enumerate(expr.args):
            lead = f"{'&' if expr.function == 'and' else '|'} " if at else ""
            text = lead + self.printer.operand(operand)
            if len(text) > WIDTH and self._breaks(operand):
                lines += [f"{lead}(", *_indented(self._operands(operand)), ")"]
            else:
                lines.append(text)
        return lines

    def _bind(self, node: Expr) -> None:
        name = self.labels.get(node) or _descriptive(node)
        name = self._fresh(_with_axis(name, node) if self.several_axes else name)
        self.lines += self._laid_out(f"{name} = ", node)
        self.printer.names[node] = name

    def _fresh(self, name: str) -> str:
        base, count = identifier(name), 1
        name = base
        while name in self.reserved:
            count += 1
            name = f"{base}{count}"
        self.reserved.add(name)
        return name


def _with_axis(name: str, node: Expr) -> str:
    """`first` on axis h is `first_h`, where there are several axes."""
    parts = [variable.split(".") for variable in variables(node)]
    axes = {part[1] for part in parts if len(part) > 1 and part[1] not in ("lo", "hi")}
    if len(axes) != 1 or name.endswith(f"_{next(iter(axes))}"):
        return name
    stem, _, end = name.rpartition("_")
    axis = next(iter(axes))
    return f"{stem}_{axis}_{end}" if end in ("lo", "hi") and stem else f"{name}_{axis}"


def _descriptive(node: Expr) -> str:
    """A name for a shared subexpression that the spec did not name, after what computes it."""
    match node:
        case Load(field, (coordinate, *_)):
            return f"{_subject(coordinate).split('_')[0]}_{field.replace('.', '_')}"
        case Apply("//", (a, Const())):
            return f"{_subject(a)}_block"
        case Apply("%", (a, Const())):
            return f"{_subject(a)}_phase"
        case Apply("+", _):
            return "offset"
        case Apply("min" | "max", _):
            return "limit"
        case Apply("abs", _):
            return "distance"
        case Apply("<" | "<=" | "==" | "and" | "or" | "not", _):
            return "test"
        case _:
            return "part"


def _subject(expr: Expr) -> str:
    match expr:
        case Var(name):
            return name.replace(".", "_")
        case _:
            return "value"


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def signature(name: str, parameters: Sequence[str], returns: str) -> list[str]:
    """The first line of a function, or one line per group of parameters where it would be too long."""
    line = f"def {name}({', '.join(parameters)}) -> {returns}:"
    if len(line) <= SIGNATURE_WIDTH:
        return [line]
    joined = f"    {', '.join(parameters)}"
    middle = [joined] if len(joined) <= SIGNATURE_WIDTH else [f"    {parameter}," for parameter in parameters]
    return [f"def {name}(", *middle, f") -> {returns}:"]
