"""A checked program: values in SSA form, its token sets, and what it requires of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attndsl.ir.index import Expr
from attndsl.ir.ops import Attend, Input
from attndsl.ir.problem import Span
from attndsl.ir.requirement import Requirement
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import FeatureType, Heads

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Value:
    """One value: its name, the operator that makes it, and where that stands."""

    name: str
    op: Input | Attend
    span: Span

    @property
    def type(self) -> FeatureType:
        """The value's type."""
        return self.op.type


@dataclass(frozen=True)
class Program:
    """An attention, immutable once checked.

    Attributes:
        name: the attention's name.
        parameters: its parameters with the values in force.
        token_sets: in order of declaration.
        values: operands before the operators that read them.
        results: names of the returned values.
        requirements: conditions still to be checked when sizes are known.
        labels: the spec's own names for subexpressions, for readable output.
        source: the text of the file it came from.
        spec: the attention alone, as written, with its parameters and patterns.
    """

    name: str
    parameters: Mapping[str, Any]
    token_sets: tuple[TokenSet, ...]
    values: tuple[Value, ...]
    results: tuple[str, ...]
    requirements: tuple[Requirement, ...] = ()
    labels: Mapping[Expr, str] = field(default_factory=dict, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    spec: str = field(default="", repr=False)

    def value(self, name: str) -> Value:
        """The value of that name."""
        return next(value for value in self.values if value.name == name)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The inputs, in order of declaration."""
        return tuple(value for value in self.values if isinstance(value.op, Input))

    @property
    def attends(self) -> tuple[Value, ...]:
        """The attends, in order."""
        return tuple(value for value in self.values if isinstance(value.op, Attend))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The unknown extents, in order of first use."""
        names = [v for tokens in self.token_sets for axis in tokens.axes for v in sorted(_names(axis.extent))]
        return tuple(dict.fromkeys(names))

    @property
    def grouped(self) -> bool:
        """Whether some input may have fewer heads than the queries (GQA)."""
        return any(value.type.heads is Heads.KV for value in self.inputs)

    def graph(self) -> networkx.DiGraph:
        """The values as a directed graph, from operands to results."""
        import networkx

        graph = networkx.DiGraph()
        for value in self.values:
            graph.add_node(value.name, op=value.op)
            graph.add_edges_from((operand, value.name) for operand in value.op.operands)
        return graph


def _names(expr: Expr) -> set[str]:
    from attndsl.ir.walk import variables

    return variables(expr)
