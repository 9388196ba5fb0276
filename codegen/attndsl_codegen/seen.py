"""Which range of the other side a tile sees, where masks show ranges: kernels then read no schedule."""

from __future__ import annotations

from dataclasses import dataclass

from attndsl.ir.bounds import Bounds
from attndsl.ir.index import Expr, Var
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend
from attndsl.ir.ranges import range_of
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import evaluate, fields, variables
from attndsl_codegen.names import spelled
from attndsl_codegen.printers.triton import needs_64_bits

FIRST, LAST, LAST_OTHER = ".lo", ".hi", "last"
"""Suffixes of a coordinate for the first and last one of a tile, and the last one of the other side."""
SAMPLE, TILE = 4096, 64
"""Tokens, and those of a tile, by which it is seen whether later tiles see more."""


@dataclass(frozen=True)
class Seen:
    """What tiles of one side see of the other.

    Attributes:
        coordinate: of the side that sees.
        ends: first and last coordinate that some token of a tile sees, and those between which all see all.
        last_first: whether later tiles see more.
    """

    coordinate: str
    ends: tuple[Expr, Expr, Expr, Expr]
    last_first: bool


def ranges_seen(op: Attend, split: bool) -> tuple[Seen, Seen] | str:
    """What tiles of queries see of the keys and the other way round, or why tables are needed for it.

    Args:
        split: whether tiles are of residue classes.
    """
    if max(len(tokens.axes) for tokens in (op.query_tokens, op.key_tokens)) > 1:
        return "on a grid, tiles see several ranges"
    if fields(op.where):
        return "the mask looks up fields"
    if split:
        return "tiles are of residue classes"
    (query,), (key,) = spelled(QUERY, op.query_tokens), spelled(KEY, op.key_tokens)
    keys, queries = _seen(op, query, key), _seen(op, key, query)
    if keys is None or queries is None:
        return "the mask shows no single range"
    if needs_64_bits(*keys.ends, *queries.ends):
        return "its ends may leave 32 bits"
    return keys, queries


def _seen(op: Attend, own: str, other: str) -> Seen | None:
    """What tiles along one coordinate see along the other."""
    found = range_of(op.where, other, Var(LAST_OTHER))
    if found is None:
        return None
    bounds = Bounds({own: (Var(own + FIRST), Var(own + LAST))})
    (some_lo, all_lo), (all_hi, some_hi) = bounds.interval(found.lo), bounds.interval(found.hi)
    ends = some_lo, some_hi, all_lo, all_hi
    return Seen(own, ends, _grows(own, some_lo, some_hi))


def _grows(own: str, lo: Expr, hi: Expr) -> bool:
    """Whether the last of many tiles sees more than the first."""
    early, late = ({own + FIRST: first, own + LAST: first + TILE - 1} for first in (0, SAMPLE - TILE))
    counts = []
    for tile in (early, late):
        at = dict.fromkeys(variables(lo, hi), SAMPLE) | {"head": 0, LAST_OTHER: SAMPLE - 1} | tile
        first, last = (int(evaluate(end, at, EXACT)) for end in (lo, hi))
        counts.append(min(last, SAMPLE - 1) - max(first, 0))
    return counts[1] > counts[0]
