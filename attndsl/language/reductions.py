"""What a reduction runs over: `over = heads`, `over = width`, `over = x`, `over = w`, `axis = 0`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attndsl.diagnostics import fail
from attndsl.ir.index import Load
from attndsl.ir.ops import Operand, Over
from attndsl.ir.tokens import KEY, QUERY, Relation, TokenSet
from attndsl.ir.types import FeatureType
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import each
from attndsl.language.scope import Frame
from attndsl.language.vocabulary import suggest


def read_axes(node: syntax.Expression, name: str, keyword: str, f: Operand | None, frame: Frame) -> Over:
    """The axes that an argument names, of the feature to be reduced."""
    if f is None:
        remedy = f"write {keyword}(f, {name} = ...)"
        raise fail(p.MissingArgument(f"`{keyword}`", "f", remedy), node.span)
    tokens = f.type.tokens
    match node:
        case syntax.Tuple(items=items):
            parts = each(lambda item: read_axes(item, name, keyword, f, frame), items)
            return Over(
                any(part.heads for part in parts),
                any(part.width for part in parts),
                tuple(sorted({axis for part in parts for axis in part.axes})),
            )
        case syntax.Name(name="heads"):
            return Over(heads=True)
        case syntax.Name(name=word) if (axis := tokens.axis(word)) is not None:
            return Over(axes=(tokens.axes.index(axis),))
        case syntax.Name(name="width"):
            return Over(width=True)
        case syntax.Name(name="i" | "j" as role) if isinstance(tokens.origin, Relation):
            return Over(axes=tokens.origin.sides[role == "j"])
        case syntax.Name(name=word):
            binding = frame.names.get(word)
            if binding is not None and isinstance(binding.value, TokenSet):
                return _whole_set(node, binding.value, f)
        case syntax.Number(value=int() as number) if (axis := tokens.axis(str(number))) is not None:
            return Over(axes=(tokens.axes.index(axis),))
    own = ("i", "j") if isinstance(tokens.origin, Relation) else tokens.axis_names
    choices = ["heads", "width", *own]
    if tokens.name.isidentifier():
        choices.append(tokens.name)
    word = node.name if isinstance(node, syntax.Name) else frame.module.excerpt(node.span)
    problem = p.WrongValue(f"`{name}`", f"an axis of `{f}`", f"`{word}`", suggest(word, choices))
    raise fail(problem, node.span)


def _whole_set(node: syntax.Expression, tokens: TokenSet, f: Operand) -> Over:
    own = f.type.tokens
    if not tokens.matches(own):
        remedy = f"`{f}` lives on {own}"
        raise fail(p.WrongValue("`over`", f"the tokens of `{f}`", f"{tokens}", remedy), node.span)
    return Over(axes=tuple(range(len(own.axes))))


def labelled_set(
    given: Mapping[str, Any], types: Mapping[str, FeatureType], domain: tuple[TokenSet, TokenSet] | None
) -> TokenSet | None:
    """The set that coordinates lie on, where they say so: one label, or the whole of `i` or `j`."""
    for value in given.values():
        match value:
            case (Load(field),):
                return types[field].labels
            case tuple() as coords if domain is not None and on_relation(given):
                for role, tokens in zip((QUERY, KEY), domain):
                    if coords == tokens.coordinates(role):
                        return tokens
    return None


def on_relation(given: Mapping[str, Any]) -> bool:
    """Whether the feature of a call lives on pairs, so that its coordinates are `i` and `j`."""
    match given.get("f"):
        case Operand(type=FeatureType(tokens=TokenSet(origin=Relation()))):
            return True
    return False
