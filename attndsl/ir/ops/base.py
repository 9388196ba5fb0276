"""What an operator is: its parameters, its typing and its meaning, all in one file per operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from attndsl.ir.index import Expr
from attndsl.ir.problem import Problem
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType


@dataclass(frozen=True)
class OpParameter:
    """A parameter of an operator as a spec writes it.

    Roles: `feature` is a tensor value; `condition`, `real` and `score` are pair expressions over the
    operator's query and key tokens (`score` may use `s`); `number` is an expression without a pair.
    """

    name: str
    role: Literal["feature", "condition", "real", "score", "number"]
    optional: bool = True
    help: str = ""


@dataclass(frozen=True)
class OracleContext:
    """What an operator's oracle may use.

    Attributes:
        xp: the tensor namespace (torch).
        pairs: evaluates pair expressions of one (query set, key set) to dense tensors.
        rows: the query tokens to compute, where a sample is enough; None for all.
    """

    xp: Any
    pairs: Callable[[TokenSet, TokenSet, Any], PairValues]
    rows: Any = None


class PairValues(Protocol):
    """Dense values of pair expressions, broadcastable to (batch, heads, queries, keys)."""

    def __call__(self, expr: Expr, visible: Any = None, **extra: Any) -> Any:
        """The value of an expression.

        Args:
            expr: the expression.
            visible: the pairs through which fields get a gradient; all if None.
            extra: values of further variables.
        """
        ...


class IllTyped(Exception):
    """An operator refuses its operands; `argument` names the one to point at."""

    def __init__(self, problem: Problem, argument: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.argument = argument


class Op(Protocol):
    """An operator instance: a frozen dataclass whose fields name its operands and hold its expressions."""

    keyword: ClassVar[str]
    parameters: ClassVar[tuple[OpParameter, ...]]

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the values it reads."""
        ...

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """Its pair and number expressions by parameter name."""
        ...

    @property
    def type(self) -> FeatureType:
        """The type of its result."""
        ...

    def oracle(self, context: OracleContext, *operands: Any) -> Any:
        """The exact, dense value."""
        ...
