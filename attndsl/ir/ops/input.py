"""`input`: a tensor that the caller passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from attndsl.ir.index import Expr
from attndsl.ir.ops.base import OpParameter, OracleContext
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class Input:
    """An argument of the attention, e.g. `input q : x` or `input label : x int`."""

    keyword: ClassVar[str] = "input"
    parameters: ClassVar[tuple[OpParameter, ...]] = ()

    name: str
    type: FeatureType

    @property
    def operands(self) -> tuple[str, ...]:
        """An input reads nothing."""
        return ()

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """An input computes nothing."""
        return {}

    def oracle(self, context: OracleContext, *operands: Any) -> Any:
        """Inputs are given, not computed."""
        raise TypeError(f"input {self.name} has no definition; its value is passed in")
