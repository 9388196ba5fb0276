"""Decisions for a whole program: example sizes for its self-check, tile shapes for every attend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import head_classes
from attndsl.diagnostics import fail
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Input
from attndsl.ir.program import Program
from attndsl.ir.walk import evaluate
from attndsl.planning.problems import BadShape
from attndsl.planning.relations import refuse_relations
from attndsl.planning.sizes import Sizes, SizeSearch, completed
from attndsl.planning.tiles import TileChoice, choose_tiles

SAMPLED_ABOVE = 1 << 24
"""Pairs; a dense definition with more is checked on a sample of its queries."""
PLANNED_TOKENS = {1: 1024, 2: 56, 3: 24}
"""Extents at which tile shapes are compared, by the number of axes."""
EXAMPLE_TOKENS = {1: 100, 2: 20, 3: 10}
LARGEST_EXAMPLE = 1 << 28
"""Pairs; a self-check should take seconds."""
TELLING_SHARE, TELLING_DROP = 0.3, 0.6
"""A mask that shows more than this share of the pairs may be trivial, unless larger sizes thin it out."""
SHARE_SAMPLE = 96
"""Random queries, and random keys, by which shares are estimated."""


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
        AttnError: values on pairs are asked for, or no sizes were found at which the program is defined.
    """
    refuse_relations(program)
    example, tiles = telling_sizes(program), program_tiles(program)
    return ProgramPlan(tiles, example, can_sample(program) and most_pairs(program, example) > SAMPLED_ABOVE)


def program_tiles(program: Program) -> dict[str, TileChoice]:
    """The tile shapes of every attend that goes tile by tile.

    Raises:
        AttnError: no sizes were found at which the program is defined.
    """
    tiles: dict[str, TileChoice] = {}
    for factor in (1, 2, 4, 8):  # until every attend has something to see
        tiles = _tiles(program, {axes: extent * factor for axes, extent in PLANNED_TOKENS.items()})
        if all(choice.visits > 0 for choice in tiles.values()):
            break
    return tiles


def _tiles(program: Program, by_axes: Mapping[int, int]) -> dict[str, TileChoice]:
    """The tiles of all attends that go tile by tile, chosen at sizes near these."""
    planned = completed(program, sizes_near(program, by_axes))
    fields = sample_fields(program, planned)
    return {
        value.name: choose_tiles(value.op, planned, fields)
        for value in program.attends
        if value.op.kernel == "tiled"
    }


def most_pairs(program: Program, sizes: Sizes) -> int:
    """Query-key pairs of the largest attend, visible or not."""
    every = completed(program, sizes)
    counts = (v.op.query_tokens.count(every) * v.op.key_tokens.count(every) for v in program.attends)
    return max(counts, default=0)


def can_sample(program: Program) -> bool:
    """Whether a few rows of the results can be computed alone: all are attends, which nothing reads."""
    read = {name for value in program.values for name in value.op.operands}
    attends = {value.name for value in program.attends}
    return attends == set(program.results) and not attends & read


def telling_sizes(program: Program) -> Sizes:
    """Small sizes at which the mask is not trivial: a window wider than the sequence checks nothing.

    A mask is local if it thins out as the sizes grow; then the first sizes are taken at which it has.
    """
    smallest = sizes_near(program, EXAMPLE_TOKENS, spread=3)
    density = visible_share(program, smallest)
    for factor in (2, 4, 8, 16, 32, 64, 128):
        targets = {axes: extent * factor for axes, extent in EXAMPLE_TOKENS.items()}
        larger = sizes_near(program, targets, spread=3)
        if most_pairs(program, larger) > (LARGEST_EXAMPLE if can_sample(program) else SAMPLED_ABOVE):
            break
        if density > TELLING_SHARE and visible_share(program, larger) < TELLING_DROP * density:
            return larger
    return smallest


def visible_share(program: Program, sizes: Sizes) -> float:
    """The share of visible pairs in the densest attend, estimated from a fixed sample."""
    shares = [1.0] if not program.attends else []
    sizes = completed(program, sizes)
    fields = sample_fields(program, sizes)
    for value in program.attends:
        for found in head_classes(value.op, sizes, fields):
            rng = np.random.default_rng(0)
            sides = [
                np.stack([rng.integers(0, extent, SHARE_SAMPLE) for _, extent in side], -1)
                for side in (found.predicate.query, found.predicate.key)
            ]
            shares.append(float(found.predicate.points(*sides).mean()))
    return max(shares)


def sizes_near(program: Program, by_axes: Mapping[int, int], spread: int = 0, heads: int = 4) -> Sizes:
    """Sizes close to the target for the number of axes that the inputs' tokens have."""
    axes = max((len(value.type.tokens.axes) for value in program.inputs), default=1)
    target = by_axes.get(axes, 4)
    for attempt in (target, 2 * target, 4 * target, 8 * target):
        found = SizeSearch(program, heads).near(attempt, spread)
        if found is not None:
            return found
    reason = "no small extents satisfy what the spec requires"
    raise fail(BadShape("", reason, "give extents with --shape, or relax the requirements"))


def sample_fields(
    program: Program, sizes: Mapping[str, int], batch: int = 1, heads: int = 4
) -> dict[str, NDArray[Any]]:
    """Plausible values for int and bool features: labels that stay the same for stretches of tokens.

    Shapes are (batch, [heads,] *extents), as the inputs declare; computed labels are alike in all heads.
    """
    sizes = completed(program, sizes)
    numbered = {name: count for value in program.computed for name, count in value.op.numbered.items()}
    fields: dict[str, NDArray[Any]] = {}
    for at, value in enumerate(program.values):
        type_ = value.type
        if type_.kind == "real":
            continue
        extents = type_.tokens.extents(sizes)
        count = prod(extents)
        rng = np.random.default_rng(at)
        cuts = np.sort(rng.integers(0, count, (batch, 3)), axis=-1)
        labels = (np.arange(count)[None, :, None] >= cuts[:, None, :]).sum(-1)
        labels = labels % 2 == 1 if type_.kind == "bool" else labels
        if value.name in numbered:
            labels = labels % evaluate(numbered[value.name], sizes, EXACT)
        shape = (batch, *extents)
        if type_.heads is not None and isinstance(value.op, Input):
            labels, shape = np.repeat(labels[:, None], heads, 1), (batch, heads, *extents)
        fields[value.name] = labels.reshape(shape)
    return fields
