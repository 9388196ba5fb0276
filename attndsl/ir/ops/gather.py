"""`gather(f, set, coords)`: a feature read at places of another set.

g[t] = f[coords(t)]        for every token t of `set`; coordinates may look int fields up
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import Expr
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    Lowered,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Places,
    Read,
    first_heads,
    size,
)
from attndsl.ir.ops.regroup import coords_on
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType

OUTSIDE = ("error", "zero", "clamp")


@dataclass(frozen=True)
class Gather(Op):
    """One gather; `outside` says what happens beyond the border: an error, zeros, or the nearest token."""

    keyword: ClassVar[str] = "gather"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what is read"),
        OpParameter("to", "tokens", optional=False, positional=True, help="the set of the result"),
        OpParameter("at", "places", optional=False, positional=True, help="for every token of `to`, a place"),
        OpParameter("outside", "word", words=OUTSIDE, help="what lies beyond the border"),
    )

    f: str
    source: TokenSet
    coords: tuple[Expr, ...]
    outside: str
    type: FeatureType

    @classmethod
    def domain(cls, given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
        """`i` is a token of the new set."""
        return (given["to"], given["to"]) if "to" in given else None

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks that there is one coordinate per axis."""
        f, target = args["f"], args["to"]
        coords = coords_on(f.type.tokens, args["at"], "at")
        heads = first_heads(args, f.type)
        type_ = replace(f.type, tokens=target, batch=args.extra["batch"], heads=heads, partial=False)
        return add(cls(f.name, f.type.tokens, coords, args.get("outside", "error"), type_))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """The coordinates."""
        return {f"at {axis}": coord for axis, coord in enumerate(self.coords)}

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """By one dense 0-1 matrix from places to tokens."""
        xp = context.xp
        (f,) = tensors
        extents = context.extents(self.source)
        axes = xp.meshgrid(*(xp.arange(extent) for extent in extents), indexing="ij")
        hit: Any = True
        for place, axis, extent in zip(context.places(self.type.tokens, self.coords), axes, extents):
            place = xp.as_tensor(place)
            if self.outside == "clamp":
                place = place.clamp(0, extent - 1)
            elif self.outside == "error" and bool(((place < 0) | (place >= extent)).any()):
                raise ValueError(f"gather of {self.f}: a place lies outside {self.source}")
            hit = hit & (place.unsqueeze(-1) == axis.flatten())
        found = hit.double() @ f.double()
        return found.to(f.dtype)

    def lowered(self) -> Lowered:
        """One index lookup."""
        places = Places(self.type.tokens, self.source, self.coords)
        return Lowered("gathered", (Read(self.f), places, self.source, self.outside))

    def flops(self) -> Expr:
        """Data movement only."""
        return 0 * size(self.type)
