"""The time of one attend on a CPU: what the torch path of a generated file does, all cores together.

    score      s + c (D + Dv)          softmax, and both products; less in large query tiles
    query      r                       per query of a tile: normalised and written
    key        l + g (D + Dv) + u / run      per key of a query tile: read where it is, or gathered in runs
    step       once for as many query tiles, with equally many keys, as the workspace holds; more where masks
               are made anew
    output     once per byte that the process has not touched before

Costs of scores, queries and keys are measured on PyTorch's fused CPU attention, which runs the tiles. Scores
that a function or a table of fields changes are held in memory; theirs are measured on generated code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attndsl.simulation.costs import Host
from attndsl.simulation.cycles import TileCycles, TileKind

MIDDLE_TILE, LARGE_TILE = 192, 768
"""Query tiles from which PyTorch's fused attention takes 64 and 256 queries at a time instead of 32."""
WORKSPACE = 1 << 21
"""Bytes of keys that a step gathers, or of queries where keys are read in place."""
FULL_KEYS = 256
"""Keys beyond so many that all queries of a tile see are computed apart, without a mask."""
SPECIAL = 0.5
"""What a special function takes beyond a pass that multiplies."""
FLOAT = 4


@dataclass(frozen=True)
class Access:
    """How the keys of a query tile are found.

    Attributes:
        in_place: they are consecutive tokens, used where they are.
        run: else, tokens that are copied together.
        anew: the share of them that the query tile before did not gather.
        whole: all queries see all keys, and nothing is planned.
    """

    in_place: bool = True
    run: int = 1
    anew: float = 1.0
    whole: bool = False


READ_IN_PLACE = Access()


@dataclass(frozen=True)
class HostTime:
    """Seconds of one attend by cause; each is added to those before."""

    scores: float
    masks: float
    sides: float
    gathers: float
    steps: float


def score_seconds(host: Host, kind: TileKind, heads: int) -> TileCycles:
    """Seconds per score by what they go to: products, softmax, operations of bias and score, mask."""
    share = 1.0 if kind.queries < MIDDLE_TILE else host.middle
    share = host.large if kind.queries >= LARGE_TILE else share
    passes = kind.score.passes + kind.score.shared / heads + SPECIAL * kind.score.exponentials
    biases = 0.0 if kind.held or kind.score.passes + kind.score.look_ups == 0 else host.bias_ns
    times = host.backward if kind.direction == "bwd" else 1.0
    return TileCycles(
        tensor=1e-9 * times * share * host.channel_ns * kind.widths.both,
        exp=1e-9 * times * (host.held_ns if kind.held else share * host.score_ns),
        issue=1e-9 * times * (passes * host.element_ns + kind.score.look_ups * host.look_up_ns + biases),
        mask=1e-9 * times * host.mask_ns,
    )


def host_time(
    host: Host,
    kind: TileKind,
    access: Access,
    visited: list[tuple[NDArray[np.int64], NDArray[np.int64], int]],
    outputs: int,
    heads: int,
) -> HostTime:
    """The time of all query tiles.

    Args:
        kind: the tile, as kernels see it.
        visited: per class of heads the full and the partial key tiles of every query tile, and how many
            heads and batch elements there are.
        outputs: bytes of the result.
        heads: how many heads share what does not depend on the head.
    """
    cost = score_seconds(host, kind, heads)
    masks, steps = 0.0, 0.0
    tiles = sum(len(full) * repeats for full, _, repeats in visited)
    keys = sum(int((full + partial).sum()) * repeats for full, partial, repeats in visited) * kind.keys
    for full, partial, repeats in visited:
        masked = partial > 0
        under = (np.minimum(full, FULL_KEYS // kind.keys) + partial)[masked]
        masks += float(under.sum()) * repeats * kind.queries * kind.keys * cost.mask
        steps += 1e-6 * _steps(host, kind, access, full + partial, bool(masked.any()), repeats)
    backward = kind.direction == "bwd"
    sides = 1e-9 * (tiles * kind.queries * host.query_ns + keys * host.key_ns) * (2 if backward else 1)
    moved = FLOAT * kind.widths.both * keys
    gathers = 0.0
    if not access.in_place:
        gathers += moved / (host.gather_gbps * 1e9) + 1e-9 * 2 * keys / access.run * host.run_ns
        gathers *= 1.0 if backward else access.anew
    if backward:
        gathers += moved / (host.scatter_gbps * 1e9)
    scores = keys * kind.queries * (cost.tensor + cost.exp + cost.issue)
    fresh = outputs * (3.0 if backward else 1.0) / (host.fresh_gbps * 1e9)
    return HostTime(scores, masks, sides, gathers, steps + fresh)


def _steps(
    host: Host, kind: TileKind, access: Access, visited: NDArray[np.int64], masked: bool, repeats: int
) -> float:
    """Microseconds of the steps of one class of heads.

    Query tiles with equally many keys are computed together, as many as fill the workspace. How many such
    numbers there are is bounded by the tiles and by the largest one, a bound that never falls with more keys.
    """
    if access.whole:
        return host.step_us
    queries = access.in_place and kind.direction == "fwd"
    tokens = len(visited) * kind.queries if queries else int(visited.sum()) * kind.keys
    filled = repeats * tokens * max(kind.widths.score, 1) * FLOAT / WORKSPACE
    groups = min(int((visited > 0).sum()), int(visited.max(initial=0)))
    return max(1.0, groups, filled) * (host.masked_step_us if masked else host.step_us)
