"""`input`, `learn` and state: tensors that come from outside the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attndsl.ir.index import Expr
from attndsl.ir.ops.base import Op
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Input(Op):
    """An argument of the attention, e.g. `input q : x` or `input label : x int`."""

    keyword: ClassVar[str] = "input"

    type: FeatureType


@dataclass(frozen=True)
class Learn(Op):
    """A learned tensor: `learn table : [13, 13] scalar`, or the weights of an operator.

    Attributes:
        init: how it starts: `normal` (deviation 0.02), `uniform` (within fan_in ** -0.5), `ones`, `zeros`.
        fan_in: how many terms are summed with these weights.
        state: a buffer that training updates without gradient.
    """

    keyword: ClassVar[str] = "learn"

    type: FeatureType
    init: Literal["normal", "uniform", "ones", "zeros"] = "normal"
    fan_in: Expr | None = None
    state: bool = False
