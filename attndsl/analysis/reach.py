"""Receptive fields of stacks of layers: which tokens can influence which after so many layers, exactly.

A layer passes information along its visible pairs, through its other operators, and past itself (the
residual connection): R[l + 1] = (layer or identity) R[l], as products of boolean matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attndsl.analysis.attention import dense_mask
from attndsl.ir.index import TRUE, Var
from attndsl.ir.namespaces import Arrays
from attndsl.ir.ops import Attend, Input
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import Pooled, TokenSet
from attndsl.ir.walk import evaluate

Relation: TypeAlias = NDArray[np.bool_]
"""(tokens, tokens): whether the row's token can be influenced by the column's."""
MOST_TOKENS = 4096
"""Matrices are squares of this side at most."""


@dataclass(frozen=True)
class LayerReach:
    """What is connected after a layer.

    Attributes:
        layer: its number, from 1.
        name: which attention it is.
        least, mean, most: tokens that influence a token.
        connected: the share of all pairs.
        complete: whether every token can influence every other one, or every later one if no earlier one.
    """

    layer: int
    name: str
    least: int
    mean: float
    most: int
    connected: float
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        """The layer as JSON data."""
        keys = {"least": self.least, "mean": self.mean, "most": self.most}
        return {
            "layer": self.layer,
            "attention": self.name,
            "receptive_field": keys,
            "connected": self.connected,
            "complete": self.complete,
        }


def stack(layers: Sequence[tuple[str, Relation]], count: int) -> Iterator[tuple[LayerReach, Relation]]:
    """What is connected after each of `count` layers, which take their turns; ends once all is connected."""
    tokens = len(layers[0][1])
    reached: Relation = np.eye(tokens, dtype=bool)
    for number in range(count):
        name, layer = layers[number % len(layers)]
        reached = reached | product_of(layer, reached)
        sizes = reached.sum(1)
        found = LayerReach(
            number + 1,
            name,
            int(sizes.min()),
            float(sizes.mean()),
            int(sizes.max()),
            float(reached.mean()),
            bool(reached.all() or np.array_equal(reached, np.tri(tokens, dtype=bool))),
        )
        yield found, reached
        if found.complete:
            return


def product_of(left: Relation, right: Relation) -> Relation:
    """Row i is connected to column k if some j connects them."""
    return (left.astype(np.float32) @ right.astype(np.float32)) > 0


def layer_relation(
    program: Program, sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]]
) -> tuple[Relation, tuple[str, ...]]:
    """Which tokens of its input influence which tokens of the result of one layer, and what is assumed.

    Operators that look along tokens, other than attends and pooling, are assumed to connect everything;
    their names are returned. Values that come from other token sets (a text, learned keys) do not count.

    Args:
        sizes: values of all symbols.
        fields: values of run-time labels, of one batch element.
    """
    target = program.value(program.results[0]).type.tokens
    tokens = target.count(sizes)
    found: dict[str, Relation] = {}
    assumed: list[str] = []
    for value in program.values:
        count = value.type.tokens.count(sizes)
        match value.op:
            case Input():
                own = value.type.tokens == target
                found[value.name] = np.eye(tokens, dtype=bool) if own else np.zeros((count, tokens), bool)
            case Attend() as op:
                found[value.name] = _attended(op, found, sizes, fields)
            case op if not op.operands:
                found[value.name] = np.zeros((count, tokens), bool)
            case op:
                relation = _passed(value, found, sizes)
                if relation is None:
                    relation = np.ones((count, tokens), bool)
                    assumed.append(op.word or value.name)
                found[value.name] = relation
    every = [found[name] for name in program.results if len(found[name]) == tokens]
    return _union(every), tuple(dict.fromkeys(assumed))


def _attended(
    op: Attend, found: Mapping[str, Relation], sizes: Mapping[str, int], fields: Mapping[str, NDArray[Any]]
) -> Relation:
    """Queries are influenced by what their keys and values are, in any head, and by themselves."""
    queries, keys = op.query_tokens.count(sizes), op.key_tokens.count(sizes)
    sources = [found[name] for name in (op.k, op.v) if name is not None]
    behind = _union(sources)
    if op.where is TRUE:
        seen = np.ones((queries, keys), dtype=bool)
    else:
        seen = np.asarray(dense_mask(op, sizes, fields).any(axis=(0, 1)), dtype=np.bool_)
    relation = product_of(seen, behind)
    return relation if op.q is None else relation | found[op.q]


def _passed(value: Value, found: Mapping[str, Relation], sizes: Mapping[str, int]) -> Relation | None:
    """What operators pass on that work token by token, or pool; None for others."""
    count = value.type.tokens.count(sizes)
    operands = [found[name] for name in value.op.operands if name in found]
    match value.type.tokens.origin:
        case Pooled(parent=parent) if all(len(o) == parent.count(sizes) for o in operands):
            return product_of(covered(value.type.tokens, parent, sizes), _union(operands))
    same = [operand for operand in operands if len(operand) == count]
    if value.op.along_tokens or not same:
        return None
    return _union(same)


def _union(relations: Sequence[Relation]) -> Relation:
    return np.asarray(np.stack(list(relations)).any(axis=0), dtype=np.bool_)


def covered(tokens: TokenSet, parent: TokenSet, sizes: Mapping[str, int]) -> Relation:
    """Which tokens of the parent each pooled token covers."""
    extents = tokens.extents(sizes)
    places = np.stack(np.unravel_index(np.arange(tokens.count(sizes)), extents), -1)
    own = tuple(Var(f"at.{axis}") for axis in range(len(extents)))
    values = {**sizes, **{variable.name: places[:, axis] for axis, variable in enumerate(own)}}
    namespace = Arrays(np, np.float64)
    ends = [tokens.covered(own, last) for last in (False, True)]
    parents = np.stack(np.unravel_index(np.arange(parent.count(sizes)), parent.extents(sizes)), -1)
    inside = np.ones((len(places), len(parents)), dtype=bool)
    for axis in range(parents.shape[1]):
        first, last = (np.asarray(evaluate((end or ())[axis], values, namespace)) for end in ends)
        inside &= (first[:, None] <= parents[None, :, axis]) & (parents[None, :, axis] <= last[:, None])
    return inside
