"""A checked program: values in SSA form, its token sets, and what it requires of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attndsl.ir.index import Expr
from attndsl.ir.ops import Attend, Input, Learn, Op
from attndsl.ir.problem import Finding, Span
from attndsl.ir.requirement import Requirement
from attndsl.ir.tokens import TokenSet
from attndsl.ir.types import KV_HEADS, FeatureType
from attndsl.ir.walk import variables

if TYPE_CHECKING:
    import networkx


OpType = TypeVar("OpType", bound=Op, covariant=True)


@dataclass(frozen=True)
class Value(Generic[OpType]):
    """One value: its name, the operator that makes it, and where that stands."""

    name: str
    op: OpType
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
        losses: auxiliary losses: the value of each.
        tunable: for some parameters, the values that a search may try.
        requirements: conditions still to be checked when sizes are known.
        warnings: what is allowed, but probably not meant.
        labels: the spec's own names for subexpressions, for readable output.
        source: the text of the file it came from.
        spec: the attention alone, as written, with its parameters and patterns.
    """

    name: str
    parameters: Mapping[str, Any]
    token_sets: tuple[TokenSet, ...]
    values: tuple[Value[Op], ...]
    results: tuple[str, ...]
    losses: Mapping[str, str] = field(default_factory=dict)
    tunable: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()
    warnings: tuple[Finding, ...] = ()
    labels: Mapping[Expr, str] = field(default_factory=dict, repr=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    spec: str = field(default="", repr=False)

    def value(self, name: str) -> Value[Op]:
        """The value of that name."""
        return next(value for value in self.values if value.name == name)

    @property
    def inputs(self) -> tuple[Value[Input], ...]:
        """The inputs, in order of declaration."""
        return tuple(Value(v.name, v.op, v.span) for v in self.values if isinstance(v.op, Input))

    @property
    def attends(self) -> tuple[Value[Attend], ...]:
        """The attends, in order."""
        return tuple(Value(v.name, v.op, v.span) for v in self.values if isinstance(v.op, Attend))

    @property
    def learned(self) -> tuple[Value[Learn], ...]:
        """The learned tensors and the state, in order."""
        return tuple(Value(v.name, v.op, v.span) for v in self.values if isinstance(v.op, Learn))

    @property
    def computed(self) -> tuple[Value[Op], ...]:
        """The values that the program computes, in order."""
        return tuple(v for v in self.values if not isinstance(v.op, Input | Learn))

    @property
    def updates(self) -> tuple[Value[Op], ...]:
        """The values that replace state after a step of training."""
        return tuple(v for v in self.values if v.op.updates)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The unknown extents, in order of first use."""
        extents = [axis.extent for tokens in self.token_sets for axis in tokens.axes]
        return tuple(dict.fromkeys(name for extent in extents for name in sorted(variables(extent))))

    @property
    def grouped(self) -> bool:
        """Whether some input may have fewer heads than the queries (GQA)."""
        return any(value.type.heads is KV_HEADS for value in self.inputs)

    def graph(self) -> networkx.DiGraph:
        """The values as a directed graph, from operands to results."""
        import networkx

        graph = networkx.DiGraph()
        for value in self.values:
            graph.add_node(value.name, op=value.op)
            graph.add_edges_from((operand, value.name) for operand in value.op.operands)
        return graph
