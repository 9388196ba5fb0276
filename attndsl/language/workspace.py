"""What is known of an attention while it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.tokens import TokenSet
from attndsl.language import syntax
from attndsl.language.expressions import Expressions
from attndsl.language.modules import Module
from attndsl.language.scope import Frame, Value


@dataclass(frozen=True, eq=False)
class Workspace:
    """The state that the checks of statements share.

    Attributes:
        frame: the attention's own scope.
        values: the program so far.
        axes: for each axis name, a token set that has it.
        poisoned: names whose own statement is wrong; nothing is said about their uses.
        results: names of the returned values.
    """

    module: Module
    attention: syntax.Attention
    expressions: Expressions
    frame: Frame
    values: list[ProgramValue] = field(default_factory=list)
    token_sets: list[TokenSet] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    poisoned: set[str] = field(default_factory=set)
    results: list[str] = field(default_factory=list)

    def evaluate(self, node: syntax.Expression, name: str) -> Value:
        """The value of an expression of the attention; an operator's result takes the name given."""
        operators = self.expressions.operators
        match node:
            case syntax.Call(function=syntax.Name(name=operator)) if (
                operator in operators and self.module.find(operator) is None
            ):
                return operators[operator](node, self.frame, name)
            case _:
                return self.expressions.value(node, self.frame)
