"""`split(f, count)`: the width of a feature without heads, dealt out to heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
)
from attndsl.ir.ops.checks import real
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Split(Op):
    """`(batch, tokens, count * width)` becomes `(batch, count, tokens, width)`; each head gets a stretch."""

    keyword: ClassVar[str] = "split"
    copies: ClassVar[bool] = False
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "features", optional=False, positional=True, help="features without heads"),
        OpParameter("count", "number", optional=False, help="how many heads", positional=True),
    )

    f: str
    count: Expr
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand | tuple[Operand, ...]:
        """One result per feature.

        Raises:
            IllTyped: a feature has heads already, no width, or one that the heads do not divide.
        """
        count: Expr = args["count"]
        results = []
        for at, f in enumerate(args["f"]):
            real(f, "split", "f", at)
            if f.type.heads is not None or f.type.width is None:
                what = f"`split` needs a feature without heads, but `{f}` is {f.type.shape_words}"
                remedy = (
                    f"merge its heads first: split(flat({f}), ...)"
                    if f.type.width is not None
                    else "use a feature"
                )
                raise IllTyped(WrongOperand(what, "", remedy), "f", at)
            match f.type.width, count:
                case _, Const(int() as heads) if heads < 1:
                    what = f"a feature cannot have {heads} heads"
                    raise IllTyped(WrongOperand(what, "", "split into at least 1"), "count")
                case Const(int() as width), Const(int() as heads) if width % heads:
                    what = f"a width of {width} does not divide into {heads} heads"
                    raise IllTyped(WrongOperand(what, "", "choose a count that divides the width"), "count")
            type_ = replace(f.type.value, heads=count, width=f.type.width // count)
            results.append(add(cls(f.name, count, type_), str(at) if len(args["f"]) > 1 else ""))
        return results[0] if len(results) == 1 else tuple(results)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature."""
        return (self.f,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Head by head."""
        (f,) = tensors
        count = int(context.size(self.count))
        if f.shape[-1] % count:
            raise ValueError(f"{self.f}: width {f.shape[-1]} does not divide into {count} heads")
        return context.xp.cat(f.chunk(count, -1), 1)

    def lowered(self) -> Lowered:
        """A view."""
        return Lowered("split_heads", (Read(self.f), self.count))
