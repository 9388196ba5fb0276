"""Statements about a mask that hold or have a counter-example, decided exactly at concrete sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import HeadClass
from attndsl.analysis.contents import box_points
from attndsl.analysis.layout import Brick
from attndsl.analysis.partial import look_inside
from attndsl.analysis.predicate import Predicate
from attndsl.analysis.refine import refine
from attndsl.ir.index import Expr, Var
from attndsl.ir.rewrite import Ranges, simplify

Point = tuple[int, ...]
SEARCH_SLOTS = 64


@dataclass(frozen=True)
class Proof:
    """A statement, whether it holds, and if not, a query (and key) that shows it."""

    statement: str
    holds: bool
    query: Point | None = None
    key: Point | None = None

    def to_dict(self) -> dict[str, Any]:
        """The proof as JSON data."""
        found = {"query": self.query, "key": self.key}
        return {"statement": self.statement, "holds": self.holds, **{k: v for k, v in found.items() if v}}


def prove_all(found: HeadClass) -> list[Proof]:
    """The statements worth knowing about any mask: keys for every query, their number, causality."""
    return [*prove_counts(found), *prove_causal(found.predicate)]


def prove_counts(found: HeadClass) -> list[Proof]:
    """Whether every query has a key, and whether all have equally many."""
    counts = found.keys_per_query()
    least, most = int(counts.min()), int(counts.max())
    poorest = _point(int(counts.argmin()), counts.shape)
    proofs = [Proof("every query sees a key", least > 0, None if least else poorest)]
    if least == most:
        return [*proofs, Proof(f"every query sees exactly {most} keys", True)]
    return [*proofs, Proof(f"every query sees equally many keys (here {least} to {most})", False, poorest)]


def _point(flat: int, shape: tuple[int, ...]) -> Point:
    return tuple(int(c) for c in np.unravel_index(flat, shape))


def prove_causal(predicate: Predicate) -> list[Proof]:
    """Per axis that query and key share: whether no query sees a later key."""
    proofs = []
    for (query, _), (key, _) in zip(predicate.query, predicate.key):
        axis = query.partition(".")[2]
        if axis != key.partition(".")[2]:
            continue
        pair = find_pair(predicate, Var(query) < Var(key))
        along = f" along {axis}" if len(predicate.query) > 1 else ""
        proofs.append(Proof(f"causal{along}: no query sees a later key", pair is None, *(pair or ())))
    return proofs


def prove_disjoint(a: Predicate, b: Predicate) -> Proof:
    """Whether no pair is visible in both masks, which speak of the same token sets."""
    merged = Predicate(a.condition, a.query, a.key, {**a.fields, **b.fields})
    pair = find_pair(merged, b.condition)
    return Proof("no pair is visible in both", pair is None, *(pair or ()))


def find_pair(predicate: Predicate, also: Expr) -> tuple[Point, Point] | None:
    """A visible pair that satisfies a further condition, or None if there is none."""
    limits: Mapping[str, tuple[int, int]] = {
        name: (0, extent - 1) for name, extent in (*predicate.query, *predicate.key)
    }
    condition = simplify(predicate.condition & also, Ranges(limits))
    narrowed = Predicate(condition, predicate.query, predicate.key, predicate.fields)
    query, key = (_bricks([extent for _, extent in side]) for side in (predicate.query, predicate.key))
    refined = refine(narrowed, query, key)
    if len(refined.full):
        lo, _ = query.hull(refined.full.query_lo[:1], refined.full.query_hi[:1])
        key_lo, _ = key.hull(refined.full.key_lo[:1], refined.full.key_hi[:1])
        return _ints(lo[0]), _ints(key_lo[0])
    _, inside = look_inside(narrowed, query, key, refined.open)
    if not len(inside.boxes):
        return None
    box = inside.boxes.stretch(0, 1)
    number = int(inside.mask[0])
    at_query, at_key = (0, 0) if number < 0 else np.argwhere(inside.masks[number])[0]
    queries, keys = box_points(box.query_lo, box.query_hi)[0], box_points(box.key_lo, box.key_hi)[0]
    return _ints(queries[at_query]), _ints(keys[at_key])


def _bricks(extents: list[int]) -> Brick:
    side = max(1, round(SEARCH_SLOTS ** (1 / len(extents))))
    return Brick(tuple(extents), tuple(min(side, extent) for extent in extents))


def _ints(point: NDArray[np.int64]) -> Point:
    return tuple(int(c) for c in point)
