"""`rotary(f, base)`: rotary positions (Su et al., RoFormer, 2021).

Channels c and c + width/2 turn by the angle position * base ** (-2 c / width), the layout of GPT-NeoX and
Llama. On a grid the width is cut into equal parts, one per axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import Const, Expr
from attndsl.ir.ops.base import (
    OFFSET,
    Arguments,
    Builder,
    IllTyped,
    Lowered,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Read,
    WrongOperand,
    size,
)
from attndsl.ir.ops.checks import real_width
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Rotary(Op):
    """One rotation by the token's own coordinates."""

    keyword: ClassVar[str] = "rotary"
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="queries or keys"),
        OpParameter("base", "number", positional=True, help="10000 by default"),
    )

    f: str
    base: Expr
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Checks the width where it is known.

        Raises:
            IllTyped: no width, or one that does not divide into two halves per axis.
        """
        f = args["f"]
        real_width(f, "rotary")
        axes = len(f.type.tokens.axes)
        match f.type.width:
            case Const(int() as width) if width % (2 * axes):
                what = f"a width of {width} does not divide into two halves for each of {axes} axes"
                raise IllTyped(WrongOperand(what, "", f"use a multiple of {2 * axes}"), "f")
        return add(cls(f.name, args.get("base", Const(10000.0)), f.type.value))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Complex multiplication, channel pair by channel pair."""
        xp = context.xp
        (f,) = tensors
        axes = context.extents(self.type.tokens)
        grid = xp.meshgrid(*(xp.arange(extent) for extent in axes), indexing="ij")
        turned = []
        for part, position in zip(f.chunk(len(axes), -1), grid):
            half = part.shape[-1] // 2
            rate = float(context.size(self.base)) ** (-xp.arange(half, dtype=f.dtype) / half)
            angle = position.flatten().to(f.dtype).unsqueeze(-1) * rate
            pairs = xp.complex(part[..., :half], part[..., half:]) * xp.polar(xp.ones_like(angle), angle)
            turned += [pairs.real, pairs.imag]
        return xp.cat(turned, -1)

    def lowered(self) -> Lowered:
        """Two products with cosines and sines."""
        return Lowered("rotated", (Read(self.f), self.type.tokens, self.base, OFFSET))

    def flops(self) -> Expr:
        """Three per element."""
        return 3 * size(self.type)
