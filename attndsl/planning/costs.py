"""What every value of a program costs: a formula in extents and widths, and its value at given sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray

from attndsl.analysis.attention import analyse
from attndsl.analysis.layout import Brick, balanced
from attndsl.ir.index import TRUE, Expr
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.ir.text import show
from attndsl.ir.walk import evaluate, variables
from attndsl.planning.plan import sample_fields
from attndsl.planning.sizes import Sizes, completed
from attndsl.planning.tiles import KEY_SLOTS, QUERY_SLOTS


@dataclass(frozen=True)
class Cost:
    """The cost of one value.

    Attributes:
        value: its name.
        formula: floating-point operations per batch element; `pairs` are the visible pairs of a head.
        flops: their number at the sizes asked for.
        pairs: for an attend, the visible pairs per head (their mean, where heads differ).
    """

    value: str
    formula: Expr
    flops: int
    pairs: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The cost as JSON data."""
        found: dict[str, Any] = {"value": self.value, "formula": show(self.formula), "flops": self.flops}
        return found if self.pairs is None else {**found, "pairs": self.pairs}


def program_costs(program: Program, sizes: Mapping[str, int]) -> list[Cost]:
    """The costs of all computed values, in order."""
    every = completed(program, sizes)
    fields = sample_fields(program, every, heads=every["heads"])
    found = []
    for value in program.computed:
        formula = value.op.flops()
        pairs = visible_pairs(value.op, every, fields) if isinstance(value.op, Attend) else None
        known = every if pairs is None else {**every, "pairs": pairs}
        found.append(Cost(value.name, formula, int(evaluate(formula, known, EXACT)), pairs))
    return found


def visible_pairs(attend: Attend, sizes: Sizes, fields: Mapping[str, NDArray[Any]] | None = None) -> int:
    """The exact number of visible pairs per head and batch element; the mean where these differ."""
    query, key = attend.query_tokens.extents(sizes), attend.key_tokens.extents(sizes)
    if attend.where is TRUE:
        return prod(query) * prod(key)
    if "head" not in variables(attend.where):
        sizes = {**sizes, "heads": 1}
    layouts = Brick(query, balanced(query, QUERY_SLOTS)), Brick(key, balanced(key, KEY_SLOTS))
    classes = analyse(attend, sizes, *layouts, fields).classes
    heads = sum(len(found.heads) for found in classes)
    return sum(found.counts.pairs * len(found.heads) for found in classes) // heads
