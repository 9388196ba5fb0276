"""Types of the values that flow through a program.

A tensor value is a *feature*: it lives on a token set and may have a batch axis, heads and a width.
Broadcasting follows these types, never shapes. Expressions over a query and a key are *pair
expressions*; they are `ir.index.Expr` and carry their kind (int, bool or real) themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from attndsl.ir.functions import Kind
from attndsl.ir.tokens import TokenSet


class Heads(Enum):
    """Which head axis a feature has."""

    NONE = "none"
    """No head axis: one value for all heads (labels, flat features)."""
    QUERY = "query"
    """One slice per query head."""
    KV = "kv"
    """One slice per key/value head; each serves a group of query heads (GQA)."""


@dataclass(frozen=True)
class FeatureType:
    """The type of a tensor over tokens: `(batch, heads, *tokens, width)`, axes it lacks left out.

    Attributes:
        tokens: the token set, or None for values that live on no tokens.
        kind: what the elements are.
        batch: whether there is a batch axis.
        heads: which head axis there is.
        width: the name of the input whose width this has (`q` for `q.width`), or None for no width.
    """

    tokens: TokenSet | None
    kind: Kind = "real"
    batch: bool = True
    heads: Heads = Heads.QUERY
    width: str | None = None

    def with_heads(self, heads: Heads) -> FeatureType:
        """The same type with another head axis."""
        return replace(self, heads=heads)

    @property
    def shape_words(self) -> str:
        """The tensor's axes in words, e.g. `(batch, heads, h, w, width)`."""
        parts = ["batch"] if self.batch else []
        if self.heads is not Heads.NONE:
            parts.append("heads" if self.heads is Heads.QUERY else "kv heads")
        parts += self.tokens.axis_names if self.tokens else []
        parts += ["width"] if self.width else []
        return f"({', '.join(parts)})"
