"""`project(f)`: a learned linear map of the width, one for all heads or one per head, or one per class.

y = f @ W                      W: (width, width of y); per head where f has heads; without a bias term
y[i] = f[i] @ W[class[i]]      project(f, by = class, classes = 3)
"""

from __future__ import annotations

from collections.abc import Mapping
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
    size,
)
from attndsl.ir.ops.checks import chosen_width, real_width
from attndsl.ir.ops.input import Learn
from attndsl.ir.tokens import Axis, TokenSet
from attndsl.ir.types import FeatureType

ONE = Const(1)


@dataclass(frozen=True)
class Project(Op):
    """One projection by weights that are learned beside it."""

    keyword: ClassVar[str] = "project"
    along_tokens: ClassVar[bool] = False
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what is projected"),
        OpParameter("count", "number", positional=True, help="how many projections: q, k, v = project(y, 3)"),
        OpParameter("width", "number", help="the width of the result; that of f by default"),
        OpParameter("by", "feature", help="an int field: the class whose weights a token uses"),
        OpParameter("classes", "number", help="how many classes there are"),
    )

    f: str
    weight: str
    classes: str | None
    source: FeatureType
    type: FeatureType
    kinds: Expr = ONE

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand | tuple[Operand, ...]:
        """Adds the weights and the projections.

        Raises:
            IllTyped: no width, or `by` without the number of classes.
        """
        f, classes = args["f"], args.get("by")
        from_width = real_width(f, "project")
        _check_classes(f, classes, args)
        width = chosen_width(args, from_width)
        count = _count(args)
        results = []
        for at in range(count):
            suffix = str(at) if count > 1 else ""
            axes = (Axis("from", from_width),)
            if classes is not None:
                axes = (Axis("class", args["classes"]), *axes)
            tokens = TokenSet(f"weights{suffix} of {args.name}", axes)
            shape = FeatureType(tokens, batch=False, heads=f.type.heads, width=width)
            weight = add(Learn(shape, "uniform", from_width), f"weight{suffix}")
            by = None if classes is None else classes.name
            type_ = replace(f.type.value, width=width)
            kinds = args.get("classes", ONE)
            results.append(add(cls(f.name, weight.name, by, f.type, type_, kinds), suffix))
        return results[0] if count == 1 else tuple(results)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The feature, the weights, the classes."""
        return (self.f, self.weight, *(() if self.classes is None else (self.classes,)))

    @property
    def numbered(self) -> Mapping[str, Expr]:
        """The classes."""
        return {} if self.classes is None else {self.classes: self.kinds}

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """A product, token by token where there are classes."""
        f, weight, *classes = tensors
        if not classes:
            return f @ weight
        every = weight.unflatten(2, (-1, f.shape[-1]))  # (1, heads, classes, from, width)
        chosen = every[0][:, classes[0][..., 0].long()[:, 0]]  # (heads, batch, tokens, from, width)
        return context.xp.einsum("bhtf,hbtfw->bhtw", f, chosen.expand(f.shape[1], *chosen.shape[1:]))

    def lowered(self) -> Lowered:
        """One matrix product, or one per class."""
        if self.classes is None:
            return Lowered("projected", (Read(self.f), Read(self.weight)))
        return Lowered("projected_by_class", (Read(self.f), Read(self.weight), Read(self.classes)))

    def flops(self) -> Expr:
        """Two per element and weight."""
        assert self.type.width is not None
        return 2 * size(self.source) * self.type.width


def _count(args: Arguments) -> int:
    match args.get("count", Const(1)):
        case Const(int() as count) if 1 <= count <= 64:
            return count
    what = "the number of projections is a constant from 1 to 64"
    raise IllTyped(WrongOperand(what, "", "write e.g. q, k, v = project(y, 3)"), "count")


def _check_classes(f: Operand, classes: Operand | None, args: Arguments) -> None:
    if (classes is None) != ("classes" not in args):
        remedy = "say which class a token has and how many there are: by = class, classes = 3"
        raise IllTyped(
            WrongOperand("`by` and `classes` go together", "", remedy), "by" if classes else "classes"
        )
    if classes is not None and (classes.type.kind != "int" or classes.type.heads is not None):
        what = f"`by` needs an int field without heads, and `{classes}` is none"
        raise IllTyped(WrongOperand(what, "", f"declare one: input class : {f.type.tokens.name} int"), "by")
    if classes is not None and not classes.type.tokens.matches(f.type.tokens):
        what = f"the classes live on {classes.type.tokens}, `{f}` on {f.type.tokens}"
        raise IllTyped(
            WrongOperand(
                what, "", f"declare the classes on the same tokens: input class : {f.type.tokens.name} int"
            ),
            "by",
        )
