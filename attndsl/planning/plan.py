"""Decisions for a whole program: example sizes for its self-check, tile shapes for every attend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.diagnostics import fail
from attndsl.ir.program import Program
from attndsl.ir.types import Heads
from attndsl.language.problems import BadShape
from attndsl.planning.sizes import Sizes, SizeSearch
from attndsl.planning.tiles import TileChoice, choose_tiles

SAMPLED_ABOVE = 1 << 24
"""Pairs; a dense definition with more is checked on a sample of its queries."""
PLANNED_TOKENS = {1: 1024, 2: 56, 3: 24}
"""Extents at which tile shapes are compared, by the number of axes."""
EXAMPLE_TOKENS = {1: 100, 2: 20, 3: 10}


@dataclass(frozen=True)
class ProgramPlan:
    """What the code generator needs to know besides the program.

    Attributes:
        tiles: the tile shapes of each attend.
        example: sizes for the self-check.
        sampled: whether the self-check takes a sample of the queries.
    """

    tiles: Mapping[str, TileChoice]
    example: Sizes
    sampled: bool


def plan_program(program: Program) -> ProgramPlan:
    """Decides the open questions of a program.

    Raises:
        AttnError: no sizes were found at which the program is defined.
    """
    example = sizes_near(program, EXAMPLE_TOKENS, spread=3)
    planned = sizes_near(program, PLANNED_TOKENS)
    tiles = {
        value.name: choose_tiles(value.op, {**planned, "heads": 4}, sample_fields(program, planned))
        for value in program.attends
    }
    pairs = max(v.op.query_tokens.count(example) * v.op.key_tokens.count(example) for v in program.attends)
    return ProgramPlan(tiles, example, pairs > SAMPLED_ABOVE)


def sizes_near(program: Program, by_axes: Mapping[int, int], spread: int = 0, heads: int = 4) -> Sizes:
    """Sizes close to the target for the number of axes of the largest token set."""
    axes = max((len(tokens.axes) for tokens in program.token_sets), default=1)
    target = by_axes.get(axes, 4)
    for attempt in (target, 2 * target, 4 * target, 8 * target):
        found = SizeSearch(program, heads).near(attempt, spread)
        if found is not None:
            return found
    reason = "no small extents satisfy what the spec requires"
    raise fail(BadShape("", reason, "give extents with --shape, or relax the requirements"))


def sample_fields(program: Program, sizes: Mapping[str, int], batch: int = 1, heads: int = 4) -> dict[str, NDArray[Any]]:
    """Plausible values for int and bool inputs: labels that stay the same for stretches of tokens.

    Shapes are (batch, [heads,] *extents), as the inputs declare.
    """
    fields: dict[str, NDArray[Any]] = {}
    for at, value in enumerate(program.inputs):
        type_ = value.type
        if type_.kind == "real" or type_.tokens is None:
            continue
        extents = type_.tokens.extents(sizes)
        count = prod(extents)
        rng = np.random.default_rng(at)
        cuts = np.sort(rng.integers(0, count, (batch, 3)), axis=-1)
        labels = (np.arange(count)[None, :, None] >= cuts[:, None, :]).sum(-1)
        labels = labels % 2 == 1 if type_.kind == "bool" else labels
        shape = (batch, *extents)
        if type_.heads is not Heads.NONE:
            labels, shape = np.repeat(labels[:, None], heads, 1), (batch, heads, *extents)
        fields[value.name] = labels.reshape(shape)
    return fields
