"""Checks an attention, statement by statement, and builds its program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic, fail
from attndsl.ir.index import Expr
from attndsl.ir.ops import OPS, Input, Learn, LogSumExp, Operand
from attndsl.ir.problem import Span
from attndsl.ir.program import Program
from attndsl.ir.tokens import Pairs
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.assemble import assemble
from attndsl.language.declarations import (
    declare_input,
    declare_learned,
    declare_tokens,
    unseen_extents,
)
from attndsl.language.expressions import Expressions
from attndsl.language.modules import Module
from attndsl.language.operators import call_operator
from attndsl.language.parameters import as_value, check_like, plain
from attndsl.language.patterns import bind_local
from attndsl.language.requirements import require
from attndsl.language.scope import Binding, Deferred, Frame, Pair, Value, describe
from attndsl.language.static import continued_line
from attndsl.language.values import Feature
from attndsl.language.vocabulary import RESERVED, is_operator_call, suggest
from attndsl.language.workspace import Workspace, elementwise_type, whole_features


class ProgramChecker:
    """Builds the program of one attention.

    Args:
        module: the file it is in.
        attention: its syntax.
        given: values of parameters set from outside.
    """

    def __init__(self, module: Module, attention: syntax.Attention, given: Mapping[str, Any]) -> None:
        self.given = given
        operators = {name: partial(self._operator, name) for name in OPS}
        self.work = Workspace(module, attention, Expressions(operators), Frame(module, {}))
        self.work.expressions.check_elementwise = self._check_elementwise
        self.work.expressions.log_sum_exp = self._log_sum_exp
        self.work.reserved.update(
            name.name for statement in attention.body for name in syntax.bound_names(statement)
        )
        self.deferred: list[Deferred] = []
        self.found: list[Diagnostic] = []

    def run(self) -> Program:
        """The checked program.

        Raises:
            AttnError: with every problem found.
        """
        self._parameters()
        for statement in self.work.attention.body:
            try:
                self._statement(statement)
            except AttnError as error:
                self._report(error)
                self.work.poisoned.update(name.name for name in syntax.bound_names(statement))
        name = self.work.attention.name
        if not any(isinstance(statement, syntax.Return) for statement in self.work.attention.body):
            self.found.append(Diagnostic(p.NoReturn(name.name), name.span))
        self._check_unused()
        if not self.found:
            self.found += unseen_extents(self.work)
        if self.found:
            raise AttnError(self.found)
        assert not self.work.poisoned, "a statement was refused without a reason"
        return assemble(self.work)

    def _report(self, error: AttnError) -> None:
        """Complaints about names whose own statement is already reported are echoes."""
        for diagnostic in error.diagnostics:
            match diagnostic.problem:
                case p.UnknownName(name=name) | p.NoPair(name=name) if name in self.work.poisoned:
                    continue
            self.found.append(diagnostic)

    # --- parameters -----------------------------------------------------------------------------

    def _parameters(self) -> None:
        attention = self.work.attention
        callee = f"attention `{attention.name.name}`"
        known = [parameter.name.name for parameter in attention.parameters]
        for unknown in self.given:
            if unknown not in known:
                remedy = suggest(unknown, known) if known else "it has no parameters"
                self.found.append(Diagnostic(p.UnknownArgument(callee, unknown, remedy)))
        for parameter in attention.parameters:
            try:
                self._parameter(parameter, callee)
            except AttnError as error:
                self._report(error)
                self.work.poisoned.add(parameter.name.name)

    def _parameter(self, parameter: syntax.Parameter, callee: str) -> None:
        name, default = parameter.name.name, parameter.default
        if default is None and name not in self.given:
            remedy = f"set it with --set {name}=..., or give it a default: {name} = 7"
            raise fail(p.MissingArgument(callee, name, remedy), parameter.span)
        values: list[Value] = []
        if name in self.given:
            values.append(as_value(name, self.given[name]))
        if default is not None:
            values.append(self.work.expressions.value(default, self.work.frame))
            check_like(name, values[0], values[-1])
        bind_local(self.work.frame, parameter.name, Binding(values[0], parameter.span))

    # --- statements -----------------------------------------------------------------------------

    def _statement(self, statement: syntax.Statement) -> None:
        work = self.work
        if work.results:
            remedy = "several values are returned with: return a, b"
            if not isinstance(statement, syntax.Return):
                remedy = "let `return` be the last statement"
            raise fail(p.Misplaced("a statement", "behind `return`", remedy), statement.span)
        match statement:
            case syntax.Tokens():
                declare_tokens(work, statement)
            case syntax.Input():
                declare_input(work, statement)
            case syntax.Learn():
                declare_learned(work, statement)
            case syntax.Tune():
                self._tune(statement)
            case syntax.Loss():
                self._loss(statement)
            case syntax.Require(condition=condition):
                require(work.expressions, condition, work.frame, work.attention.name.name)
            case syntax.Assign():
                self._assign(statement)
            case syntax.Return():
                self._return(statement)
            case syntax.Bare(value=value):
                remedy = continued_line(value)
                raise fail(p.Misplaced("an expression on its own", "in an attention", remedy), statement.span)

    def _assign(self, statement: syntax.Assign) -> None:
        names, node = statement.names, statement.value
        for name in names:
            if name.name in self.work.axes:
                remedy = f"choose another name; its extent is written {self.work.axes[name.name]}.{name.name}"
                raise fail(p.Reserved(name.name, "an axis", remedy), name.span)
        if len(names) == 1:
            self._bind(names[0], node)
            return
        if isinstance(node, syntax.Tuple):
            parts: list[Value | syntax.Expression] = list(node.items)
        else:
            value = self._evaluate(node, names[0].name)
            parts = list(value) if isinstance(value, tuple) else []
        if len(parts) != len(names):
            remedy = (
                f"{len(names)} names need as many values, from a tuple or an operator with several results"
            )
            found = f"a tuple of {len(parts)} item{'' if len(parts) == 1 else 's'}" if parts else "one value"
            raise fail(p.WrongValue("unpacking", f"{len(names)} values", found, remedy), node.span)
        for name, part in zip(names, parts):
            if isinstance(part, syntax.Node):
                self._bind(name, part)
            else:
                bind_local(self.work.frame, name, Binding(self._named(part, name), name.span))

    def _named(self, value: Value, name: syntax.Name) -> Value:
        """A part of a tuple of results takes the name it is bound to."""
        if not isinstance(value, Feature):
            return value
        values = self.work.values
        at = next(at for at, known in enumerate(values) if known.name == value.name)
        if name.name in {known.name for known in values} or value.name in self.work.reserved:
            return value
        values[at] = replace(values[at], name=name.name)
        return Feature(name.name, value.type)

    def _bind(self, name: syntax.Name, node: syntax.Expression) -> None:
        work = self.work
        if not self._is_pair_expression(node):
            value = self._evaluate(node, name.name)
            with self._naming(name.name):
                value = work.as_feature(value, name.name, node.span) or value
            bind_local(work.frame, name, Binding(value, name.span))
            work.expressions.keep(value, name.name, name.span)
            return
        deferred = Deferred(node, replace(work.frame, names=dict(work.frame.names)))
        bind_local(work.frame, name, Binding(deferred, name.span))
        self.deferred.append(deferred)

    def _check_unused(self) -> None:
        """A pair expression that nothing uses is checked all the same, where its pair is known."""
        work = self.work
        if len(work.token_sets) != 1:
            return
        pair = Pair(work.token_sets[0], work.token_sets[0], scored=True)
        for deferred in self.deferred:
            if not work.expressions.was_used(deferred):
                try:
                    work.expressions.value(deferred.syntax, deferred.frame.with_pair(pair))
                except AttnError as error:
                    self._report(error)

    def _evaluate(self, node: syntax.Expression, name: str) -> Value:
        """The value of an expression of the attention; an operator's result takes the name given."""
        operators = self.work.expressions.operators
        match node:
            case syntax.Call(function=syntax.Name(name=operator)) if (
                is_operator_call(node, operators) and self.work.module.find(operator) is None
            ):
                with self._naming(name):
                    return operators[operator](node, self.work.frame, name)
            case _:
                return self.work.expressions.value(node, self.work.frame)

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """A time in which a name that the spec binds is free for its own value."""
        bound = name in self.work.reserved
        self.work.reserved.discard(name)
        try:
            yield
        finally:
            if bound:
                self.work.reserved.add(name)

    def _check_elementwise(self, expr: Expr, span: Span) -> None:
        if whole_features(expr):
            elementwise_type(expr, self.work.types, span)

    def _log_sum_exp(self, partial_: Feature, span: Span) -> Feature:
        name = f"{partial_.name}_lse_value"
        known = next((value for value in self.work.values if value.name == name), None)
        if known is None:
            known = self.work.add(LogSumExp.of(Operand(partial_.name, partial_.type)), name, span)
        return Feature(known.name, known.type)

    def _tune(self, statement: syntax.Tune) -> None:
        """`tune stride in (1, 2, 4)`: values of a parameter that a search may try instead of its own."""
        name, parameters = statement.name, self.work.attention.parameters
        known = [parameter.name.name for parameter in parameters]
        if name.name not in known:
            remedy = suggest(name.name, known) if known else "only parameters of the attention can be tuned"
            raise fail(p.UnknownName("parameter", name.name, remedy), name.span)
        if name.name not in self.work.frame.names:
            return  # a wrong value was given, which is an error already
        choices = self.work.expressions.value(statement.values, self.work.frame)
        if not isinstance(choices, tuple):
            remedy = f"write: tune {name.name} in (1, 2, 4)"
            raise fail(p.WrongValue("`tune`", "a tuple of values", describe(choices), remedy), statement.span)
        default = self.work.frame.names[name.name].value
        for choice in choices:
            if plain(choice) is None:
                remedy = "list plain values, e.g. (1, 2, 4)"
                wrong = p.WrongValue("`tune`", "plain values", describe(choice), remedy)
                raise fail(wrong, statement.values.span)
            try:
                check_like(name.name, choice, default)
            except AttnError as error:
                raise AttnError([replace(d, span=statement.values.span) for d in error.diagnostics]) from None
        self.work.tunable[name.name] = tuple(plain(choice) for choice in choices)

    def _loss(self, statement: syntax.Loss) -> None:
        """`loss commit = c.loss`: one number that training adds to its objective."""
        name = statement.name
        value = self._evaluate(statement.value, name.name)
        feature = self.work.as_feature(value, name.name, statement.value.span)
        if feature is None or feature.type.kind != "real":
            remedy = "a loss is the mean over all elements of a real tensor, e.g. c.loss or (q - k) ** 2"
            problem = p.WrongValue("`loss`", "a real tensor", describe(value), remedy)
            raise fail(problem, statement.value.span)
        self._check_result(feature, "a loss", statement.value.span)
        if name.name in self.work.losses:
            raise fail(p.Redeclared(name.name, "a second loss of this name"), name.span)
        self.work.losses[name.name] = feature.name

    def _check_result(self, value: Feature, place: str, span: Span) -> None:
        """What comes from outside is no result, and pairs are never held in full."""
        op = next(known.op for known in self.work.values if known.name == value.name)
        if place == "a result" and isinstance(op, Input | Learn):
            kind = "input" if isinstance(op, Input) else "learned tensor" if not op.state else "state"
            remedy = "return what attend gives"
            raise fail(p.WrongValue("`return`", "a result", f"the {kind} `{value.name}`", remedy), span)
        if isinstance(value.type.tokens.origin, Pairs):
            raise fail(p.OnPairs(place), span)

    def _return(self, statement: syntax.Return) -> None:
        for at, node in enumerate(statement.values):
            name = "out" if len(statement.values) == 1 else f"out{at}"
            found = self._evaluate(node, name)
            value = self.work.as_feature(found, name, node.span)
            if value is None:
                remedy = "return what attend gives"
                raise fail(p.WrongValue("`return`", "a tensor", describe(found), remedy), node.span)
            self._check_result(value, "a result", node.span)
            self.work.results.append(value.name)

    def _is_pair_expression(self, node: syntax.Expression) -> bool:
        """Whether an expression speaks of a query and key, and so has no value on its own."""
        match node:
            case syntax.Lift():
                return True
            case syntax.Name(name=name):
                binding = self.work.frame.names.get(name)
                if binding is not None:
                    return isinstance(binding.value, Deferred)
                return name in RESERVED.keys() - {"heads"} or self.work.module.find(name) is not None
            case syntax.Call(function=syntax.Name(name=name)):
                if self.work.module.find(name) is not None:
                    return True
                if is_operator_call(node):
                    return False
        return any(self._is_pair_expression(child) for child in syntax.children(node))

    def _operator(self, keyword: str, call: syntax.Call, frame: Frame, name: str) -> Value:
        return call_operator(self.work, keyword, call, frame, name)
