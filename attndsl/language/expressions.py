"""Gives every expression its value: numbers, conditions, fields at coordinates, tuples, tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from attndsl.diagnostics import AttnError, Diagnostic
from attndsl.ir.functions import USER_FUNCTIONS
from attndsl.ir.index import FALSE, ZERO, ArithmeticProblem, Const, Expr, Load, Var, apply
from attndsl.ir.namespaces import EXACT
from attndsl.ir.requirement import Requirement
from attndsl.ir.rewrite import Ranges
from attndsl.ir.tokens import TokenSet
from attndsl.ir.walk import evaluate, variables
from attndsl.language import arithmetic, patterns, syntax
from attndsl.language import problems as p
from attndsl.language.evaluator import numeric, refuse
from attndsl.language.limits import MAX_EXTENT, MAX_NODES
from attndsl.language.scope import Frame, Pair, suggest
from attndsl.language.values import (
    RESERVED,
    Deferred,
    Extent,
    Feature,
    PatternRef,
    Position,
    Value,
    describe,
)

MAX_HEADS = 2**16
FUNCTION_NAMES = (*USER_FUNCTIONS, "clamp")
OpCall = Callable[[syntax.Call, Frame], Value]


class Expressions:
    """Evaluates syntax in frames. Collects requirements and the spec's names for subexpressions.

    Args:
        operators: how calls of operators (`attend`) are checked, by name.
    """

    def __init__(self, operators: dict[str, OpCall]) -> None:
        self.operators = operators
        self.requirements: dict[tuple[Expr, object], Requirement] = {}
        self.labels: dict[Expr, str] = {}
        self.expanded: dict[tuple[str, str], syntax.Pattern] = {}
        self._visited = 0

    def value(self, node: syntax.Expression, frame: Frame) -> Value:
        """The value of an expression of any sort.

        Raises:
            AttnError: the expression has no meaning in this frame.
        """
        self._visited += 1
        if self._visited > MAX_NODES:
            refuse(p.TooManyNodes(MAX_NODES), frame.call or node.span)
        try:
            return self._value(node, frame)
        except ArithmeticProblem as problem:
            refuse(p.Arithmetic(str(problem)), node.span)

    def _value(self, node: syntax.Expression, frame: Frame) -> Value:
        match node:
            case syntax.Number(value=value):
                return arithmetic.allow_kind(Const(value), node.span, frame)
            case syntax.Name():
                return self._name(node, frame)
            case syntax.Tuple(items=items):
                return tuple(self.each([(lambda item=item: self.value(item, frame)) for item in items]))
            case syntax.Attribute():
                return self._attribute(node, frame)
            case syntax.Index():
                return self._index(node, frame)
            case syntax.Call():
                return self._call(node, frame)
            case syntax.Lift():
                return patterns.lift(self, node, frame)
            case syntax.Unary():
                return self._unary(node, frame)
            case syntax.Binary(operator="and" | "or" as operator, operands=operands):
                place = f"`{operator}`"
                checks = [(lambda operand=operand: self.condition(operand, frame, place)) for operand in operands]
                return apply(operator, *self.each(checks))
            case syntax.Binary():
                return arithmetic.binary(self, node, frame)
            case syntax.Comparison():
                return arithmetic.compare(self, node, frame)
            case syntax.Choice(test=test, a=a, b=b):
                condition = self.condition(test, frame, "`if`")
                values = [numeric(self.value(branch, frame), branch, frame, "a choice") for branch in (a, b)]
                return arithmetic.choose(condition, *values, node)

    def each(self, checks: Sequence[Callable[[], Value]]) -> list[Value]:
        """Runs all checks, so that errors in one do not hide errors in the next."""
        found: list[Diagnostic] = []
        values: list[Value] = []
        failed = False
        for check in checks:
            try:
                values.append(check())
            except AttnError as error:
                failed = True
                found += error.diagnostics
        if failed:
            raise AttnError(found)
        return values

    def number(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """An integer or real expression."""
        value = numeric(self.value(node, frame), node, frame, place)
        return arithmetic.expect_number(value, node.span, place)

    def integer(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """An integer expression."""
        value = numeric(self.value(node, frame), node, frame, place)
        return arithmetic.expect_integer(value, node.span, place)

    def condition(self, node: syntax.Expression, frame: Frame, place: str) -> Expr:
        """A condition."""
        value = numeric(self.value(node, frame), node, frame, place)
        return arithmetic.expect_condition(value, node.span, place)

    def ranges(self, frame: Frame) -> Ranges:
        """Coordinates start at 0 and end below their extents; symbols are at least 1."""
        return pair_ranges(frame.pair)

    def demand(self, requirement: Requirement) -> None:
        """Adds a requirement; raises if it can already be seen to fail."""
        if not variables(requirement.condition) - {name for name, _ in requirement.coordinates}:
            sizes = {name: 1 for name in variables(*(extent for _, extent in requirement.coordinates))}
            fixed = not sizes or requirement.condition is FALSE
            if fixed and (problem := requirement.failure({})):
                refuse(problem, requirement.span)
            if fixed:
                return
        self.requirements.setdefault((requirement.condition, requirement.span), requirement)

    def label(self, expr: Value, name: str) -> None:
        """Remembers the spec's name for a subexpression."""
        if isinstance(expr, Expr) and not isinstance(expr, Const | Var):
            self.labels.setdefault(expr, name)

    def _name(self, node: syntax.Name, frame: Frame) -> Value:
        name = node.name
        binding = frame.binding(name)
        if binding is not None:
            if binding.default:
                patterns.note_default_use(frame, name, node.span)
            return self._force(binding.value, node, frame) if isinstance(binding.value, Deferred) else binding.value
        if name in RESERVED:
            return self._reserved(node, frame)
        found = frame.module.find(name)
        if found is not None:
            self.expanded[(found[1].name, name)] = found[0]
            return patterns.expand(self, PatternRef(*found), (), node.span, frame)
        if name in self.operators or name in FUNCTION_NAMES:
            refuse(p.WrongValue("an expression", "a value", f"the function `{name}`", f"call it: {name}(...)"), node.span)
        refuse(p.UnknownName("name", name, suggest(name, self._visible(frame))), node.span)

    def _visible(self, frame: Frame) -> list[str]:
        return [*frame.names, *frame.module.pattern_names(), *self.operators, *FUNCTION_NAMES, "head", "heads"]

    def _force(self, value: Deferred, node: syntax.Name, frame: Frame) -> Value:
        """A named pair expression, evaluated for the pair at hand."""
        if frame.pair is None:
            remedy = f"`{node.name}` is a pair expression: use it in `where`, `bias` or `score` of attend"
            refuse(p.NoPair(node.name, "query and key", remedy), node.span)
        result = self.value(value.syntax, value.frame.with_pair(frame.pair))
        self.label(result, node.name)
        return result

    def _reserved(self, node: syntax.Name, frame: Frame) -> Expr:
        match node.name:
            case "heads":
                return Var("heads")
            case "head" if frame.pair is not None:
                return Var("head")
            case "s" if frame.pair is not None and frame.pair.scored:
                return Var("s", "real")
            case "s":
                refuse(p.NoPair("s", "score", "the score `s` can be changed in `score` only"), node.span)
        remedy = "queries and keys are given inside `where`, `bias` and `score` of attend"
        refuse(p.NoPair(node.name, RESERVED[node.name].removeprefix("the "), remedy), node.span)

    def _attribute(self, node: syntax.Attribute, frame: Frame) -> Expr:
        value = self.value(node.value, frame)
        match value:
            case Position(role, tokens):
                if tokens.axis(node.name):
                    return tokens.coordinate(role, node.name)
                refuse(p.NoSuchAxis(tokens.name, node.name, suggest(node.name, list(tokens.axis_names))), node.span)
            case TokenSet() | Extent():
                tokens = value if isinstance(value, TokenSet) else value.tokens
                if axis := tokens.axis(node.name):
                    return axis.extent
                refuse(p.NoSuchAxis(tokens.name, node.name, suggest(node.name, list(tokens.axis_names))), node.span)
            case Feature(type=type_) if node.name == "width" and type_.width:
                return Var(f"{type_.width}.width")
        remedy = "coordinates are i.axis, extents set.axis, widths q.width"
        refuse(p.WrongValue(f"`.{node.name}`", "a position, token set or tensor", describe(value), remedy), node.span)

    def _index(self, node: syntax.Index, frame: Frame) -> Value:
        value = self.value(node.value, frame)
        match value:
            case tuple():
                if len(node.coords) != 1:
                    refuse(p.TupleIndex(len(value), "list", len(value) - 1), node.coords[1].span)
                index = self.integer(node.coords[0], frame, "an index")
                match index:
                    case Const(int() as at) if -1 < at < len(value):
                        return value[at]
                items = tuple(numeric(item, node.value, frame, "a tuple") for item in value)
                return arithmetic.pick(self, items, index, node, frame)
            case Feature(type=type_) if type_.width is None:
                return self._load(value, node, frame)
        remedy = "inputs declared int, bool or scalar are fields: input label : x int"
        refuse(p.WrongValue("an index", "a field or tuple", describe(value), remedy), node.value.span)

    def _load(self, field: Feature, node: syntax.Index, frame: Frame) -> Expr:
        tokens = field.type.tokens
        assert tokens is not None
        coords: list[Expr] = []
        for coord in node.coords:
            match self.value(coord, frame):
                case Position(tokens=other) as position:
                    if other != tokens:
                        name = coord.name if isinstance(coord, syntax.Name) else position.role
                        refuse(p.WrongSet(field.name, tokens.name, name, other.name), coord.span)
                    coords += position.coordinates
                case tuple() as items:
                    coords += [numeric(item, coord, frame, "a coordinate") for item in items]
                case other:
                    coords.append(numeric(other, coord, frame, "a coordinate"))
        if len(coords) != len(tokens.axes):
            example = f"{field.name}[{', '.join(f'i.{a}' for a in tokens.axis_names)}] or {field.name}[i]"
            problem = p.FieldCoordinates(field.name, tokens.name, len(tokens.axes), len(coords), example)
            refuse(problem, node.span)
        exprs = [arithmetic.expect_integer(coord, node.span, "a coordinate") for coord in coords]
        load = Load(field.name, tuple(exprs), field.type.kind)
        arithmetic.allow_kind(load, node.span, frame)
        if frame.pair is not None and frame.pair.integral:
            self._stay_inside(field, exprs, node, frame)
        return load

    def _stay_inside(self, field: Feature, coords: list[Expr], node: syntax.Index, frame: Frame) -> None:
        """Where visibility depends on a field, its coordinates must stay on its tokens."""
        assert field.type.tokens is not None
        for coord, axis in zip(coords, field.type.tokens.axes):
            if coord in (Var(f"i.{axis.name}"), Var(f"j.{axis.name}")):
                continue
            inside = (Const(0) <= coord) & (coord < axis.extent)
            text = f"coordinates of {field.name} inside axis {axis.name}"
            limits = tuple(patterns.coordinate_extents(variables(inside), frame))
            span = frame.call or node.span
            self.demand(Requirement(inside, text, field.name, span, node.span, coordinates=limits))

    def _call(self, node: syntax.Call, frame: Frame) -> Value:
        name = node.function
        if not isinstance(name, syntax.Name):
            refuse(p.NotCallable("this", "an expression", "only patterns, operators and functions are called"), node.span)
        binding = frame.binding(name.name)
        found = frame.module.find(name.name)
        if binding is not None and not (found and isinstance(binding.value, Deferred)):
            what = describe(binding.value)
            refuse(p.NotCallable(name.name, what, "an index is written with [ ]"), name.span)
        if found is not None:
            self.expanded[(found[1].name, name.name)] = found[0]
            return patterns.expand(self, PatternRef(*found), node.arguments, node.span, frame)
        if name.name in self.operators:
            return self.operators[name.name](node, frame)
        if name.name in FUNCTION_NAMES:
            for argument in node.arguments:
                if argument.name is not None:
                    problem = p.UnknownArgument(f"`{name.name}`", argument.name, "its arguments have no names")
                    refuse(problem, argument.span)
            args = [self.number(argument.value, frame, f"`{name.name}`") for argument in node.arguments]
            return arithmetic.call_function(name.name, args, node, frame)
        known = [*frame.module.pattern_names(), *self.operators, *FUNCTION_NAMES]
        refuse(p.UnknownName("pattern or function", name.name, suggest(name.name, known)), name.span)

    def _unary(self, node: syntax.Unary, frame: Frame) -> Expr:
        match node.operator:
            case "not":
                return apply("not", self.condition(node.operand, frame, "`not`"))
            case "-":
                return -self.number(node.operand, frame, "`-`")
            case _:
                return self.number(node.operand, frame, "`+`")


def pair_ranges(pair: Pair | None) -> Ranges:
    """Ranges of all variables that may occur in a pair expression."""
    boxes: dict[str, tuple[int, int]] = {"head": (0, MAX_HEADS - 1), "heads": (1, MAX_HEADS)}
    relative: dict[str, tuple[Expr, Expr]] = {}
    for role, tokens in (("i", pair.query), ("j", pair.key)) if pair else ():
        for axis in tokens.axes:
            extent = axis.extent
            top = evaluate(extent, {}, EXACT) if isinstance(extent, Const) else MAX_EXTENT
            boxes[tokens.coordinate(role, axis.name).name] = (0, top - 1)
            boxes |= {symbol: (1, MAX_EXTENT) for symbol in variables(extent)}
            relative[tokens.coordinate(role, axis.name).name] = (ZERO, extent - 1)
    return Ranges(boxes, relative)


def integral(pair: Pair) -> Pair:
    """The pair inside `where`."""
    return replace(pair, integral=True)
