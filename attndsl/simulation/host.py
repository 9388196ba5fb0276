"""The time of one attend on a CPU: what the torch path of a generated file does, all cores together.

    score      s + c (D + Dv)          softmax, and both products; less in large query tiles
    query      r                       per query of a tile: normalised and written; gathered and scattered
               where queries are not consecutive
    key        l + g (D + Dv) + u / run      per key of a query tile: read where it is, or gathered in runs;
               more where keys of a tile exceed the cache of a core, or have a row of biases
    step       once for as many query tiles, with equally many keys, as the workspace holds; more where
               biases or scores are tensors of their own
    mask       per score, where pairs are hidden; of partial tiles alone, where full keys are computed apart,
               and queries come twice and are merged; per number, where many masks are made anew at every call
    output     once per byte that the process has not touched before

Costs of scores, queries and keys are measured on PyTorch's fused CPU attention, which runs the tiles. Scores
that a function or a table of fields changes are held in memory; theirs, and those of steps, are measured on
generated code. A bias that is a term of the query plus a term of the key is one row for a tile; others are a
number per pair. Of either, keys that have no weight to speak of are hidden.

Where tokens are found alike, more tiles, or partial ones in place of full ones, are never faster here. On a
CPU they may be: tiles that become alike share their steps (see `groups.py`), and `FULL_KEYS` are computed
apart, even if their masks cost less; here they cost the less of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attndsl.simulation.costs import Host
from attndsl.simulation.cycles import TileCycles, TileKind
from attndsl.simulation.groups import group_cost

MIDDLE_TILE, LARGE_TILE = 192, 768
"""Query tiles from which PyTorch's fused attention takes 64 and 256 queries at a time instead of 32."""
WORKSPACE = 1 << 21
"""Bytes of keys that a step gathers, or of queries where keys are read in place."""
FULL_KEYS = 256
"""Keys beyond so many that all queries of a tile see are computed apart, without a mask."""
SHARED = 4
"""So many query tiles that have a mask in common keep it."""
MERGING = 4
"""Passes over outputs of queries whose full keys are computed apart: both weighted, added, written."""
MAKING = 3
"""Passes over a mask that is made anew, besides two writes to fresh memory: the partial tiles, and all."""
HIDING = 6
"""Passes over a bias to hide what has no weight: less and plus the reach of products, the largest, compared,
joined with a mask, filled."""
NEAR = 1 << 19
"""Bytes of a head's keys and values that stay in the cache of a core."""
KEPT = 1 << 24
"""Bytes of masks, a number and a truth value per pair, up to which they stay from call to call."""
FLOAT = 4


Keys = NDArray[np.int64]
"""Numbers of key tiles, one per query tile."""
Visited = list[tuple[Keys, Keys, int]]
"""Per class of heads the full and the partial key tiles of every query tile, and how many heads it has."""


@dataclass(frozen=True)
class Access:
    """How the keys of a query tile are found.

    Attributes:
        in_place: they are consecutive tokens, used where they are.
        run: else, tokens that are copied together.
        anew: the share of them that the query tile before did not gather.
        whole: all queries see all keys, and nothing is planned.
        query_run: consecutive queries of a tile that are copied together; 0 where they are used in place.
        remade: the share of masked query tiles whose masks serve few others; many such masks are made anew
            at every call.
    """

    in_place: bool = True
    run: int = 1
    anew: float = 1.0
    whole: bool = False
    query_run: int = 0
    remade: float = 0.0


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
    times = host.backward if kind.direction == "bwd" else 1.0
    hiding = HIDING * host.element_ns + host.bias_ns
    biases = 0.0 if kind.held or kind.score.passes + kind.score.look_ups == 0 else hiding
    operations = host.mask_ns if kind.row_bias else _operations(host, kind, heads) + biases
    return TileCycles(
        tensor=1e-9 * times * share * host.channel_ns * kind.widths.both,
        exp=1e-9 * times * (host.held_ns if kind.held else share * host.score_ns),
        issue=1e-9 * times * operations,
        mask=1e-9 * times * (hiding if kind.row_bias else host.mask_ns),
    )


def _operations(host: Host, kind: TileKind, heads: int) -> float:
    """Nanoseconds per score of what bias, score function and factor do."""
    passes = kind.score.passes + kind.score.shared / heads
    special = kind.score.exponentials * host.special_ns
    return passes * host.element_ns + special + kind.score.look_ups * host.look_up_ns


def host_time(
    host: Host,
    kind: TileKind,
    access: Access,
    visited: Visited,
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
    queries = tiles * kind.queries
    key = _key_seconds(host, kind, access)
    tile = kind.keys * (kind.queries * (cost.tensor + cost.exp + cost.issue) + key.sides + key.gathers)
    made = _made_every_call(kind, access, visited) * _made_seconds(host)
    for full, partial, repeats in visited:
        masks += _mask_seconds(host, kind, full, partial, repeats, repeats * cost.mask + made)
        layers = repeats if len(visited) > 1 else 1  # where masks differ by head, each has a plan of its own
        steps += _step_seconds(host, kind, access, full + partial, repeats, layers, tile)
    twice = 2 if kind.direction == "bwd" else 1
    sides = 1e-9 * queries * host.query_ns * twice + keys * key.sides
    sides += _far_seconds(host, kind, visited) * twice
    if kind.row_bias:  # lengths of queries
        sides += 1e-9 * host.element_ns * queries * kind.widths.score
    gathers = keys * key.gathers
    if access.query_run:
        gathers += FLOAT * kind.widths.both * queries / (host.gather_gbps * 1e9)
        gathers += 1e-9 * 2 * queries / access.query_run * host.run_ns
    scores = keys * kind.queries * (cost.tensor + cost.exp + cost.issue)
    fresh = outputs * (3.0 if twice == 2 else 1.0) / (host.fresh_gbps * 1e9)
    return HostTime(scores, masks, sides, gathers, steps + fresh)


@dataclass(frozen=True)
class KeySeconds:
    """Seconds for a key of a query tile, besides those for its scores."""

    sides: float
    gathers: float


def _key_seconds(host: Host, kind: TileKind, access: Access) -> KeySeconds:
    backward = kind.direction == "bwd"
    sides = host.key_ns * (2 if backward else 1)
    if kind.row_bias:  # its length, and the row of biases
        sides += host.element_ns * (HIDING + kind.score.passes + kind.widths.score)
    moved = FLOAT * kind.widths.both
    gathers = 0.0
    if not access.in_place:
        gathers = moved / host.gather_gbps + 2 / access.run * host.run_ns
        gathers *= 1.0 if backward else access.anew
    if backward:
        gathers += moved / host.scatter_gbps
    return KeySeconds(1e-9 * sides, 1e-9 * gathers)


def _far_seconds(host: Host, kind: TileKind, visited: Visited) -> float:
    """Seconds for keys of query tiles beyond what stays in the cache of a core."""
    near = NEAR // (FLOAT * kind.widths.both)
    keys = ((full + partial) * kind.keys for full, partial, _ in visited)
    far = (int(np.maximum(found - near, 0).sum()) * n for found, (_, _, n) in zip(keys, visited))
    return 1e-9 * host.far_ns * sum(far)


def _under_masks(kind: TileKind, full: Keys, partial: Keys) -> float:
    """Scores of masked query tiles, of one head; of many full keys most are computed apart."""
    tiles = (np.minimum(full, FULL_KEYS // kind.keys) + partial)[partial > 0]
    return float(tiles.sum()) * kind.queries * kind.keys


def _made_every_call(kind: TileKind, access: Access, visited: Visited) -> float:
    """The share of masks that are made at every call: those that few tiles share, unless they are small."""
    numbers = access.remade * sum(_under_masks(kind, full, partial) for full, partial, _ in visited)
    return access.remade if (FLOAT + 1) * numbers > KEPT else 0.0


def _made_seconds(host: Host) -> float:
    """Seconds of a number of a mask that is made at a call, for all heads."""
    return 2 * FLOAT / (host.fresh_gbps * 1e9) + 1e-9 * MAKING * host.element_ns


def _mask_seconds(host: Host, kind: TileKind, full: Keys, partial: Keys, repeats: int, score: float) -> float:
    """Seconds for the masks of one class of heads, at so many seconds per score of all of these.

    Of a query tile all scores have a mask, or those of partial tiles have, and full ones are computed apart.
    """
    tile = score * kind.queries * kind.keys
    apart = host.query_ns + MERGING * kind.widths.value * host.element_ns
    every_pair = kind.held or (kind.score.passes + kind.score.look_ups > 0 and not kind.row_bias)
    most = float("inf") if every_pair else 1e-9 * repeats * kind.queries * apart
    return float((partial * tile + np.minimum(full * tile, most))[partial > 0].sum())


def _step_seconds(
    host: Host,
    kind: TileKind,
    access: Access,
    visited: Keys,
    repeats: int,
    layers: int,
    tile: float,
) -> float:
    """Seconds of the steps of one class of heads, `layers` of which are planned apart.

    Query tiles with equally many keys are computed together, as many as fill the workspace.

    Args:
        tile: seconds of one key tile more.
    """
    if access.whole:
        return 1e-6 * host.step_us
    dearer = host.held_step_us if kind.held else host.biased_step_us if kind.row_bias else 0.0
    step = 1e-6 * max(host.step_us, dearer)
    queries = access.in_place and kind.direction == "fwd"
    tokens = len(visited) * kind.queries if queries else int(visited.sum()) * kind.keys
    filled = repeats * tokens * max(kind.widths.score, 1) * FLOAT / WORKSPACE
    return max(step * max(1.0, filled), group_cost(visited, layers * step, repeats * tile))
