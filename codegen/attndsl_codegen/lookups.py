"""Prints where bias, score and factor look up real fields, for the gradients of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attndsl.ir.index import Expr, Load
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import fields, postorder, variables
from attndsl_codegen.names import spelled, unused
from attndsl_codegen.printers.body import Body, signature
from attndsl_codegen.printers.python import TorchPrinter, identifier


@dataclass(frozen=True)
class LookupPrinter:
    """One look-up of a real field.

    Attributes:
        name: distinguishes the names of its functions.
        of_factor: whether the factor of weights looks it up, and not the score.
    """

    op: Attend
    load: Load
    name: str
    of_factor: bool = False

    @property
    def where(self) -> str:
        """What looks it up."""
        return "factor" if self.of_factor else "score"

    @property
    def entry_role(self) -> str:
        """The role of the function that says where it looks."""
        return f"entry_of_{self.name}"

    @property
    def slope_role(self) -> str:
        """The role of the function that says how the score, or the factor, changes with it."""
        return f"slope_by_{self.name}"

    def setting(self, entry: str, slope: str | None) -> str:
        """How the attend's class describes it, given the names of its functions."""
        used, reads = variables(*self.load.coords), tuple(sorted(fields(*self.load.coords)))
        sides = (QUERY, self.op.query_tokens), (KEY, self.op.key_tokens)
        by_query, by_key = (bool(used & set(spelled(role, tokens))) for role, tokens in sides)
        parts = [f'"{self.load.field}"', entry, str(slope), f"by_query={by_query}", f"by_key={by_key}"]
        parts.append(f"varies={bool(reads) or 'head' in used}")
        if reads:
            parts.append(f"reads={reads!r}".replace("'", '"'))
        if self.of_factor:
            parts.append("of_factor=True")
        return f"Lookup({', '.join(parts)})"

    def entry(self, function: str, labels: Mapping[Expr, str]) -> list[str]:
        """The function that says where it looks."""
        coords = self.load.coords
        own = spelled(QUERY, self.op.query_tokens) | spelled(KEY, self.op.key_tokens)
        taken = {*own.values(), "at"}
        outside = sorted(variables(*coords) - set(own)) + sorted(fields(*coords))
        read = {name: unused(identifier(name), taken) for name in outside}
        printer = CoordinatePrinter({*own, "head"}, variables=read | own)
        printer.shown = self.load
        several = max(len(self.op.query_tokens.axes), len(self.op.key_tokens.axes)) > 1
        body = Body(printer, labels, taken, several_axes=several)
        body.print([self.load])
        parameters = [*(f"{name}: Tensor" for name in own.values()), "at: dict[str, Any]"]
        lines = [f'{local} = at["{name}"]' for name, local in read.items()]
        return [
            *signature(function, parameters, "tuple[Any, ...]"),
            f'    """Where in `{self.load.field}` the {self.where} looks."""',
            *(f"    {line}" for line in [*lines, *body.lines]),
        ]


class CoordinatePrinter(TorchPrinter):
    """Prints one look-up as the tuple of its coordinates; what these look up themselves as ever."""

    shown: Load

    def load(self, field: str, coords: tuple[Expr, ...]) -> str:
        """The coordinates of the look-up that is shown, else a look-up."""
        if (field, coords) == (self.shown.field, self.shown.coords):
            return f"({self.comma(coords)}{',' if len(coords) == 1 else ''})"
        return super().load(field, coords)


def lookups_of(op: Attend) -> tuple[LookupPrinter, ...]:
    """Where bias and score, and then the factor, look up real fields."""
    found: list[LookupPrinter] = []
    for of_factor, exprs in ((False, (op.score, op.bias)), (True, (op.times,))):
        for node in postorder([expr for expr in exprs if expr is not None]):
            if isinstance(node, Load) and node.kind == "real":
                before = sum(node.field == other.load.field for other in found)
                name = identifier(node.field)
                name = f"{name}_{before + 1}" if before else name
                found.append(LookupPrinter(op, node, name, of_factor))
    return tuple(found)
