"""Prints the functions that say, for every token of a set, where it goes or where it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attndsl.ir.index import Expr
from attndsl.ir.ops import Places
from attndsl.ir.tokens import QUERY
from attndsl.ir.walk import fields, variables
from attndsl_codegen.names import TokenNames, spelled
from attndsl_codegen.printers.body import Body
from attndsl_codegen.printers.python import TorchPrinter, identifier


@dataclass(frozen=True)
class PlacesPrinter:
    """Prints one such function."""

    name: str
    places: Places
    labels: Mapping[Expr, str]
    sets: TokenNames

    def lines(self) -> list[str]:
        """Its definition."""
        tokens = self.places.tokens
        spelling = spelled(QUERY, tokens)
        outside = sorted(variables(*self.places.coords) - set(spelling))
        looked_up = sorted(fields(*self.places.coords))
        locals_ = {name: identifier(name) for name in (*outside, *looked_up)}
        printer = TorchPrinter({*spelling, "head"}, variables={**locals_, **spelling})
        names = tuple(f"to_{axis}" for axis in self.places.target.axis_names)
        body = Body(printer, self.labels, {"at", *spelling.values(), *locals_.values()}, result_names=names)
        body.print(self.places.coords)
        if len(self.places.coords) == 1:
            body.lines[-1] = f"return ({body.lines[-1].removeprefix('return ')},)"
        doc = f"For every token of {tokens.name}, a place on {self.places.target.name}."
        heads = 'torch.arange(at["heads"], device=device).view(-1, 1, 1, 1)'
        read = [
            f"{local} = {heads}" if name == "head" else f'{local} = at["{name}"]'
            for name, local in locals_.items()
        ]
        own = ", ".join(spelling.values())
        unpack = f"({own},) = " if len(spelling) == 1 else f"{own} = "
        return [
            f"def {self.name}(at: dict[str, Any], device: torch.device) -> tuple[Any, ...]:",
            f'    """{doc}"""',
            f"    {unpack}all_tokens({self.sets.of(tokens)}.extents(at), device)",
            *(f"    {line}" for line in [*read, *body.lines]),
        ]
