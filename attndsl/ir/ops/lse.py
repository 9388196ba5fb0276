"""`z.lse`: the log-sum-exp of a softmax attention, one number per query and head, differentiable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from attndsl.ir.ops.base import Lowered, Op, Operand, OracleContext, Read
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class LogSumExp(Op):
    """The log-sum-exp of a partial."""

    keyword: ClassVar[str] = "lse"
    copies: ClassVar[bool] = False
    along_tokens: ClassVar[bool] = False

    z: str
    type: FeatureType

    @classmethod
    def of(cls, z: Operand) -> LogSumExp:
        """That of a partial."""
        return cls(z.name, replace(z.type.value, width=None))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The partial."""
        return (self.z,)

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The number that the attend left beside its output."""
        return context.lse(self.z).unsqueeze(-1)

    def lowered(self) -> Lowered:
        """A view."""
        return Lowered("as_scalar", (Read(self.z, "_lse"),))
