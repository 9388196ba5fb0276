"""`channels(f)`: tokens and width change places, so that channels attend to each other."""

from __future__ import annotations

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
    Read,
)
from attndsl.ir.ops.checks import real_width
from attndsl.ir.tokens import Axis, Channels, TokenSet
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class SwapChannels(Op):
    """`(batch, heads, tokens, width)` becomes `(batch, heads, width, tokens)`, and back."""

    keyword: ClassVar[str] = "channels"
    copies: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="the feature to transpose"),
    )

    f: str
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Swaps; channels of channels are the tokens again.

        Raises:
            IllTyped: the feature has no width.
        """
        f = args["f"]
        own_width = real_width(f, "channels")
        tokens = f.type.tokens
        match tokens.origin:
            case Channels(parent=parent):
                turned, width = parent, tokens.axes[0].extent
            case _:
                axis = Axis("c", own_width)
                turned, width = (
                    TokenSet(f"channels of {tokens.name}", (axis,), Channels(tokens)),
                    count(tokens),
                )
        return add(cls(f.name, replace(f.type.value, tokens=turned, width=width)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """A transpose."""
        return tensors[0].transpose(-1, -2)

    def lowered(self) -> Lowered:
        """A view."""
        return Lowered("swapped_channels", (Read(self.f),))


def count(tokens: TokenSet) -> Expr:
    """How many tokens a set has, as an expression."""
    total: Any = tokens.axes[0].extent
    for axis in tokens.axes[1:]:
        total = total * axis.extent
    return total
