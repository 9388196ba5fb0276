"""What `[ ]` and `.` mean: items of tuples, fields at coordinates, coordinates, extents, widths."""

from __future__ import annotations

from dataclasses import replace

from attndsl.diagnostics import AttnError, fail
from attndsl.ir.index import Const, Expr, Load, Var
from attndsl.ir.text import show
from attndsl.ir.tokens import Relation, TokenSet
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import fields, substitute, variables
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.arithmetic import pick
from attndsl.language.evaluator import Evaluator, as_number, each
from attndsl.language.kinds import allow_kind, expect_integer
from attndsl.language.requirements import InsideField, coordinate_extents
from attndsl.language.scope import Frame, Value, describe
from attndsl.language.values import Extent, Feature, Fields, Position
from attndsl.language.vocabulary import suggest


def attribute(ev: Evaluator, node: syntax.Attribute, frame: Frame) -> Value:
    """`i.h`, `x.w`, `extent.h`, `q.width`."""
    value = ev.value(node.value, frame)
    match value:
        case Position(role, tokens):
            if found := tokens.axis(node.name):
                return tokens.coordinate(role, found.name)
            raise _no_axis(tokens, node)
        case TokenSet() | Extent():
            tokens = value if isinstance(value, TokenSet) else value.tokens
            if axis := tokens.axis(node.name):
                return axis.extent
            raise _no_axis(tokens, node)
        case Feature(type=FeatureType(width=Expr() as width)) if node.name == "width":
            return width
        case Feature(type=FeatureType(partial=True)) if node.name == "lse":
            return ev.lse_of(value, node.span)
        case Fields(members=members) if node.name in members:
            return members[node.name]
        case Fields(members=members):
            remedy = suggest(node.name, members)
            raise fail(p.NoSuchPart(value.name, node.name, remedy), node.span)
        case Feature() | Expr() if node.name == "lse":
            remedy = "only results of softmax attends have one, before any arithmetic"
            problem = p.WrongValue("`.lse`", "the result of a softmax attend", describe(value), remedy)
            raise fail(problem, node.value.span)
        case Var(name) if name.startswith(("i.", "j.")):
            remedy = f"an axis is chosen already: `{_name_of(node.value)}` is {name} here"
        case Feature():
            remedy = "a tensor has .width and, if attend gave it, .lse; a field has nothing"
        case _:
            remedy = "coordinates are i.axis, extents set.axis, widths q.width"
    problem = p.WrongValue(f"`.{node.name}`", "a position or token set", describe(value), remedy)
    raise fail(problem, node.value.span)


def _no_axis(tokens: TokenSet, node: syntax.Attribute) -> AttnError:
    remedy = suggest(node.name, tokens.axis_names)
    return fail(p.NoSuchAxis(tokens.name, node.name, remedy), node.span)


def _name_of(node: syntax.Expression) -> str:
    return node.name if isinstance(node, syntax.Name) else "this"


def covered(ev: Evaluator, name: str, node: syntax.Call, frame: Frame) -> Value:
    """`first(j)`, `last(j)`: where the tokens that a pooled token covers begin and end."""
    remedy = f"write {name}(i) or {name}(j)"
    if not node.arguments:
        raise fail(p.MissingArgument(f"`{name}`", "token", remedy), node.span)
    first, *others = node.arguments
    if others:
        many = p.TooManyArguments(f"`{name}`", "1 argument", len(node.arguments), remedy)
        raise fail(many, others[0].span)
    if first.name is not None:
        raise fail(p.UnknownArgument(f"`{name}`", first.name, remedy), first.span)
    argument = first.value
    value = ev.value(argument, frame)
    found = value.tokens.covered(value.coordinates, name == "last") if isinstance(value, Position) else None
    if found is None:
        remedy = "use it on i or j of a set that `pool` made, or write the coordinate, e.g. j * 4 + 3"
        problem = p.WrongValue(f"`{name}`", "a token of a pooled set", describe(value), remedy)
        raise fail(problem, argument.span)
    return found[0] if len(found) == 1 else found


def index(ev: Evaluator, node: syntax.Index, frame: Frame) -> Value:
    """`size[0]`, `label[i]`, `depth[i.h, j.w]`."""
    value = ev.value(node.value, frame)
    match value:
        case tuple():
            return _item(ev, value, node, frame)
        case Feature(type=type_) if type_.width is None:
            return load(ev, value, node, frame)
        case Feature(name=name):
            declared = f"declare `{name}` with `scalar`"
            remedy = (
                f"only values without a width are looked up: {declared}, or use sum({name}, over = width); "
                f"two vectors meet in dot({name}[i], ...)"
            )
        case Fields(name=name, members=members):
            remedy = f"its parts are chosen with a dot, e.g. {name}.{next(iter(members))}"
        case Expr() if describe(value).startswith("a tensor"):
            remedy = "bind it to a name in the attention first, and look that up: f = ...; f[i]"
        case _:
            remedy = "inputs declared int, bool or scalar are fields: input label : x int"
    raise fail(p.WrongValue("an index", "a field or tuple", describe(value), remedy), node.value.span)


def _item(ev: Evaluator, items: tuple[Value, ...], node: syntax.Index, frame: Frame) -> Value:
    if len(node.coords) != 1:
        problem = p.TupleIndex("two indices are", len(items), f"{len(node.coords)} indices", "give one index")
        raise fail(problem, node.coords[1].span)
    at = ev.integer(node.coords[0], frame, "an index")
    match at:
        case Const(int() as position) if 0 <= position < len(items):
            return items[position]
    return pick(
        ev,
        [as_number(item, node.value, frame, "a tuple", "a number or condition") for item in items],
        at,
        node,
        frame,
    )


def load(ev: Evaluator, field: Feature, node: syntax.Index, frame: Frame) -> Expr:
    """A tensor at coordinates."""
    tokens = field.type.tokens
    assert tokens is not None
    match tokens.origin:
        case Relation() as origin:
            coords = _related_coordinates(ev, node, field, origin, frame)
        case _:
            own_shape = len(node.coords) > 1 or tokens.name == field.name
            parts = each(lambda coord: _coordinates(ev, coord, field, own_shape, frame), node.coords)
            coords = [expr for part in parts for expr in part]
    if len(coords) != len(tokens.axes):
        count = len(tokens.axes)
        example = f"{field.name}[{', '.join(f'i.{a}' for a in tokens.axis_names)}] or {field.name}[i]"
        words = f"{count} coordinate{'' if count == 1 else 's'}"
        raise fail(p.FieldCoordinates(field.name, tokens.name, words, len(coords), example), node.span)
    load = allow_kind(Load(field.name, tuple(coords), field.type.kind), node.span, frame)
    if frame.pair is not None and frame.pair.integral:
        for coord, axis in zip(coords, tokens.axes):
            _stay_inside(ev, field, coord, axis.name, node, frame)
    return load


def _related_coordinates(
    ev: Evaluator, node: syntax.Index, field: Feature, origin: Relation, frame: Frame
) -> list[Expr]:
    """`keep[i, j]`, `m[i, j // 4]`, `m[i, (j.h // 2, j.w // 2)]`: a place of the query and one of the key."""
    sides = origin.query, origin.key
    if len(node.coords) != 2:
        example = f"{field.name}[i, j]: a place on {sides[0].name} and one on {sides[1].name}"
        name, given = field.type.tokens.name, len(node.coords)
        raise fail(p.FieldCoordinates(field.name, name, "two places", given, example), node.span)
    places = zip(node.coords, (Feature(field.name, replace(field.type, tokens=side)) for side in sides))
    parts = each(lambda place: _coordinates(ev, *place, False, frame), places)
    for part, side, coord in zip(parts, sides, node.coords):
        if len(part) != len(side.axes):
            words = f"{len(side.axes)} coordinate{'' if len(side.axes) == 1 else 's'} there"
            example = f"one coordinate for each of {', '.join(side.axis_names)}, in parentheses"
            raise fail(p.FieldCoordinates(field.name, side.name, words, len(part), example), coord.span)
    return [expr for part in parts for expr in part]


def _coordinates(
    ev: Evaluator, node: syntax.Expression, field: Feature, numbers: bool, frame: Frame
) -> tuple[Expr, ...]:
    """One expression, or one per axis for a whole position or a tuple.

    With `numbers` a position on a set with one axis is its coordinate, as in `table[j, i]`.
    """
    tokens = field.type.tokens
    match ev.value(node, frame):
        case Position(tokens=other) as position if numbers and len(other.axes) == 1:
            return position.coordinates
        case Position(tokens=other) as position:
            if other != tokens:
                raise fail(p.WrongSet(field.name, tokens.name, _name_of(node), other.name), node.span)
            return position.coordinates
        case tuple() as items:
            values = items
        case value:
            values = (value,)
    exprs = (as_number(value, node, frame, "a coordinate", "an integer") for value in values)
    return tuple(expect_integer(expr, node.span, "a coordinate") for expr in exprs)


def _stay_inside(
    ev: Evaluator, field: Feature, coord: Expr, axis: str, node: syntax.Index, frame: Frame
) -> None:
    """Where visibility depends on a field, it must be looked up at its own tokens."""
    tokens = field.type.tokens
    assert tokens is not None
    extent = next(known.extent for known in tokens.axes if known.name == axis)
    inside = (Const(0) <= coord) & (coord < extent)
    if ev.proves(inside, frame):
        return
    problem = p.MayBeOutside(field.name, axis, tokens.name, show(extent - 1))
    limits = coordinate_extents(variables(inside), frame)
    corners = [{name: Const(0) for name, _ in limits}, {name: limit - 1 for name, limit in limits}]
    outside = (coord < 0) | (extent <= coord)
    if fields(coord) or any(ev.proves(substitute(outside, corner), frame) for corner in corners):
        raise fail(problem, node.span)
    text, span = frame.module.excerpt(node.span), frame.blamed(node.span)
    requirement = InsideField(inside, text, field.name, span, node.span, coordinates=limits, problem=problem)
    ev.demand(requirement, frame)
