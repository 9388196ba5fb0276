"""Tensors, positions and extents: what a name can stand for besides expressions, tuples and token sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attndsl.ir.index import Expr, Load
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Feature:
    """A tensor value of the program."""

    name: str
    type: FeatureType

    @property
    def whole(self) -> Expr:
        """The feature as an operand of elementwise arithmetic: a lookup without coordinates."""
        return Load(self.name, (), self.type.kind)


@dataclass(frozen=True)
class Fields:
    """Several tensors under one name: `c.label`, `c.code`."""

    name: str
    members: Mapping[str, Feature]


@dataclass(frozen=True)
class Position:
    """The query's or key's place on a token set: `i` or `j` before an axis is chosen."""

    role: str
    tokens: TokenSet

    @property
    def coordinates(self) -> tuple[Expr, ...]:
        """One variable per axis."""
        return self.tokens.coordinates(self.role)


@dataclass(frozen=True)
class Extent:
    """The lengths of the key's axes: `extent` before an axis is chosen."""

    tokens: TokenSet
