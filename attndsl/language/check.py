"""Checks an attention, statement by statement, and builds its program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic, Note
from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.ops import OPS, IllTyped, Input, Op, OpParameter
from attndsl.ir.problem import Span
from attndsl.ir.program import Program
from attndsl.ir.program import Value as ProgramValue
from attndsl.ir.rewrite import simplify
from attndsl.ir.tokens import Axis, TokenSet
from attndsl.ir.types import FeatureType, Heads
from attndsl.language import patterns, syntax
from attndsl.language import problems as p
from attndsl.language.evaluator import refuse
from attndsl.language.expressions import Expressions, pair_ranges
from attndsl.language.limits import MAX_ERRORS, MAX_EXTENT
from attndsl.language.modules import Module
from attndsl.language.parameters import as_value
from attndsl.language.scope import Binding, Frame, Pair, suggest
from attndsl.language.values import RESERVED, Deferred, Feature, Value, describe

MODIFIERS: Mapping[str, Mapping[str, Any]] = {
    "scalar": {"width": None},
    "int": {"kind": "int", "width": None, "heads": Heads.NONE},
    "bool": {"kind": "bool", "width": None, "heads": Heads.NONE},
}


class ProgramChecker:
    """Builds the program of one attention.

    Args:
        module: the file it is in.
        attention: its syntax.
        given: values of parameters set from outside.
    """

    def __init__(self, module: Module, attention: syntax.Attention, given: Mapping[str, Any]) -> None:
        self.module = module
        self.attention = attention
        self.given = given
        self.expressions = Expressions({name: self._operator for name in OPS})
        self.frame = Frame(module, {})
        self.values: list[ProgramValue] = []
        self.token_sets: list[TokenSet] = []
        self.axis_names: set[str] = set()
        self.results: list[str] = []
        self.poisoned: set[str] = set()
        self.found: list[Diagnostic] = []

    def run(self) -> Program:
        """The checked program.

        Raises:
            AttnError: with every problem found, at most twenty.
        """
        self._parameters()
        for statement in self.attention.body:
            try:
                self._statement(statement)
            except AttnError as error:
                self.found += error.diagnostics
                self.poisoned |= _bound_names(statement)
        if not self.results and not self.found:
            self.found.append(Diagnostic(p.NoReturn(self.attention.name.name), self.attention.name.span))
        if self.found:
            raise AttnError(_without_echoes(self.found, self.poisoned)[:MAX_ERRORS])
        return self._program()

    def _program(self) -> Program:
        names = self.frame.names
        parameters = {q.name.name: plain(names[q.name.name].value) for q in self.attention.parameters}
        labels: dict[Expr, str] = {}
        for value in self.values:
            match value.op:
                case Input():
                    continue
                case op:
                    ranges = pair_ranges(Pair(op.query_tokens, op.key_tokens))
                    for expr, name in self.expressions.labels.items():
                        labels.setdefault(simplify(expr, ranges), name)
        return Program(
            name=self.attention.name.name,
            parameters=parameters,
            token_sets=tuple(self.token_sets),
            values=tuple(_with_head_kinds(self.values)),
            results=tuple(self.results),
            requirements=tuple(self.expressions.requirements.values()),
            labels=labels,
            spec=self._spec(),
        )

    def _spec(self) -> str:
        """What was written: the whole file if it is about this attention alone, else the parts it needs."""
        used = [item for (file, _), item in self.expressions.expanded.items() if file == self.module.name]
        foreign = {file for file, _ in self.expressions.expanded} - {self.module.name, "patterns.attn"}
        if len(self.module.attentions) == 1 and not foreign:
            return self.module.text.strip() + "\n"
        lines = self.module.text.splitlines()
        spans = sorted([item.span for item in used] + [self.attention.span], key=lambda span: span.line)
        parts = ["\n".join(lines[span.line - 1 : span.end_line]) for span in spans]
        notes = [f"# uses patterns of {file}" for file in sorted(foreign)]
        return "\n\n".join([*notes, *parts]) + "\n"

    # --- parameters -----------------------------------------------------------------------------

    def _parameters(self) -> None:
        name = f"attention `{self.attention.name.name}`"
        known = [parameter.name.name for parameter in self.attention.parameters]
        for unknown in set(self.given) - set(known):
            remedy = suggest(unknown, known) if known else "it has no parameters"
            self.found.append(Diagnostic(p.UnknownArgument(name, unknown, remedy)))
        for parameter in self.attention.parameters:
            try:
                self._parameter(parameter, name)
            except AttnError as error:
                self.found += error.diagnostics
                self.poisoned.add(parameter.name.name)

    def _parameter(self, parameter: syntax.Parameter, callee: str) -> None:
        name = parameter.name.name
        if name in self.given:
            value = as_value(name, self.given[name])
        elif parameter.default is not None:
            value = self.expressions.value(parameter.default, self.frame)
        else:
            remedy = f"set it with --set {name}=..., or give it a default"
            refuse(p.MissingArgument(callee, name, remedy), parameter.span)
        patterns.bind_local(self.frame, parameter.name, Binding(value, parameter.span))

    # --- statements -----------------------------------------------------------------------------

    def _statement(self, statement: syntax.Statement) -> None:
        match statement:
            case syntax.Tokens():
                self._tokens(statement)
            case syntax.Input():
                self._input(statement)
            case syntax.Require(condition=condition):
                patterns.require(self.expressions, condition, self.frame, self.attention.name.name)
            case syntax.Assign():
                self._assign(statement)
            case syntax.Return():
                self._return(statement)
            case syntax.Bare():
                remedy = "bind it (name = ...) or return it"
                refuse(p.Misplaced("an expression on its own", "in an attention", remedy), statement.span)

    def _tokens(self, statement: syntax.Tokens) -> None:
        name = statement.name
        axes = [self._axis(axis, position, name.name) for position, axis in enumerate(statement.axes)]
        for at, axis in enumerate(axes):
            if axis.name in {earlier.name for earlier in axes[:at]}:
                refuse(p.Redeclared(axis.name), statement.axes[at].span)
        tokens = TokenSet(name.name, tuple(axes))
        patterns.bind_local(self.frame, name, Binding(tokens, name.span))
        self.token_sets.append(tokens)

    def _axis(self, axis: syntax.Axis, position: int, tokens: str) -> Axis:
        match axis:
            case syntax.Axis(value=syntax.Name() as name, extent=None):
                return Axis(name.name, self._symbol(name, tokens))
            case syntax.Axis(value=syntax.Name(name=name), extent=extent) if extent is not None:
                self._not_reserved(axis.value)
                return Axis(name, self._extent(extent, name, tokens))
            case syntax.Axis(extent=None) if not isinstance(axis.value, syntax.Comparison):
                return Axis(str(position), self._extent(axis.value, str(position), tokens))
        remedy = "an axis is a name, name = extent, or an expression for its extent"
        refuse(p.WrongValue("tokens", "an axis", "another expression", remedy), axis.span)

    def _not_reserved(self, name: syntax.Expression) -> None:
        if isinstance(name, syntax.Name) and name.name in RESERVED:
            refuse(p.Reserved(name.name, RESERVED[name.name]), name.span)

    def _symbol(self, name: syntax.Name, tokens: str) -> Expr:
        """A bare axis name is an extent known by that name, or a new symbol."""
        binding = self.frame.binding(name.name)
        if binding is None:
            patterns.bind_local(self.frame, name, Binding(Var(name.name), name.span))
            self.axis_names.add(name.name)
        elif name.name not in self.axis_names and not isinstance(binding.value, Expr):
            notes = (Note("first declared here", binding.span),) if binding.span else ()
            refuse(p.Redeclared(name.name), name.span, *notes)
        return self._extent(name, name.name, tokens)

    def _extent(self, node: syntax.Expression, axis: str, tokens: str) -> Expr:
        extent = self.expressions.integer(node, self.frame, "an extent")
        match extent:
            case Const(value) if not 1 <= value <= MAX_EXTENT:
                refuse(p.BadExtent(tokens, axis, str(value)), node.span)
        return extent

    def _input(self, statement: syntax.Input) -> None:
        tokens = self._token_set(statement.tokens)
        for name in statement.names:
            type_ = FeatureType(tokens, width=name.name)
            for modifier in statement.modifiers:
                if modifier.name not in MODIFIERS:
                    remedy = suggest(modifier.name, list(MODIFIERS))
                    refuse(p.UnknownModifier(modifier.name, remedy), modifier.span)
                type_ = replace(type_, **MODIFIERS[modifier.name])
            patterns.bind_local(self.frame, name, Binding(Feature(name.name, type_), name.span))
            self.values.append(ProgramValue(name.name, Input(name.name, type_), name.span))

    def _token_set(self, name: syntax.Name) -> TokenSet:
        binding = self.frame.binding(name.name)
        if binding is not None and isinstance(binding.value, TokenSet):
            return binding.value
        if name.name in self.poisoned:
            raise AttnError([])
        if binding is not None:
            remedy = f"declare it: tokens {name.name}[n]"
            refuse(p.WrongValue("input", "a token set", describe(binding.value), remedy), name.span)
        known = [tokens.name for tokens in self.token_sets]
        remedy = suggest(name.name, known) if known else f"declare it first: tokens {name.name}[n]"
        refuse(p.UnknownName("token set", name.name, remedy), name.span)

    def _assign(self, statement: syntax.Assign) -> None:
        if self._is_pair_expression(statement.value):
            if len(statement.names) > 1:
                remedy = "bind one name to one condition or bias"
                refuse(p.Misplaced("unpacking", "with a pair expression", remedy), statement.span)
            snapshot = replace(self.frame, names=dict(self.frame.names), defaults_used={})
            deferred = Deferred(statement.value, snapshot)
            patterns.bind_local(self.frame, statement.names[0], Binding(deferred, statement.names[0].span))
            self._probe(deferred)
            return
        value = self._named(statement.names[0].name, statement.value)
        if len(statement.names) == 1:
            self._bind(statement.names[0], value)
            return
        if not isinstance(value, tuple) or len(value) != len(statement.names):
            remedy = f"{len(statement.names)} names need a tuple of {len(statement.names)}"
            refuse(p.WrongValue("unpacking", "a tuple", describe(value), remedy), statement.value.span)
        for name, item in zip(statement.names, value):
            self._bind(name, item)

    def _bind(self, name: syntax.Name, value: Value) -> None:
        patterns.bind_local(self.frame, name, Binding(value, name.span))
        self.expressions.label(value, name.name)

    def _probe(self, deferred: Deferred) -> None:
        """With one token set, a pair expression can be checked where it is written, used or not."""
        if len(self.token_sets) == 1:
            tokens = self.token_sets[0]
            self.expressions.value(deferred.syntax, deferred.frame.with_pair(Pair(tokens, tokens)))

    def _named(self, name: str, node: syntax.Expression) -> Value:
        """The value of an expression; an operator's result takes the name it is bound to."""
        self._pending_name = name
        return self.expressions.value(node, self.frame)

    def _return(self, statement: syntax.Return) -> None:
        if self.results:
            refuse(p.Misplaced("a second return", "here", "return several values with: return a, b"), statement.span)
        for at, node in enumerate(statement.values):
            name = "out" if len(statement.values) == 1 else f"out{at}"
            value = self._named(name, node)
            if not isinstance(value, Feature):
                remedy = "return what attend gives"
                refuse(p.WrongValue("return", "a tensor", describe(value), remedy), node.span)
            self.results.append(value.name)

    def _is_pair_expression(self, node: syntax.Expression) -> bool:
        """Whether an expression speaks of a query and key, and so has no value on its own."""
        match node:
            case syntax.Lift():
                return True
            case syntax.Name(name=name):
                binding = self.frame.binding(name)
                if binding is not None:
                    return isinstance(binding.value, Deferred)
                return name in RESERVED.keys() - {"heads"} or self.module.find(name) is not None
            case syntax.Call(function=function, arguments=arguments):
                name = function.name if isinstance(function, syntax.Name) else ""
                if name in OPS:
                    return False
                return self.module.find(name) is not None or any(
                    self._is_pair_expression(argument.value) for argument in arguments
                )
        return any(self._is_pair_expression(child) for child in _children(node))

    # --- operators ------------------------------------------------------------------------------

    def _operator(self, call: syntax.Call, frame: Frame) -> Value:
        """A call of an operator of the registry: features first, then its pair expressions."""
        if frame.pair is not None:
            refuse(p.Misplaced(f"`{call.function.name}`", "in a pair expression", "bind its result first"), call.span)
        op_class = OPS[call.function.name]
        name = self._fresh_name(call)
        arguments = _match_arguments(call, op_class.parameters)
        features = {q.name: q for q in op_class.parameters if q.role == "feature"}
        names, types = self._features(arguments, features, frame)
        expressions = self._pair_arguments(arguments, op_class, names, types, frame)
        try:
            op = op_class.typed(names, types, expressions)
        except IllTyped as error:
            refuse(error.problem, arguments[error.argument].span)
        self._check_width(op, call.span)
        self.values.append(ProgramValue(name, op, call.span))
        return Feature(name, op.type)

    def _fresh_name(self, call: syntax.Call) -> str:
        name = getattr(self, "_pending_name", "") or call.function.name
        self._pending_name = ""
        taken = {value.name for value in self.values}
        candidates = [name, *(f"{name}{count}" for count in range(2, 1000))]
        return next(candidate for candidate in candidates if candidate not in taken)

    def _features(
        self, arguments: dict[str, syntax.Argument], features: Mapping[str, OpParameter], frame: Frame
    ) -> tuple[dict[str, str], dict[str, FeatureType]]:
        def check(role: str) -> Feature:
            node = arguments[role].value
            value = self.expressions.value(node, frame)
            if not isinstance(value, Feature):
                remedy = "declare it: input q, k, v : x"
                refuse(p.WrongValue(f"`{role}` of attend", "a tensor", describe(value), remedy), node.span)
            return value

        found = self.expressions.each([(lambda role=role: check(role)) for role in features])
        pairs = dict(zip(features, found))
        return (
            {role: value.name for role, value in pairs.items() if isinstance(value, Feature)},
            {role: value.type for role, value in pairs.items() if isinstance(value, Feature)},
        )

    def _pair_arguments(
        self,
        arguments: dict[str, syntax.Argument],
        op_class: type[Op],
        names: dict[str, str],
        types: dict[str, FeatureType],
        frame: Frame,
    ) -> dict[str, Expr]:
        query, key = types["q"].tokens, types["k"].tokens
        if query is None or key is None:
            op_class.typed(names, types, {})  # type: ignore[attr-defined]
            raise AssertionError("typed accepts features on token sets only")
        pair = Pair(query, key)
        ranges = pair_ranges(pair)
        present = [q for q in op_class.parameters if q.role != "feature" and q.name in arguments]

        def check(parameter: OpParameter) -> Expr:
            node = arguments[parameter.name].value
            place = f"`{parameter.name}`"
            match parameter.role:
                case "condition":
                    inner = frame.with_pair(replace(pair, integral=True))
                    return simplify(self.expressions.condition(node, inner, place), ranges)
                case "number":
                    return self.expressions.number(node, frame, place)
                case role:
                    inner = frame.with_pair(replace(pair, scored=role == "score"))
                    return simplify(self.expressions.number(node, inner, place), ranges)

        checked = self.expressions.each([(lambda q=q: check(q)) for q in present])
        return {q.name: expr for q, expr in zip(present, checked) if isinstance(expr, Expr)}

    def _check_width(self, op: Op, span: Span) -> None:
        """Heads and widths are run-time sizes; the generated module checks them at every call."""


def plain(value: Value) -> Any:
    """A parameter's value as a Python number or tuple."""
    match value:
        case Const(number):
            return number
        case tuple():
            return tuple(plain(item) for item in value)
    return describe(value)


def _with_head_kinds(values: list[ProgramValue]) -> list[ProgramValue]:
    """Inputs used as keys or values only may have fewer heads than the queries (GQA)."""
    queries = {value.op.q for value in values if not isinstance(value.op, Input)}
    keys = {name for value in values if not isinstance(value.op, Input) for name in (value.op.k, value.op.v)}
    result = []
    for value in values:
        op = value.op
        if isinstance(op, Input) and value.name in keys - queries and op.type.heads is Heads.QUERY:
            op = replace(op, type=op.type.with_heads(Heads.KV))
        result.append(replace(value, op=op))
    return result


def _match_arguments(call: syntax.Call, parameters: tuple[OpParameter, ...]) -> dict[str, syntax.Argument]:
    callee = f"`{call.function.name}`"
    names = [parameter.name for parameter in parameters]
    positional = [parameter.name for parameter in parameters if parameter.role == "feature"]
    found: dict[str, syntax.Argument] = {}
    for at, argument in enumerate(call.arguments):
        name = argument.name
        if name is None:
            if at >= len(positional):
                count = sum(a.name is None for a in call.arguments)
                listed = f"{', '.join(positional)}; the others are named, e.g. where = ..."
                refuse(p.TooManyArguments(callee, len(positional), count, listed), argument.span)
            name = positional[at]
        elif name not in names:
            refuse(p.UnknownArgument(callee, name, suggest(name, names)), argument.span)
        if name in found:
            refuse(p.RepeatedArgument(name), argument.span, Note("given before here", found[name].span))
        found[name] = argument
    for parameter in parameters:
        if not parameter.optional and parameter.name not in found:
            remedy = f"write {call.function.name}({', '.join(positional)}, ...)"
            refuse(p.MissingArgument(callee, parameter.name, remedy), call.span)
    return found


def _children(node: syntax.Expression) -> tuple[syntax.Expression, ...]:
    match node:
        case syntax.Tuple(items=items):
            return items
        case syntax.Attribute(value=value):
            return (value,)
        case syntax.Index(value=value, coords=coords):
            return (value, *coords)
        case syntax.Unary(operand=operand):
            return (operand,)
        case syntax.Binary(operands=operands) | syntax.Comparison(operands=operands):
            return operands
        case syntax.Choice(test=test, a=a, b=b):
            return (test, a, b)
        case _:
            return ()


def _bound_names(statement: syntax.Statement) -> set[str]:
    match statement:
        case syntax.Assign(names=names) | syntax.Input(names=names):
            return {name.name for name in names}
        case syntax.Tokens(name=name):
            return {name.name}
        case _:
            return set()


def _without_echoes(found: list[Diagnostic], poisoned: set[str]) -> list[Diagnostic]:
    """Drops repetitions, and complaints about names whose own statement is already reported."""
    kept: dict[tuple[object, object], Diagnostic] = {}
    for diagnostic in found:
        problem = diagnostic.problem
        if isinstance(problem, p.UnknownName) and problem.name in poisoned:
            continue
        kept.setdefault((problem, diagnostic.span), diagnostic)
    return list(kept.values())
