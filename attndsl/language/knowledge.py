"""What is known of variables before sizes are given: extents are at least 1, coordinates stay below them."""

from __future__ import annotations

from collections.abc import Mapping

from attndsl.ir.index import MAX_INTEGER, ZERO, Expr, Load, Var
from attndsl.ir.rewrite import Ranges
from attndsl.ir.tokens import MAX_EXTENT
from attndsl.ir.walk import transform
from attndsl.language.limits import MAX_HEADS, MAX_WIDTH
from attndsl.language.prove import proves
from attndsl.language.scope import Pair

_CONTENTS = {"int": (1 - MAX_INTEGER // 2, MAX_INTEGER // 2 - 1), "bool": (False, True)}
"""What fields may contain."""


class Knowledge:
    """Ranges of the variables that may occur for the pairs of token sets of one program."""

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[int, int]] = {"heads": (1, MAX_HEADS), "kv heads": (1, MAX_HEADS)}
        self._known: dict[Pair | None, Ranges] = {}

    def add_symbol(self, name: str) -> None:
        """An unknown extent."""
        self._sizes[name] = 1, MAX_EXTENT
        self._known.clear()

    def add_width(self, tensor: str) -> None:
        """The width of an input."""
        self._sizes[f"{tensor}.width"] = 1, MAX_WIDTH
        self._known.clear()

    def ranges(self, pair: Pair | None) -> Ranges:
        """Ranges for a pair, by numbers and relative to the extents."""
        if pair not in self._known:
            self._known[pair] = self._ranges(pair, {})
        return self._known[pair]

    def proves(self, condition: Expr, pair: Pair | None) -> bool:
        """Whether a condition certainly holds, whatever the sizes are and the fields contain."""
        return proves(*self._without_fields(condition, pair))

    def range_of(self, expr: Expr, pair: Pair | None) -> tuple[int, int] | None:
        """Smallest and largest value, whatever the fields contain; None if they are not known."""
        expr, ranges = self._without_fields(expr, pair)
        return ranges.of(expr)

    def _ranges(self, pair: Pair | None, more: Mapping[str, tuple[int, int]]) -> Ranges:
        sizes = Ranges(self._sizes)
        boxes = {**self._sizes, "head": (0, MAX_HEADS - 1), **more}
        relative: dict[str, tuple[Expr, Expr]] = {"head": (ZERO, Var("heads") - 1)}
        for role, tokens in (("i", pair.query), ("j", pair.key)) if pair else ():
            for axis in tokens.axes:
                name = tokens.coordinate(role, axis.name).name
                span = sizes.of(axis.extent)
                boxes[name] = 0, max((span[1] if span else MAX_EXTENT) - 1, 0)
                relative[name] = ZERO, axis.extent - 1
        return Ranges(boxes, relative)

    def _without_fields(self, expr: Expr, pair: Pair | None) -> tuple[Expr, Ranges]:
        """The expression with a variable for each lookup, and what is known of these variables."""
        variables: dict[Expr, Var] = {}

        def replace(node: Expr) -> Expr:
            match node:
                case Load(kind=kind):
                    return variables.setdefault(node, Var(f"field {len(variables)}", kind))
            return node

        expr = transform(expr, replace)
        if not variables:
            return expr, self.ranges(pair)
        return expr, self._ranges(
            pair, {v.name: _CONTENTS[v.kind] for v in variables.values() if v.kind in _CONTENTS}
        )
