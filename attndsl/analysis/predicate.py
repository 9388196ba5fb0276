"""A visibility condition at concrete sizes: evaluated on boxes, on points, and compared between boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.contents import content_classes
from attndsl.analysis.fields import Pyramid
from attndsl.analysis.layout import Ints
from attndsl.ir.bounds import GREATEST, LEAST, Bounds
from attndsl.ir.index import Expr, Var
from attndsl.ir.namespaces import Arrays
from attndsl.ir.offset import Parameters
from attndsl.ir.rewrite import Ranges, simplify
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.ir.walk import evaluate_all, substitute

Bools = NDArray[np.bool_]
NUMPY = Arrays(np, np.float64)
LO, HI = ".lo", ".hi"
MAX_CODE = 2**62
"""Codes of rows stay below this."""
CACHED = 1 << 14
"""Boxes evaluated at a time: temporary arrays that fit a cache are reused, larger ones are paged in anew."""
SPARSE = 16
"""Where fewer than one in so many values occurs, they are told apart by sorting."""


@dataclass(frozen=True)
class Boxes:
    """Pairs of a query box and a key box; bounds inclusive, arrays of shape (count, axes)."""

    query_lo: Ints
    query_hi: Ints
    key_lo: Ints
    key_hi: Ints

    def __len__(self) -> int:
        return len(self.query_lo)

    def take(self, chosen: Ints | Bools) -> Boxes:
        """A selection of the pairs, by number or by flags."""
        rows = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen  # once, for all four
        return Boxes(*(part.take(rows, axis=0) for part in self.parts))

    def stretch(self, start: int, stop: int) -> Boxes:
        """Consecutive pairs."""
        return Boxes(*(part[start:stop] for part in self.parts))

    @property
    def parts(self) -> tuple[Ints, Ints, Ints, Ints]:
        """The four arrays."""
        return self.query_lo, self.query_hi, self.key_lo, self.key_hi

    @property
    def pairs(self) -> Ints:
        """How many (query, key) pairs each holds."""
        queries = np.prod(self.query_hi - self.query_lo + 1, axis=-1)
        return queries * np.prod(self.key_hi - self.key_lo + 1, axis=-1)


@dataclass(frozen=True)
class Predicate:
    """A condition over the coordinates of two token sets, all other sizes put in.

    Attributes:
        condition: the simplified condition.
        query, key: coordinate variables and extents of the two sets.
        fields: values of the fields that occur, shape = extents of their token set.
    """

    condition: Expr
    query: tuple[tuple[str, int], ...]
    key: tuple[tuple[str, int], ...]
    fields: Mapping[str, NDArray[Any]]

    @cached_property
    def _bounds(self) -> Bounds:
        names = [name for name, _ in (*self.query, *self.key)]
        return Bounds({name: (Var(name + LO), Var(name + HI)) for name in names})

    @cached_property
    def _parameters(self) -> Parameters:
        origins = {name: Var(name + LO) for name, _ in (*self.query, *self.key)}
        parameters = Parameters(self._bounds, origins)
        parameters.of_condition(self.condition)
        return parameters

    @cached_property
    def _loads(self) -> dict[str, Any]:
        loads: dict[str, Any] = {}
        for name, values in self.fields.items():
            pyramid = Pyramid(values)
            loads |= {name: pyramid.look_up, name + LEAST: pyramid.least, name + GREATEST: pyramid.greatest}
        return loads

    def decide(self, boxes: Boxes) -> tuple[Bools, Bools]:
        """For each box pair, whether every pair must and whether any pair may be visible."""
        ends = self._bounds.interval(self.condition)
        must, may = self._evaluated(ends, boxes, np.bool_, self._loads)
        return must, may

    def _evaluated(
        self,
        exprs: Sequence[Expr],
        boxes: Boxes,
        dtype: type[np.generic],
        loads: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:
        """Values of expressions of box bounds, (expressions, boxes)."""
        found = np.empty((len(exprs), len(boxes)), dtype=dtype)
        for start in range(0, len(boxes), CACHED):
            stop = start + CACHED
            values = evaluate_all(exprs, self._box_values(boxes.stretch(start, stop)), NUMPY, loads)
            for row, value in zip(found, values):
                row[start:stop] = value
        return found

    def _box_values(self, boxes: Boxes) -> dict[str, Ints]:
        values: dict[str, Ints] = {}
        sides = ((self.query, boxes.query_lo, boxes.query_hi), (self.key, boxes.key_lo, boxes.key_hi))
        for names, lo, hi in sides:
            for axis, (name, _) in enumerate(names):
                values[name + LO], values[name + HI] = lo[:, axis], hi[:, axis]
        return values

    @property
    def comparable(self) -> bool:
        """Whether boxes can be known to see the same mask."""
        return not self._parameters.unique

    def signatures(self, boxes: Boxes) -> Ints:
        """A class number per box pair: pairs of one class see the same mask, up to translation."""
        parameters = self._parameters
        if not self.comparable:
            return np.arange(len(boxes), dtype=np.int64)
        columns = list(self._evaluated(list(parameters.found), boxes, np.int64, self._loads))
        columns += [self._contents(boxes, *looked_up) for looked_up in parameters.contents]
        sizes = np.concatenate([boxes.query_hi - boxes.query_lo, boxes.key_hi - boxes.key_lo], axis=-1)
        return classes([*columns, *sizes.T], len(boxes))

    def _contents(self, boxes: Boxes, field: str, names: tuple[str, ...]) -> Ints:
        """Which boxes hold the same values of a field."""
        ends = self._box_values(boxes)
        lo, hi = (np.stack([ends[name + end] for name in names], -1) for end in (LO, HI))
        return content_classes(self.fields[field], lo, hi)

    def points(self, queries: Ints, keys: Ints) -> Bools:
        """The condition at points: queries (..., q, axes) against keys (..., k, axes) gives (..., q, k)."""
        values = {name: queries[..., :, None, axis] for axis, (name, _) in enumerate(self.query)}
        values |= {name: keys[..., None, :, axis] for axis, (name, _) in enumerate(self.key)}
        shape = np.broadcast_shapes(queries[..., :, None, 0].shape, keys[..., None, :, 0].shape)
        found = evaluate_all([self.condition], values, NUMPY, self._loads)[0]
        return np.broadcast_to(np.asarray(found, dtype=bool), shape)


def classes(columns: list[Ints], count: int) -> Ints:
    """Numbers rows of several integer columns by distinct value: 0, 1, 2, ... in lexicographic order."""
    code, bound = np.zeros(count, dtype=np.int64), 1
    for column in columns if count else []:
        least, span = int(column.min()), int(column.max()) - int(column.min()) + 1
        if span > 1 and bound * span > MAX_CODE:
            (values, code), (distinct, column) = distinct_of(code, bound), distinct_of(column - least, span)
            bound, span, least = len(values), len(distinct), 0
        code, bound = code * span + (column - least), bound * span
    return distinct_of(code, bound)[1]


def distinct_of(values: Ints, bound: int) -> tuple[Ints, Ints]:
    """The distinct ones of integers from 0 to `bound` - 1, ascending, and each one's number among them."""
    if bound > SPARSE * (len(values) + SPARSE):
        distinct, number = np.unique(values, return_inverse=True)
        return distinct, number.astype(np.int64)
    occurs = np.zeros(bound, dtype=bool)  # a table is several times faster than sorting
    occurs[values] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[values]


def make_predicate(
    where: Expr,
    query: TokenSet,
    key: TokenSet,
    sizes: Mapping[str, int],
    fields: Mapping[str, NDArray[Any]] | None = None,
) -> Predicate:
    """The condition at given sizes (symbols, `heads`, and `head` if it occurs)."""
    sides: list[tuple[tuple[str, int], ...]] = []
    for role, tokens in ((QUERY, query), (KEY, key)):
        names = (variable.name for variable in tokens.coordinates(role))
        sides.append(tuple(zip(names, tokens.extents(sizes))))
    condition = _at_sizes(where, sides[0] + sides[1], tuple(sizes.items()))
    return Predicate(condition, sides[0], sides[1], dict(fields or {}))


@lru_cache(maxsize=256)
def _at_sizes(where: Expr, extents: tuple[tuple[str, int], ...], sizes: tuple[tuple[str, int], ...]) -> Expr:
    """The condition with sizes put in, simplified on these extents; kept, for many tile shapes are tried."""
    ranges = Ranges({name: (0, extent - 1) for name, extent in extents})
    return simplify(substitute(where, dict(sizes)), ranges)
