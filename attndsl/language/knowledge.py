"""What is known of variables before sizes are given: extents are at least 1, coordinates stay below them."""

from __future__ import annotations

from attndsl.ir.index import ZERO, Expr, Var
from attndsl.ir.rewrite import Ranges
from attndsl.ir.tokens import MAX_EXTENT
from attndsl.language.limits import MAX_HEADS, MAX_WIDTH
from attndsl.language.scope import Pair


class Knowledge:
    """Ranges of the variables that may occur for the pairs of token sets of one program."""

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[int, int]] = {"heads": (1, MAX_HEADS)}
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
            sizes = Ranges(self._sizes)
            boxes = {**self._sizes, "head": (0, MAX_HEADS - 1)}
            relative: dict[str, tuple[Expr, Expr]] = {"head": (ZERO, Var("heads") - 1)}
            for role, tokens in (("i", pair.query), ("j", pair.key)) if pair else ():
                for axis in tokens.axes:
                    name = tokens.coordinate(role, axis.name).name
                    span = sizes.of(axis.extent)
                    boxes[name] = 0, max((span[1] if span else MAX_EXTENT) - 1, 0)
                    relative[name] = ZERO, axis.extent - 1
            self._known[pair] = Ranges(boxes, relative)
        return self._known[pair]
