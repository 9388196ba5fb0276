"""`depthwise(f, 3)` and `conv(f, 3)`: learned convolutions along the token axes, zero beyond the border.

y[i, c] = sum over o of f[i + o - size // 2, c] * W[o, c]       depthwise: every head and channel alone
y[i, :] = sum over o of f[i + o - size // 2, :] @ W[o]          conv: channels of a head (or of a flat
                                                                feature) mix
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

from attndsl.ir.index import Const, Expr
from attndsl.ir.ops.base import (
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
from attndsl.ir.ops.checks import chosen_width, real_width
from attndsl.ir.ops.input import Learn
from attndsl.ir.tokens import Axis, TokenSet
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Depthwise(Op):
    """One convolution; every channel has its own kernel."""

    keyword: ClassVar[str] = "depthwise"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what is convolved"),
        OpParameter("size", "number", optional=False, positional=True, help="odd, along every axis"),
    )

    f: str
    weight: str
    size: int
    source: FeatureType
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Adds the weights and the convolution.

        Raises:
            IllTyped: an even or varying size, more than three axes, or no width.
        """
        f, extent = args["f"], _odd(args)
        _checked_width(f, cls.keyword)
        axes = tuple(Axis(axis.name, Const(extent)) for axis in f.type.tokens.axes)
        terms = Const(extent ** len(axes))
        shape = FeatureType(
            TokenSet(f"kernel of {args.name}", axes), batch=False, heads=f.type.heads, width=f.type.width
        )
        weight = add(Learn(shape, "uniform", terms), "weight")
        return add(cls(f.name, weight.name, extent, f.type, f.type.value))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature and the weights."""
        return self.f, self.weight

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Offset by offset."""
        f, weight = tensors
        total: Any = 0.0
        for at, moved in enumerate(_shifted(context, f, self.source.tokens, self.size)):
            total = total + moved * weight[:, :, at : at + 1]
        return total

    def lowered(self) -> Lowered:
        """One torch convolution with as many groups as channels."""
        return Lowered("depthwise", (Read(self.f), Read(self.weight), self.source.tokens, self.size))

    def flops(self) -> Expr:
        """Two per element and offset."""
        return 2 * self.size ** len(self.source.tokens.axes) * size(self.source)


@dataclass(frozen=True)
class Conv(Op):
    """One convolution that mixes the channels."""

    keyword: ClassVar[str] = "conv"
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        *Depthwise.parameters,
        OpParameter("width", "number", help="the width of the result; that of f by default"),
    )

    f: str
    weight: str
    size: int
    source: FeatureType
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """Adds the weights and the convolution.

        Raises:
            IllTyped: as for `depthwise`.
        """
        f, extent = args["f"], _odd(args)
        from_width = _checked_width(f, cls.keyword)
        width = chosen_width(args, from_width)
        axes = tuple(Axis(axis.name, Const(extent)) for axis in f.type.tokens.axes)
        fan_in = extent ** len(axes) * from_width
        tokens = TokenSet(f"kernel of {args.name}", (*axes, Axis("from", from_width)))
        shape = FeatureType(tokens, batch=False, heads=f.type.heads, width=width)
        weight = add(Learn(shape, "uniform", fan_in), "weight")
        return add(cls(f.name, weight.name, extent, f.type, replace(f.type.value, width=width)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature and the weights."""
        return self.f, self.weight

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Offset by offset, one product each."""
        f, weight = tensors
        every = weight.unflatten(2, (-1, f.shape[-1]))
        total: Any = 0.0
        for at, moved in enumerate(_shifted(context, f, self.source.tokens, self.size)):
            total = total + moved @ every[:, :, at]
        return total

    def lowered(self) -> Lowered:
        """One torch convolution with as many groups as heads."""
        return Lowered("convolved", (Read(self.f), Read(self.weight), self.source.tokens, self.size))

    def flops(self) -> Expr:
        """Two per element, offset and channel of the result."""
        assert self.type.width is not None
        return 2 * self.size ** len(self.source.tokens.axes) * size(self.source) * self.type.width


def _shifted(context: OracleContext, f: Any, tokens: TokenSet, extent: int) -> Any:
    """The feature moved by every offset of the kernel, zeros beyond the border."""
    xp = context.xp
    extents = context.extents(tokens)
    grid = f.unflatten(2, extents)
    for offset in product(range(extent), repeat=len(extents)):
        moved = grid
        for axis, step in enumerate(offset):
            places = xp.arange(extents[axis]) + step - extent // 2
            inside = (places >= 0) & (places < extents[axis])
            shape = [1] * moved.dim()
            shape[2 + axis] = -1
            kept = moved.index_select(2 + axis, places.clamp(0, extents[axis] - 1))
            moved = xp.where(inside.view(shape), kept, 0.0)
        yield moved.flatten(2, -2)


def _odd(args: Arguments) -> int:
    match args["size"]:
        case Const(int() as extent) if extent % 2 == 1 and 1 <= extent <= 63:
            return extent
    what = "the size of a convolution is an odd constant up to 63"
    raise IllTyped(WrongOperand(what, "", "write e.g. 3 or 5"), "size")


def _checked_width(f: Operand, keyword: str) -> Expr:
    width = real_width(f, keyword)
    if len(f.type.tokens.axes) > 3:
        what = f"`{keyword}` runs along at most three axes, and {f.type.tokens} has more"
        raise IllTyped(WrongOperand(what, "", "convolve a set with fewer axes"), "f")
    return width
