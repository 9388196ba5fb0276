"""Decoding: the last few queries of an attend, against all keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attndsl.diagnostics import fail
from attndsl.ir.index import Const
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import QUERY, Axis
from attndsl.ir.walk import substitute
from attndsl.simulation.problems import CannotDecode


def last_queries(attend: Attend, sizes: Mapping[str, int], queries: int) -> Attend:
    """The attend of the last queries alone; all of them if there are fewer.

    Raises:
        AttnError: queries have several axes.
    """
    tokens = attend.query_tokens
    if len(tokens.axes) != 1:
        reason = f"the queries of {tokens} have {len(tokens.axes)} axes, so there is no last one"
        raise fail(CannotDecode(reason))
    (axis,) = tokens.axes
    count = tokens.count(sizes)
    kept = min(queries, count)
    (i,) = tokens.coordinates(QUERY)
    moved = {i.name: i + (count - kept)}
    query = replace(tokens, axes=(Axis(axis.name, Const(kept)),))
    parts = {name: substitute(expr, moved) for name, expr in attend.expressions.items() if name != "scale"}
    return replace(attend, query_tokens=query, **parts)
