"""Checks an attention, statement by statement, and builds its program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic, fail
from attndsl.ir.ops import OPS, Input
from attndsl.ir.program import Program
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.assemble import assemble
from attndsl.language.declarations import declare_input, declare_tokens, unseen_extents
from attndsl.language.expressions import Expressions
from attndsl.language.modules import Module
from attndsl.language.operators import call_operator
from attndsl.language.parameters import as_value, check_like
from attndsl.language.patterns import bind_local
from attndsl.language.requirements import require
from attndsl.language.scope import Binding, Deferred, Frame, Pair, Value, describe
from attndsl.language.static import continued_line
from attndsl.language.values import Feature
from attndsl.language.vocabulary import RESERVED, suggest
from attndsl.language.workspace import Workspace


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
        if not self.found:
            self.found += unseen_extents(self.work)
        if self.found:
            raise AttnError(self.found)
        return assemble(self.work)

    def _report(self, error: AttnError) -> None:
        """Complaints about names whose own statement is already reported are echoes."""
        for diagnostic in error.diagnostics:
            match diagnostic.problem:
                case p.UnknownName(name=name) if name in self.work.poisoned:
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
        items = node.items if isinstance(node, syntax.Tuple) else ()
        if len(items) != len(names):
            remedy = f"{len(names)} names need a tuple of {len(names)} items"
            found = f"a tuple of {len(items)} items" if items else "one value"
            raise fail(p.WrongValue("unpacking", f"{len(names)} values", found, remedy), node.span)
        for name, item in zip(names, items):
            self._bind(name, item)

    def _bind(self, name: syntax.Name, node: syntax.Expression) -> None:
        work = self.work
        if not self._is_pair_expression(node):
            value = work.evaluate(node, name.name)
            bind_local(work.frame, name, Binding(value, name.span))
            work.expressions.keep(value, name.name, name.span)
            return
        deferred = Deferred(node, replace(work.frame, names=dict(work.frame.names)))
        bind_local(work.frame, name, Binding(deferred, name.span))
        if len(work.token_sets) == 1:
            # With one token set it can be checked where it is written, used or not.
            pair = Pair(work.token_sets[0], work.token_sets[0], scored=True)
            work.expressions.value(node, deferred.frame.with_pair(pair))

    def _return(self, statement: syntax.Return) -> None:
        for at, node in enumerate(statement.values):
            value = self.work.evaluate(node, "out" if len(statement.values) == 1 else f"out{at}")
            if not isinstance(value, Feature):
                remedy = "return what attend gives"
                raise fail(p.WrongValue("`return`", "a tensor", describe(value), remedy), node.span)
            if any(isinstance(v.op, Input) and v.name == value.name for v in self.work.values):
                remedy = "return what attend gives"
                raise fail(
                    p.WrongValue("`return`", "a result", f"the input `{value.name}`", remedy), node.span
                )
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
                if name in OPS:
                    return False
        return any(self._is_pair_expression(child) for child in syntax.children(node))

    def _operator(self, keyword: str, call: syntax.Call, frame: Frame, name: str) -> Value:
        return call_operator(self.work, keyword, call, frame, name)
