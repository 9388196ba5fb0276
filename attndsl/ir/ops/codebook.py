"""`codebook(k, codes)`: every token replaced by its nearest codeword (van den Oord et al., VQ-VAE, 2017).

    c.label   the nearest codeword of each token, the lowest index among equals
    c.code    the codewords, on a set of their own; no gradient reaches them
    c.hat     the token's codeword, with the gradient of the token itself (straight through)
    c.count   how many tokens each codeword stands for
    c.loss    mean squared distance of the tokens from their codewords, with gradient to the tokens alone

While training, codewords follow the mean of their tokens: weights and sums decay by `decay` per step, and
a codeword is the ratio of the two (at least 0.01 of weight), as in Lingle, Transformer-VQ, 2023. The step
is a pure function of inputs, state and training; the codewords in use are those before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.index import Const, Expr, Load
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    IllTyped,
    Lowered,
    Op,
    OpParameter,
    OracleContext,
    Read,
    Record,
    WrongOperand,
    size,
)
from attndsl.ir.ops.checks import real_width
from attndsl.ir.ops.input import Learn
from attndsl.ir.ops.regroup import Regroup
from attndsl.ir.tokens import QUERY, SINGLE, Axis, Codes, TokenSet
from attndsl.ir.types import FeatureType

SMALLEST_WEIGHT = 0.01
"""Codewords that stand for less are not divided by it."""


@dataclass(frozen=True)
class Nearest(Op):
    """The number of the nearest codeword; a decision, without gradient."""

    keyword: ClassVar[str] = "codebook"
    along_tokens: ClassVar[bool] = False
    discrete: ClassVar[bool] = True
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("f", "feature", optional=False, positional=True, help="what is quantised"),
        OpParameter("codes", "number", optional=False, positional=True, help="how many codewords"),
        OpParameter("decay", "number", help="how slowly codewords follow their tokens; 0.99 by default"),
    )

    f: str
    code: str
    width: Expr
    type: FeatureType

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Record:
        """Adds the state and everything that a spec can ask of a codebook.

        Raises:
            IllTyped: no width, or a number of codewords that is not known.
        """
        f = args["f"]
        width = real_width(f, "codebook")
        match args["codes"]:
            case Const(int() as count) if count >= 1:
                codes = TokenSet(f"codes of {args.name}", (Axis("code", Const(count)),), Codes())
            case _:
                what = "the number of codewords is a constant from 1"
                raise IllTyped(
                    WrongOperand(what, "", "write it as a number or a parameter, e.g. 512"), "codes"
                )
        shape = FeatureType(codes, batch=False, heads=f.type.heads, width=width)
        code = add(Learn(shape, "normal", state=True), "code")
        weight_type = replace(shape, width=None)
        weight = add(Learn(weight_type, "ones", state=True), "weight")
        label_type = replace(f.type.value, kind="int", width=None, labels=codes)
        label = add(cls(f.name, code.name, f.type.width, label_type), "label")
        hat = add(Assigned(f.name, code.name, label.name, f.type.value), "hat")
        lookup = Load(label.name, f.type.tokens.coordinates(QUERY), "int")
        count_type = FeatureType(codes, batch=True, heads=f.type.heads)
        number = add(Regroup(None, "count", f.type.tokens, (lookup,), count_type), "count")
        loss_type = FeatureType(SINGLE, batch=False, heads=None)
        loss = add(Commitment(f.name, code.name, label.name, f.type, loss_type), "loss")
        decay = args.get("decay", Const(0.99))
        names = (f.name, code.name, weight.name, label.name)
        add(FollowTokens(*names, decay, replace(shape, partial=False)), "step")
        return Record({"code": code, "label": label, "hat": hat, "count": number, "loss": loss})

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tokens and codewords."""
        return self.f, self.code

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """All distances, directly."""
        return _distances(context.xp, *tensors).argmin(-1, keepdim=True)

    def regret(self, context: OracleContext, choice: Any, *tensors: Any) -> float:
        """Squared distances beyond the least, relative to the largest that was compared."""
        distance = _distances(context.xp, *tensors)
        own = distance.gather(-1, choice.long())
        return float((own - distance.amin(-1, keepdim=True)).max() / distance.amax())

    def lowered(self) -> Lowered:
        """Distances by one matrix product."""
        return Lowered("nearest_code", (Read(self.f), Read(self.code)))

    def flops(self) -> Expr:
        """One product with every codeword."""
        return 2 * size(self.type) * self.width * self.codes.axes[0].extent

    @property
    def codes(self) -> TokenSet:
        """The codewords' set."""
        assert self.type.labels is not None
        return self.type.labels


@dataclass(frozen=True)
class Assigned(Op):
    """The codeword of each token; its gradient goes to the token as if it were the token."""

    along_tokens: ClassVar[bool] = False

    f: str
    code: str
    label: str
    type: FeatureType

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tokens, codewords, labels."""
        return self.f, self.code, self.label

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The token plus a constant difference."""
        f, code, label = tensors
        return f + (chosen_codes(code, label) - f).detach()

    def lowered(self) -> Lowered:
        """A lookup."""
        return Lowered("assigned_code", (Read(self.f), Read(self.code), Read(self.label)))


@dataclass(frozen=True)
class Commitment(Op):
    """The mean squared distance between tokens and codewords."""

    f: str
    code: str
    label: str
    source: FeatureType
    type: FeatureType

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tokens, codewords, labels."""
        return self.f, self.code, self.label

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Summed over the width, averaged over the rest."""
        f, code, label = tensors
        return ((f - chosen_codes(code, label).detach()) ** 2).sum(-1).mean().view(1, 1, 1, 1)

    def lowered(self) -> Lowered:
        """A lookup and a mean."""
        return Lowered("commitment", (Read(self.f), Read(self.code), Read(self.label)))

    def flops(self) -> Expr:
        """Three per element."""
        return 3 * size(self.source)


@dataclass(frozen=True)
class FollowTokens(Op):
    """Codewords and weights after one step of training."""

    f: str
    code: str
    weight: str
    label: str
    decay: Expr
    type: FeatureType

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tokens, codewords, weights, labels."""
        return self.f, self.code, self.weight, self.label

    @property
    def updates(self) -> tuple[str, ...]:
        """Codewords and weights."""
        return self.code, self.weight

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Decayed sums over decayed weights."""
        xp = context.xp
        f, code, weight, label = (tensor.detach() for tensor in tensors)
        decay = float(context.size(self.decay))
        goes = (label == xp.arange(code.shape[2])).to(f.dtype)  # (batch, heads, tokens, codes)
        total = decay * code * weight.clamp(min=SMALLEST_WEIGHT)
        total = total + (1 - decay) * (goes.transpose(-1, -2) @ f).sum(0, keepdim=True)
        weight = decay * weight + (1 - decay) * goes.sum((0, 2)).unsqueeze(0).unsqueeze(-1)
        return total / weight.clamp(min=SMALLEST_WEIGHT), weight

    def lowered(self) -> Lowered:
        """Two scatters."""
        reads = (Read(self.f), Read(self.code), Read(self.weight), Read(self.label))
        return Lowered("followed_tokens", (*reads, self.decay), ("_code", "_weight"))


def _distances(xp: Any, f: Any, code: Any) -> Any:
    """Squared distances of every token from every codeword, by differences: products would cancel."""
    code = code.detach().expand(f.shape[0], *code.shape[1:])
    return xp.cdist(f.detach(), code, compute_mode="donot_use_mm_for_euclid_dist") ** 2


def chosen_codes(code: Any, label: Any) -> Any:
    """The codewords of labels (batch, heads, tokens, 1)."""
    every = code.expand(label.shape[0], label.shape[1], *code.shape[2:])
    return every.gather(2, label.expand(*label.shape[:3], code.shape[-1]).long())
