"""Decides conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.known import Facts, Values
from attndsl_codegen.folding.walk import Kinds, in_place_of, otherwise, unfolded

_ENDS = (cst.Return, cst.Raise, cst.Continue, cst.Break)


@dataclass(frozen=True)
class Conditions:
    """Keeps the branches that can be taken, and of `and` and `or` what decides.

    With `SHAPE is None`, and `masked` unknown:

        if SHAPE is not None:
            s = SHAPE(s)              ->
        if masked and SHAPE is None:      if masked:
            s = hidden(s)                     s = hidden(s)
    """

    facts: Facts
    kinds: ClassVar[Kinds] = (
        cst.If,
        cst.IfExp,
        cst.BooleanOperation,
        cst.SimpleStatementLine,
        cst.Match,
        cst.IndentedBlock,
        cst.For,
        cst.With,
    )

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node of a kernel, folded."""
        match node:
            case cst.If():
                return self._branch(node)
            case cst.IfExp(test=test) if (truth := self.facts.truth(test)) is not None:
                return in_place_of(node, node.body if truth else node.orelse)
            case cst.BooleanOperation():
                return self._deciding(node)
            case cst.SimpleStatementLine(body=[cst.Assert(test=test)]) if self.facts.truth(test):
                return []
            case cst.Match(subject=cst.Name() | cst.Attribute() | cst.SimpleString()):
                return self._chosen(node)
            case cst.IndentedBlock():
                return _without_dead(node)
            case cst.For() | cst.With() if not node.body.body:
                return []
        return node

    def _branch(self, node: cst.If) -> Any:
        truth = self.facts.truth(node.test)
        if truth is None:
            if isinstance(node.orelse, cst.If):
                node = node.with_changes(orelse=self._otherwise(node.test, node.orelse))
            return _without_empty(node)
        if truth:
            return unfolded(node.leading_lines, node.body.body)
        match node.orelse:
            case cst.Else(body=cst.IndentedBlock(body=body)):
                return unfolded([line for line in node.leading_lines if line.comment is None], body)
            case cst.If() as other:
                return other
        return []

    def _otherwise(self, test: cst.BaseExpression, other: cst.If) -> Any:
        """An `elif`, decided by what is left when the conditions before it do not hold."""
        left = Facts({key: self._left(key, values, test) for key, values in self.facts.table.items()})
        match left.truth(other.test):
            case True:
                return otherwise(other, other.body.body)
            case False:
                return other.orelse
        if not isinstance(other.orelse, cst.If):
            return other
        return other.with_changes(orelse=Conditions(left)._otherwise(other.test, other.orelse))

    def _left(self, key: str, values: Values, test: cst.BaseExpression) -> Values:
        """The values with which a condition need not hold."""
        if len(values) < 2:
            return values
        return tuple(v for v in values if not Facts({**self.facts.table, key: (v,)}).truth(test))

    def _deciding(self, node: cst.BooleanOperation) -> Any:
        """Without the side that lets the other one decide."""
        neutral = isinstance(node.operator, cst.And)
        match self.facts.truth(node.left):
            case bool(truth):
                return in_place_of(node, node.right if truth is neutral else node.left)
        if self.facts.truth(node.right) is neutral and self.facts.values(node.left) is None:
            return in_place_of(node, node.left)
        return node

    def _chosen(self, node: cst.Match) -> Any:
        """Without the cases that cannot be."""
        subjects = self.facts.values(node.subject)
        if subjects is None or not all(isinstance(value, str) for value in subjects):
            return node
        cases: list[cst.MatchCase] = []
        left = list(subjects)
        for case in node.cases:
            taken = _taken(case.pattern, left)
            if taken is None or case.guard is not None:
                return node
            left = [value for value in left if value not in taken]
            cases += [case] if taken else []
        if len(cases) == 1 and len(subjects) > len(left):
            return unfolded(node.leading_lines, cases[0].body.body)
        return node.with_changes(cases=cases) if len(cases) < len(node.cases) else node


def _taken(pattern: cst.MatchPattern, values: list[Any]) -> list[Any] | None:
    """Which of the values a pattern takes; None if that is not known."""
    match pattern:
        case cst.MatchAs(pattern=None, name=None):
            return values
        case cst.MatchValue(value=cst.SimpleString() as text):
            return [value for value in values if value == text.evaluated_value]
    return None


def _without_empty(node: cst.If) -> Any:
    """Without branches in which nothing is left to do; conditions have no side effects."""
    if isinstance(node.orelse, cst.Else) and not node.orelse.body.body:
        node = node.with_changes(orelse=None)
    if node.body.body:
        return node
    match node.orelse:
        case None:
            return []
        case cst.Else(body=body):
            test = cst.UnaryOperation(cst.Not(), _bracketed(node.test))
            return node.with_changes(test=test, body=body, orelse=None)
    return node.with_changes(body=cst.IndentedBlock([cst.SimpleStatementLine([cst.Pass()])]))


def _bracketed(test: Any) -> Any:
    plain = cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.Comparison
    if test.lpar or isinstance(test, plain):
        return test
    return test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _without_dead(node: cst.IndentedBlock) -> cst.IndentedBlock:
    """Without what follows a statement that leaves the block."""
    for at, statement in enumerate(node.body[:-1]):
        match statement:
            case cst.SimpleStatementLine(body=[only]) if isinstance(only, _ENDS):
                return node.with_changes(body=node.body[: at + 1])
    return node
