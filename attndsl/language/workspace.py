"""What is known of an attention while it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from attndsl.diagnostics import fail
from attndsl.ir.index import Expr, Load
from attndsl.ir.ops import Elementwise, Op
from attndsl.ir.problem import Span
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.tokens import Pairs, TokenSet
from attndsl.ir.types import DoNotBroadcast, FeatureType, broadcast
from attndsl.ir.walk import postorder
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.expressions import Expressions
from attndsl.language.modules import Module
from attndsl.language.scope import Frame, Value
from attndsl.language.values import Feature


@dataclass(frozen=True, eq=False)
class Workspace:
    """The state that the checks of statements share.

    Attributes:
        frame: the attention's own scope.
        values: the program so far.
        axes: for each axis name, a token set that has it.
        poisoned: names whose own statement is wrong; nothing is said about their uses.
        widths: the widths of the inputs, in order of declaration.
        losses: names of auxiliary losses, with the values they have.
        tunable: the values that parameters may take when settings are searched.
        results: names of the returned values.
        reserved: names that the spec binds itself, which unnamed results must not take.
    """

    module: Module
    attention: syntax.Attention
    expressions: Expressions
    frame: Frame
    values: list[ProgramValue] = field(default_factory=list)
    token_sets: list[TokenSet] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    widths: list[Expr] = field(default_factory=list)
    losses: dict[str, str] = field(default_factory=dict)
    tunable: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    poisoned: set[str] = field(default_factory=set)
    results: list[str] = field(default_factory=list)
    reserved: set[str] = field(default_factory=set)
    _elementwise: dict[Expr, Feature] = field(default_factory=dict)

    @property
    def types(self) -> dict[str, FeatureType]:
        """The types of all values so far."""
        return {value.name: value.type for value in self.values}

    def add(self, op: Op, name: str, span: Span) -> ProgramValue:
        """Adds a value, under this name or the next one that is free."""
        taken = {value.name for value in self.values} | self.reserved
        unique = next(option for n in count(1) if (option := f"{name}{n if n > 1 else ''}") not in taken)
        value = ProgramValue(unique, op, span)
        self.values.append(value)
        return value

    def as_feature(self, value: Value, name: str, span: Span) -> Feature | None:
        """A value as a tensor; arithmetic between tensors becomes a value of its own."""
        if isinstance(value, Feature):
            return value
        if not isinstance(value, Expr):
            return None
        operands = whole_features(value)
        if not operands:
            return None
        if value not in self._elementwise:
            type_ = elementwise_type(value, self.types, span)
            added = self.add(Elementwise(value, type_), name, span)
            self._elementwise[value] = Feature(added.name, type_)
        return self._elementwise[value]


def whole_features(expr: Expr) -> list[str]:
    """The features that stand in an expression as a whole."""
    return [node.field for node in postorder([expr]) if isinstance(node, Load) and not node.coords]


def elementwise_type(expr: Expr, types: Mapping[str, FeatureType], span: Span) -> FeatureType:
    """The type of arithmetic between features.

    Raises:
        AttnError: the features do not go together.
    """
    try:
        type_ = broadcast(types[name] for name in whole_features(expr))
    except DoNotBroadcast as problem:
        what = f"these tensors do not go together: {problem}"
        raise fail(p.WrongOperand(what, "", problem.remedy), span) from None
    if isinstance(type_.tokens.origin, Pairs):
        raise fail(p.OnPairs("arithmetic between tensors"), span)
    return replace(type_, kind=expr.kind)
