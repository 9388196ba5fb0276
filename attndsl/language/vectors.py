"""`dot(q[i], k[j])`: the product of two vectors, the one place where tensors with a width are looked up."""

from __future__ import annotations

from dataclasses import replace

from attndsl.diagnostics import fail
from attndsl.ir.index import Const, Expr, apply
from attndsl.ir.types import FeatureType
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import Evaluator, each
from attndsl.language.fields import load
from attndsl.language.kinds import allow_kind
from attndsl.language.scope import Frame, describe
from attndsl.language.values import Feature


def dot(ev: Evaluator, node: syntax.Call, frame: Frame) -> Expr:
    """The sum over the width of the products of two vectors.

    Raises:
        AttnError: there is no query and key, or an argument is no vector at a place.
    """
    if frame.pair is None:
        remedy = "use it where there are a query and a key: in bias, score, times, top, mass or minmax"
        raise fail(p.NoPair("dot", "query and key", remedy), node.span)
    if len(node.arguments) != 2 or any(argument.name for argument in node.arguments):
        raise fail(p.MissingArgument("`dot`", "b", "it takes two vectors: dot(q[i], k[j])"), node.span)
    real = replace(frame, pair=replace(frame.pair, integral=False))
    a, b = each(lambda argument: _vector(ev, argument.value, real), node.arguments)
    match a[0].type.width, b[0].type.width:
        case Const(int() as first), Const(int() as second) if first != second:
            found = f"{first} and {second} channels"
            remedy = "project one of them to the width of the other"
            raise fail(p.WrongValue("`dot`", "vectors of one width", found, remedy), node.span)
    loads = each(lambda vector: load(ev, *vector, real), (a, b))
    return allow_kind(apply("dot", *loads), node.span, frame)


def _vector(ev: Evaluator, node: syntax.Expression, frame: Frame) -> tuple[Feature, syntax.Index]:
    """An argument: a tensor with a width, and where it is looked up."""
    found = f"`{frame.module.excerpt(node.span)}`"
    if isinstance(node, syntax.Index):
        match ev.value(node.value, frame):
            case Feature(type=FeatureType(kind="real", width=Expr())) as vector:
                return vector, node
            case value:
                found = describe(value)
    remedy = "its arguments are tensors with a width at a place: dot(q[i], k[j])"
    raise fail(p.WrongValue("`dot`", "a vector at a place", found, remedy), node.span)
