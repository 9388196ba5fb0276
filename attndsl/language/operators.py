"""Calls of operators: their arguments, the pairs that expressions are about, their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from attndsl.diagnostics import AttnError, Diagnostic, fail
from attndsl.ir.index import Expr, Load
from attndsl.ir.ops import OPS, Arguments, IllTyped, Op, Operand, OpParameter, Record, Result
from attndsl.ir.rewrite import simplify
from attndsl.ir.tokens import QUERY, Pairs, TokenSet
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import fields
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.blame import labelled, operands_of, place_of
from attndsl.language.calls import Signature
from attndsl.language.evaluator import each
from attndsl.language.kinds import expect_integer
from attndsl.language.reductions import labelled_set, on_relation, read_axes
from attndsl.language.scope import Frame, Pair, Value, describe
from attndsl.language.selections import EntriesReader
from attndsl.language.values import Feature, Fields, Position
from attndsl.language.vocabulary import suggest
from attndsl.language.workspace import Workspace

_Result = TypeVar("_Result")

_LONGEST = 32
"""Characters of an argument that a message quotes."""

LATE = ("condition", "real", "score", "places")
"""Roles of arguments that speak of a query and a key, which the other arguments determine."""


def call_operator(work: Workspace, keyword: str, call: syntax.Call, frame: Frame, name: str) -> Value:
    """Adds a call of an operator to the program: tensors and sets first, then its pair expressions."""
    if frame.pair is not None:
        where = "in a pattern" if frame.callers else "in a pair expression"
        remedy = "bind its result to a name in the attention first"
        raise fail(p.Misplaced(f"`{keyword}`", where, remedy), call.span)
    return _Call(work, OPS[keyword], call, frame, name).run()


@dataclass(frozen=True)
class _Call:
    """One call being checked."""

    work: Workspace
    op: type[Op]
    call: syntax.Call
    frame: Frame
    name: str

    def run(self) -> Value:
        """The results, as values of the language."""
        arguments = self._match()
        found: list[Diagnostic] = []
        if any(q.role == "entries" for q in self.op.parameters):
            return self._selection(arguments)
        early = [q for q in self.op.parameters if q.role not in LATE and q.name in arguments]
        given: dict[str, Any] = {}
        for parameter in early:
            if parameter.role == "axes" and "f" in arguments and "f" not in given:
                continue  # what is wrong with the feature is said already
            given |= _check_all(partial(self._early, arguments, given), [parameter], found)
        late = [q for q in self.op.parameters if q.role in LATE and q.name in arguments]
        domain = self._domain(given, late, arguments)
        if domain is not None:
            places = any(q.role == "places" for q in late) and not on_relation(given)
            pair = Pair(*domain, places=places)
            given |= _check_all(lambda q: self._late(q, arguments[q.name][0].value, pair), late, found)
        if found or len(given) < len(arguments):
            raise AttnError(found)
        return self._built(arguments, given, domain)

    def _selection(self, arguments: Mapping[str, list[syntax.Argument]]) -> Value:
        """A choice among entries, which may be pairs."""
        reader = EntriesReader(self.work, self.frame, self.op.keyword, self.name, self._operand)
        nodes = {name: parts[0].value for name, parts in arguments.items()}
        found: list[Diagnostic] = []
        numbers = [q for q in self.op.parameters if q.role == "number" and q.name in arguments]
        given = _check_all(lambda q: self._number(nodes[q.name], q.name), numbers, found)
        try:
            given |= reader.read(nodes, self.call.span)
        except AttnError as error:
            found += error.diagnostics
        if found:
            raise AttnError(found)
        return self._built(arguments, given, None)

    def _built(
        self,
        arguments: Mapping[str, list[syntax.Argument]],
        given: dict[str, Any],
        domain: tuple[TokenSet, TokenSet] | None,
    ) -> Value:
        work = self.work
        expressions = [e for value in given.values() for e in _expressions(value)]
        looked_up = [work.types[field] for field in sorted(fields(*expressions))]
        tensors = [operand.type for value in given.values() for operand in operands_of(value)]
        extra = {
            "domain": domain,
            "batch": any(type_.batch for type_ in (*tensors, *looked_up)),
            "field heads": [type_.heads for type_ in looked_up],
            "labels": labelled_set(given, work.types, domain),
        }

        def add(op: Op, suffix: str = "") -> Operand:
            value = work.add(op, f"{self.name}_{suffix}" if suffix else self.name, self.call.span)
            return Operand(value.name, value.type)

        try:
            result = self.op.build(Arguments(given, self.name, extra), add)
        except IllTyped as error:
            at = self.call.span
            if error.argument in arguments:
                at = place_of(arguments[error.argument], error.position)
            problem = labelled(error.problem, given.get(error.argument), error.position)
            raise AttnError([Diagnostic(problem, at)]) from None
        return _as_value(result, self.name)

    # --- which argument is which ----------------------------------------------------------------

    def _match(self) -> dict[str, list[syntax.Argument]]:
        parameters, keyword = self.op.parameters, self.op.keyword
        variadic = next((q for q in parameters if q.variadic), None)
        given = self.call.arguments
        parts = [a for a in given if a.name is None] if variadic is not None else []
        positional = [] if variadic is not None else [q.name for q in parameters if q.positional]
        named = [q.name for q in parameters if not q.variadic]
        others = ", ".join(f"{name} = ..." for name in named if name not in positional)
        remedy = f"name the others: {others}" if others else f"write {keyword}({', '.join(positional)})"
        signature = Signature(f"`{keyword}`", positional, named, remedy)
        rest = tuple(a for a in given if a not in parts)
        matched = signature.match(rest, self.frame.names.__contains__)
        found = {name: [argument] for name, argument in matched.items()}
        if variadic is not None and parts:
            found[variadic.name] = parts
        for parameter in parameters:
            if not parameter.optional and parameter.name not in found:
                named = [
                    f"{q.name} = ..." for q in parameters if not (q.optional or q.positional or q.variadic)
                ]
                example = f"{keyword}({', '.join([*positional, *named] if variadic is None else ['a', 'b'])})"
                missing = p.MissingArgument(f"`{keyword}`", parameter.name, f"write {example}")
                raise fail(missing, self.call.span)
        return found

    # --- arguments that stand for themselves ----------------------------------------------------

    def _early(
        self,
        every: Mapping[str, list[syntax.Argument]],
        given: Mapping[str, Any],
        parameter: OpParameter,
    ) -> Any:
        arguments = every[parameter.name]
        node = arguments[0].value
        match parameter.role:
            case "feature":
                return self._operand(parameter.name, node)
            case "features" if parameter.variadic:
                return tuple(each(lambda a: self._operand(parameter.name, a.value), arguments))
            case "features":
                value = self.work.expressions.value(node, self.frame)
                parts = value if isinstance(value, tuple) else (value,)
                nodes = node.items if isinstance(node, syntax.Tuple) else [node] * len(parts)
                return tuple(self._as_operand(parameter.name, *pair) for pair in zip(parts, nodes))
            case "number":
                return self._number(node, parameter.name)
            case "numbers":
                items = node.items if isinstance(node, syntax.Tuple) else None
                if items is None:
                    value = self.work.expressions.value(node, self.frame)
                    parts = value if isinstance(value, tuple) else (value,)
                    return tuple(self._size(part, node, parameter.name) for part in parts)
                return tuple(each(lambda item: self._integer(item, parameter.name), items))
            case "tokens":
                return self._tokens(node, parameter.name)
            case "axes":
                return read_axes(node, parameter.name, self.op.keyword, given.get("f"), self.frame)
            case _:
                return self._word(node, parameter)

    def _operand(self, role: str, node: syntax.Expression) -> Operand:
        work = self.work
        return self._as_operand(role, work.expressions.value(node, self.frame), node)

    def _as_operand(self, role: str, value: Value, node: syntax.Expression) -> Operand:
        feature = self.work.as_feature(value, f"{self.name}_{role}", node.span)
        if feature is not None:
            self._check_held(role, feature, node)
            text = self.frame.module.excerpt(node.span)
            return Operand(
                feature.name, feature.type, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
            )
        match value:
            case Fields(name=name, members=members):
                remedy = f"take one of its parts, e.g. {name}.{next(iter(members))}"
            case tuple():
                remedy = "take one item, e.g. [0]"
            case TokenSet() as tokens:
                remedy = f"name a tensor on it, e.g. input f : {tokens.name}"
            case Expr():
                remedy = "a number becomes one in arithmetic with a tensor, e.g. f * 2"
            case _:
                remedy = "declare it as an input: input q, k, v : x"
        what = f"`{role}` of {self.op.keyword}"
        raise fail(p.WrongValue(what, "a tensor", describe(value), remedy), node.span)

    def _check_held(self, role: str, feature: Feature, node: syntax.Expression) -> None:
        """Keys and values on pairs are never held in full, so only attend takes them."""
        if isinstance(feature.type.tokens.origin, Pairs) and role not in self.op.on_pairs:
            raise fail(p.OnPairs(f"`{role}` of {self.op.keyword}"), node.span)

    def _number(self, node: syntax.Expression, name: str) -> Expr:
        expr = self.work.expressions.number(node, self.frame, f"`{name}`")
        if fields(expr):
            remedy = "numbers are made of constants, parameters and extents"
            raise fail(p.WrongValue(f"`{name}`", "a number", "a tensor", remedy), node.span)
        self.work.expressions.keep(expr, "", node.span)
        return expr

    def _integer(self, node: syntax.Expression, name: str) -> Expr:
        return expect_integer(self._number(node, name), node.span, f"`{name}`")

    def _size(self, value: Value, node: syntax.Expression, name: str) -> Expr:
        if not isinstance(value, Expr) or fields(value):
            remedy = "write e.g. (7, 7)"
            raise fail(p.WrongValue(f"`{name}`", "integers", describe(value), remedy), node.span)
        return expect_integer(value, node.span, f"`{name}`")

    def _tokens(self, node: syntax.Expression, name: str) -> TokenSet:
        known = [tokens.name for tokens in self.work.token_sets]
        if isinstance(node, syntax.Name) and node.name not in self.frame.names:
            problem = p.UnknownName("token set", node.name, suggest(node.name, known))
            raise fail(problem, node.span)
        value = self.work.expressions.value(node, self.frame)
        if isinstance(value, TokenSet):
            return value
        remedy = f"token sets are: {', '.join(known)}"
        raise fail(p.WrongValue(f"`{name}`", "a token set", describe(value), remedy), node.span)

    def _word(self, node: syntax.Expression, parameter: OpParameter) -> str:
        if isinstance(node, syntax.Name) and node.name in parameter.words:
            return node.name
        text = self.frame.module.excerpt(node.span)
        remedy = f"choose one of: {', '.join(parameter.words)}"
        if isinstance(node, syntax.Name):
            remedy = suggest(node.name, parameter.words)
        words = p.WrongValue(f"`{parameter.name}`", "one of its words", f"`{text}`", remedy)
        raise fail(words, node.span)

    # --- arguments about a query and a key ------------------------------------------------------

    def _domain(
        self,
        given: Mapping[str, Any],
        late: Iterable[OpParameter],
        arguments: Mapping[str, list[syntax.Argument]],
    ) -> tuple[TokenSet, TokenSet] | None:
        """The sets that `i` and `j` range over; with one token set they are known even of wrong operands."""
        domain = self.op.domain(given)
        for parameter in late:
            if domain is None and parameter.role == "places":
                domain = self._label_tokens(arguments[parameter.name][0].value)
        if domain is None and len(self.work.token_sets) == 1:
            only = self.work.token_sets[0]
            return only, only
        given_features = [q for q in self.op.parameters if q.role == "feature" and q.name in arguments]
        if domain is None and late and not given_features:
            where = arguments[late[0].name][0].value.span  # type: ignore[index]
            remedy = "say which tokens are meant: of = x"
            raise fail(p.NoPair("i", "token", remedy), where)
        return domain

    def _label_tokens(self, node: syntax.Expression) -> tuple[TokenSet, TokenSet] | None:
        """A label brings its own tokens."""
        try:
            value = self.work.expressions.value(node, self.frame)
        except AttnError:
            return None
        return (value.type.tokens, value.type.tokens) if isinstance(value, Feature) else None

    def _late(self, parameter: OpParameter, node: syntax.Expression, pair: Pair) -> Any:
        ev, place = self.work.expressions, f"`{parameter.name}`"
        match parameter.role:
            case "places":
                return self._places(node, pair, place)
            case "condition":
                expr = ev.condition(node, self.frame.with_pair(replace(pair, integral=True)), place)
            case role:
                expr = ev.number(node, self.frame.with_pair(replace(pair, scored=role == "score")), place)
        ev.keep(expr, "", node.span)
        return simplify(expr, ev.knowledge.ranges(pair))

    def _places(self, node: syntax.Expression, pair: Pair, place: str) -> tuple[Expr, ...]:
        """Coordinates for every token `i`."""
        ev = self.work.expressions
        frame = self.frame.with_pair(pair)
        match ev.value(node, frame):
            case Position() as position:
                return position.coordinates
            case Feature(type=FeatureType(kind="int", width=None, tokens=tokens)) as label if (
                tokens == pair.query
            ):
                return (Load(label.name, tokens.coordinates(QUERY), "int"),)
            case tuple() as items:
                values: tuple[Value, ...] = items
            case value:
                values = (value,)
        exprs = [self._place(value, node, place) for value in values]
        return tuple(simplify(expr, ev.knowledge.ranges(pair)) for expr in exprs)

    def _place(self, value: Value, node: syntax.Expression, place: str) -> Expr:
        match value:
            case Position(tokens=tokens) if len(tokens.axes) == 1:
                return value.coordinates[0]
            case Expr():
                self.work.expressions.keep(value, "", node.span)
                return expect_integer(value, node.span, place)
        remedy = "coordinates are integer expressions of `i`, or an int field"
        raise fail(p.WrongValue(place, "coordinates", describe(value), remedy), node.span)


def _check_all(
    check: Callable[[OpParameter], _Result], items: Iterable[OpParameter], found: list[Diagnostic]
) -> dict[str, _Result]:
    """The results of the checks that pass; what is wrong with the others is added to `found`."""
    results: dict[str, _Result] = {}
    for item in items:
        try:
            results[item.name] = check(item)
        except AttnError as error:
            found += error.diagnostics
    return results


def _expressions(value: Any) -> tuple[Expr, ...]:
    match value:
        case Expr():
            return (value,)
        case tuple():
            return tuple(item for item in value if isinstance(item, Expr))
        case _:
            return ()


def _as_value(result: Result, name: str) -> Value:
    match result:
        case Operand(name=own, type=type_):
            return Feature(own, type_)
        case Record(fields=members):
            return Fields(name, {key: Feature(op.name, op.type) for key, op in members.items()})
        case items:
            return tuple(Feature(item.name, item.type) for item in items)
