"""The dense attention that a program is compared with: every query of its result sees every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attndsl.analysis.layout import Brick
from attndsl.diagnostics import AttnError
from attndsl.ir.program import Program
from attndsl.ir.tokens import SINGLE, TokenSet
from attndsl.simulation.attention import AttendTime, AttendWork, attend_time
from attndsl.simulation.counts import ClassCounts, TileCounts
from attndsl.simulation.cycles import TileKind
from attndsl.simulation.operators import count_of
from attndsl.simulation.setting import Setting
from attndsl.simulation.slots import EDGE_MASK, PairCost
from attndsl.simulation.tiles import Widths

SHAPES = ((128, 128), (128, 64), (64, 64), (64, 32), (32, 32))
"""Tiles that dense kernels use, largest first."""
DECODING_SHAPES = ((16, 128), (16, 64), (16, 32))


@dataclass(frozen=True)
class Dense:
    """The dense attention.

    Attributes:
        query, key: its token sets.
        work: at its tile shape.
    """

    query: TokenSet
    key: TokenSet
    work: AttendWork

    def time(self, setting: Setting) -> AttendTime:
        """Its time, forward."""
        return attend_time(self.work, setting.device, setting.dense_kernel)


def dense_sets(program: Program) -> tuple[TokenSet, TokenSet]:
    """The queries' and the keys' set: the result's, and that of the inputs which attends use as keys."""
    features = [v.type.tokens for v in program.inputs if v.type.width is not None]
    result = program.value(program.results[0]).type.tokens
    query = result if result in features or not features else features[0]
    others = [tokens for tokens in features if tokens != query]
    keys = {value.op.key_tokens for value in program.attends}
    used = [tokens for tokens in others if tokens in keys]
    return query if query is not SINGLE else features[0], used[0] if used and query not in keys else query


def dense_attention(program: Program, sizes: Mapping[str, int], setting: Setting) -> Dense:
    """The dense attention of a program at the fastest tile shape that fits.

    Raises:
        AttnError: no tile shape fits.
    """
    query, key = dense_sets(program)
    queries = query.count(sizes)
    if setting.queries is not None:
        queries = min(queries, setting.queries)
    heads = max((count_of(v.op.type.heads, sizes) for v in program.attends), default=setting.heads)
    shapes = DECODING_SHAPES if setting.queries is not None else SHAPES
    if setting.device.host is not None:  # one call of PyTorch's fused attention
        shapes = ((queries, key.count(sizes)),)
    works = [dense_work(queries, key.count(sizes), shape, heads, setting) for shape in shapes]
    found: list[tuple[float, int, AttendWork]] = []
    for at, work in enumerate(works):
        try:
            found.append((attend_time(work, setting.device, setting.dense_kernel).total, at, work))
        except AttnError:
            if at == len(works) - 1 and not found:
                raise
    return Dense(query, key, min(found)[2])


def dense_work(queries: int, keys: int, shape: tuple[int, int], heads: int, setting: Setting) -> AttendWork:
    """All pairs, in tiles of a shape; a last tile of keys that is not full needs a mask."""
    layouts = Brick((queries,), shape[:1]), Brick((keys,), shape[1:])
    rows = layouts[0].grid[0]
    whole, rest = divmod(keys, shape[1])
    full, partial = np.full(rows, whole), np.full(rows, int(rest > 0))
    found = ClassCounts(heads, queries * keys, full, partial, EDGE_MASK)
    kind = TileKind(*shape, Widths(setting.dim, setting.dim), PairCost(), setting.dtype)
    kv_heads = min(setting.kv_heads, heads)
    return AttendWork(TileCounts(*layouts, (found,)), kind, setting.batch, kv_heads, False)
