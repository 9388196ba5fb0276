"""Gives every expression its value: numbers, conditions, fields at coordinates, tuples, tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attndsl.diagnostics import AttnError, fail
from attndsl.ir.index import FALSE, ArithmeticProblem, Const, Expr, Var
from attndsl.ir.problem import Span
from attndsl.ir.requirement import Requirement
from attndsl.ir.tokens import TokenSet
from attndsl.ir.walk import variables
from attndsl.language import arithmetic, fields, patterns, syntax
from attndsl.language import problems as p
from attndsl.language.evaluator import as_number, each
from attndsl.language.growth import Growth
from attndsl.language.kinds import allow_kind, expect_condition, expect_integer, expect_number
from attndsl.language.knowledge import Knowledge
from attndsl.language.limits import MAX_DEPTH, MAX_NODES
from attndsl.language.scope import Deferred, Frame, Pair, Value, describe
from attndsl.language.values import Feature
from attndsl.language.vectors import dot
from attndsl.language.vocabulary import COVERED, FUNCTION_NAMES, RESERVED, is_operator_call, suggest


class OperatorCall(Protocol):
    """Checks a call of an operator (`attend`) in a frame; the result is called `name` if that is free."""

    def __call__(self, call: syntax.Call, frame: Frame, name: str) -> Value:
        """The value of the call."""
        ...


class Expressions:
    """Evaluates syntax in frames. Collects requirements and the spec's names for subexpressions.

    Args:
        operators: how calls of operators are checked, by name.
    """

    def __init__(self, operators: Mapping[str, OperatorCall]) -> None:
        self.operators = operators
        self.knowledge = Knowledge()
        self.requirements: dict[tuple[Expr, object], Requirement] = {}
        self.labels: dict[Expr, str] = {}
        self.expanded: dict[tuple[str, str], syntax.Pattern] = {}
        # Set by the checker, which owns the program.
        self.check_elementwise: Callable[[Expr, Span], None] | None = None
        self.log_sum_exp: Callable[[Feature, Span], Feature] | None = None
        self._growth = Growth()
        self._forced: dict[tuple[Deferred, Pair], Value | None] = {}
        self._visited = 0
        self._depth = 0

    def value(self, node: syntax.Expression, frame: Frame) -> Value:
        """The value of an expression of any sort.

        Raises:
            AttnError: the expression has no meaning in this frame.
        """
        self._visited += 1
        if self._visited == MAX_NODES:
            raise fail(p.TooManyNodes(MAX_NODES), node.span)
        if self._visited > MAX_NODES:
            raise AttnError([])  # said once
        if self._depth >= MAX_DEPTH:
            raise fail(p.NestedTooDeeply(MAX_DEPTH), node.span)
        self._depth += 1
        try:
            return self._value(node, frame)
        except ArithmeticProblem as problem:
            raise fail(p.Arithmetic(_reason(problem)), node.span) from None
        finally:
            self._depth -= 1

    def _value(self, node: syntax.Expression, frame: Frame) -> Value:
        value = self._plain_value(node, frame)
        match node, value:
            case (
                (syntax.Binary() | syntax.Unary() | syntax.Choice() | syntax.Comparison() | syntax.Call()),
                Expr(),
            ):
                if frame.pair is None and self.check_elementwise is not None:
                    self.check_elementwise(value, node.span)
        return value

    def _plain_value(self, node: syntax.Expression, frame: Frame) -> Value:
        match node:
            case syntax.Number(value=value):
                return allow_kind(Const(value), node.span, frame)
            case syntax.Name():
                return self._name(node, frame)
            case syntax.Tuple(items=items):
                return tuple(each(lambda item: self.value(item, frame), items))
            case syntax.Attribute():
                return fields.attribute(self, node, frame)
            case syntax.Index():
                return fields.index(self, node, frame)
            case syntax.Call():
                return self._call(node, frame)
            case syntax.Lift():
                return patterns.lift(self, node, frame)
            case syntax.Unary():
                return arithmetic.unary(self, node, frame)
            case syntax.Binary():
                return arithmetic.binary(self, node, frame)
            case syntax.Comparison():
                return arithmetic.compare(self, node, frame)
            case syntax.Choice():
                return arithmetic.choose(self, node, frame)

    def numeric(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """A number or condition."""
        return as_number(self.value(node, frame), node, frame, place, "a number or condition")

    def number(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """An integer or real expression."""
        value = as_number(self.value(node, frame), node, frame, place, "a number")
        return expect_number(value, node.span, place)

    def integer(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """An integer expression."""
        value = as_number(self.value(node, frame), node, frame, place, "an integer")
        return expect_integer(value, node.span, place)

    def condition(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """A condition."""
        value = as_number(self.value(node, frame), node, frame, place, "a condition")
        return expect_condition(value, node.span, place)

    def proves(self, condition: Expr, frame: Frame) -> bool:
        """Whether a condition certainly holds, for all coordinates and extents."""
        return self.knowledge.proves(condition, frame.pair)

    def range_of(self, expr: Expr, frame: Frame) -> tuple[int, int] | None:
        """Smallest and largest value of an integer; None if they are not known."""
        return self.knowledge.range_of(expr, frame.pair)

    def demand(self, requirement: Requirement, frame: Frame) -> None:
        """Adds a requirement; raises if it can already be seen to fail."""
        condition = requirement.condition
        if self.proves(condition, frame):
            return
        extents = [extent for _, extent in requirement.coordinates]
        unknown = variables(condition, *extents) - {name for name, _ in requirement.coordinates}
        if unknown and condition is not FALSE:
            self.requirements.setdefault((condition, requirement.span), requirement)
            return
        if problem := requirement.failure({}):
            raise fail(problem, requirement.span)

    def keep(self, value: Value, name: str, span: Span) -> None:
        """Remembers the spec's name for a value; raises if it is too large."""
        if isinstance(value, Expr):
            if problem := self._growth.problem(value):
                raise fail(problem, span)
            if name and not isinstance(value, Const | Var):
                self.labels.setdefault(value, name)

    def _name(self, node: syntax.Name, frame: Frame) -> Value:
        name = node.name
        binding = frame.names.get(name)
        if binding is not None:
            if binding.default:
                patterns.note_default_use(frame, name, node.span)
            if isinstance(binding.value, Deferred):
                return self._force(binding.value, node, frame)
            return binding.value
        if name in RESERVED:
            return _reserved(node, frame)
        if (found := frame.module.find(name)) is not None:
            self.expanded[found[1].name, name] = found[0]
            return patterns.expand(self, found, (), node.span, frame)
        if name in self.operators or name in FUNCTION_NAMES:
            what = "operator" if name in self.operators else "function"
            raise fail(
                p.WrongValue("an expression", "a value", f"the {what} `{name}`", f"call it: {name}(...)"),
                node.span,
            )
        raise fail(p.UnknownName("name", name, self._suggestion(name, frame)), node.span)

    def _suggestion(self, name: str, frame: Frame) -> str:
        for binding in frame.names.values():
            match binding.value:
                case TokenSet(name=tokens) as known if known.axis(name) is not None:
                    return f"an axis alone has no value: write {tokens}.{name}, i.{name} or j.{name}"
        known = [*frame.names, *frame.module.pattern_names(), *self.operators, *FUNCTION_NAMES, *RESERVED]
        return suggest(name, known)

    def lse_of(self, partial: Feature, span: Span) -> Feature:
        """The log-sum-exp of a partial, as a value of the program."""
        assert self.log_sum_exp is not None
        return self.log_sum_exp(partial, span)

    def was_used(self, deferred: Deferred) -> bool:
        """Whether a named pair expression was asked for."""
        return any(known is deferred for known, _ in self._forced)

    def _force(self, value: Deferred, node: syntax.Name, frame: Frame) -> Value:
        """A named pair expression, evaluated for the pair at hand."""
        if frame.pair is None:
            remedy = (
                f"`{node.name}` depends on a query and a key: use it in `where`, `bias` or `score` of attend"
            )
            raise fail(p.NoPair(node.name, "query and key", remedy), node.span)
        key = value, frame.pair
        if key not in self._forced:
            self._forced[key] = None
            result = self.value(value.syntax, value.frame.with_pair(frame.pair))
            self.keep(result, node.name, value.syntax.span)
            self._forced[key] = result
        known = self._forced[key]
        if known is None:
            raise AttnError([])  # reported the first time
        return known

    def _call(self, node: syntax.Call, frame: Frame) -> Value:
        if not isinstance(node.function, syntax.Name):
            remedy = "only patterns, operators and functions are called; to multiply, write *"
            raise fail(
                p.NotCallable(frame.module.excerpt(node.function.span), "an expression", remedy),
                node.function.span,
            )
        name = node.function.name
        if (found := frame.module.find(name)) is not None:
            self.expanded[found[1].name, name] = found[0]
            return patterns.expand(self, found, node.arguments, node.span, frame)
        if name in COVERED and name not in frame.names:
            return fields.covered(self, name, node, frame)
        if is_operator_call(node, self.operators):
            return self.operators[name](node, frame, name)
        if name == "dot" and name not in frame.names:
            return dot(self, node, frame)
        if name in FUNCTION_NAMES:
            return arithmetic.call_function(self, name, node, frame)
        binding = frame.names.get(name)
        if binding is not None:
            remedy = "an item or a token is chosen with [ ]; to multiply, write *"
            raise fail(p.NotCallable(name, describe(binding.value), remedy), node.function.span)
        known = [*frame.module.pattern_names(), *self.operators, *FUNCTION_NAMES, *COVERED]
        unknown = fail(p.UnknownName("pattern or function", name, suggest(name, known)), node.function.span)
        try:
            each(lambda argument: self.value(argument.value, frame), node.arguments)
        except AttnError as error:
            raise AttnError([*unknown.diagnostics, *error.diagnostics]) from None
        raise unknown


def _reserved(node: syntax.Name, frame: Frame) -> Expr:
    match node.name:
        case "heads":
            return Var("heads")
        case "head" if frame.pair is not None:
            return Var("head")
        case "s" if frame.pair is not None and frame.pair.scored:
            return Var("s", "real")
        case "s":
            raise fail(p.NoPair("s", "score", "the score `s` exists in `score` of attend only"), node.span)
        case name:
            what = {"i": "query", "j": "key", "head": "head"}.get(name, "key axis")
            remedy = "queries and keys are given inside `where`, `bias` and `score` of attend"
            if frame.pair is not None:
                remedy = "one token is meant here, `i`; queries and keys meet in attend"
            raise fail(p.NoPair(name, what, remedy), node.span)


def _reason(problem: ArithmeticProblem) -> str:
    """Python's words for arithmetic that fails, in ours."""
    text = str(problem)
    if "zero" in text:
        return "it divides by zero"
    if "domain" in text:
        return "the function is undefined there"
    return "it is too large" if "range" in text or "large" in text or "bits" in text else text
