"""Rewrites trees of LibCST bottom-up; visits code only, so that it is faster than LibCST's own visitors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Protocol

import libcst as cst

Kinds = tuple[type[cst.CSTNode], ...]


class Rule(Protocol):
    """Rewrites single nodes."""

    kinds: ClassVar[Kinds]
    """The nodes that it may change."""

    def __call__(self, node: Any) -> Any:
        """The node itself, another, or a list in its place where it stands in a sequence."""
        ...


@dataclass(frozen=True)
class Chain:
    """Rules one after the other on a node, so that one walk does for all."""

    rules: tuple[Rule, ...]
    by_kind: dict[type, tuple[Rule, ...]] = field(default_factory=dict)

    def __call__(self, node: Any) -> Any:
        """The node, rewritten by those rules that are for its kind."""
        for rule in self.of_kind(type(node)):
            if not isinstance(node, rule.kinds):
                continue  # an earlier rule made something else of it
            node = rule(node)
            if isinstance(node, list):
                return node
        return node

    def of_kind(self, kind: type) -> tuple[Rule, ...]:
        """The rules that may change nodes of a kind."""
        if kind not in self.by_kind:
            self.by_kind[kind] = tuple(rule for rule in self.rules if issubclass(kind, rule.kinds))
        return self.by_kind[kind]


_NO_CODE = frozenset(
    [
        "whitespace",
        "lpar",
        "rpar",
        "lbracket",
        "rbracket",
        "lbrace",
        "rbrace",
        "comma",
        "operator",
        "semicolon",
        "leading_lines",
        "header",
        "footer",
        "lines_after_decorators",
        "colon",
        "equal",
        "annotation",
        "returns",
        "keyword",
        "attr",
        "star",
        "dot",
        "asynchronous",
        "indent",
        "default_indent",
        "default_newline",
        "encoding",
        "has_trailing_newline",
        "newline",
        "first_line",
        "empty_lines",
        "last_line",
        "quick_token",
        "raw_value",
    ]
)
"""Fields that hold no expressions, or names that stand for no value."""
_PLAIN = (str, cst.MaybeSentinel)
_NAMED = (cst.FunctionDef, cst.ClassDef, cst.Param)
"""Nodes whose `name` is what they define."""


@cache
def code_fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    """The fields of a node in which expressions and statements are found."""
    names = [field.name for field in fields(kind)]
    skipped = {name for name in names if name in _NO_CODE or name.startswith("whitespace")}
    skipped |= {"name"} if issubclass(kind, _NAMED) else set()
    return tuple(name for name in names if name not in skipped)


def rewrite(node: Any, chain: Chain) -> Any:
    """The node with its parts rewritten, then itself. Nodes that do not change stay the same objects."""
    changes: dict[str, Any] = {}
    for name in code_fields(type(node)):
        value = getattr(node, name)
        if not value or isinstance(value, _PLAIN) or (name == "target" and binds(value)):
            continue
        several = isinstance(value, list | tuple)
        new = _rewritten(value, chain) if several else _single(rewrite(value, chain), value)
        if new is not value:
            changes[name] = new
    return chain(node.with_changes(**changes) if changes else node)


def binds(target: Any) -> bool:
    """Whether a target consists of names and attributes: no variable of interest is read in it."""
    match target:
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            return all(binds(element.value) for element in elements)
    return isinstance(target, cst.Name | cst.Attribute)


def _single(new: Any, old: Any) -> Any:
    """Statements in place of an `elif` are what else there is to do."""
    if not isinstance(new, list):
        return new
    return otherwise(old, new) if new else None


def otherwise(branch: cst.If, body: Sequence[Any]) -> cst.Else:
    """The `else` in place of an `elif`, without comments for type checkers: they were about the condition."""
    old: Any = branch.body
    comment = old.header.comment
    kept = "" if comment is None else comment.value.partition("# type:")[0].strip()
    header = old.header.with_changes(comment=cst.Comment(kept)) if kept else cst.TrailingWhitespace()
    return cst.Else(cst.IndentedBlock(body, header=header))


def _rewritten(nodes: Sequence[Any], chain: Chain) -> Sequence[Any]:
    """A sequence with its nodes rewritten; a list in place of a node joins it."""
    found: list[Any] = []
    for node in nodes:
        new = rewrite(node, chain)
        found += new if isinstance(new, list) else [new]
    if len(found) == len(nodes) and all(a is b for a, b in zip(found, nodes)):
        return nodes
    return ended(found, nodes)


def ended(kept: list[Any], old: Sequence[Any]) -> list[Any]:
    """Items that end as the old ones did: with or without a comma, on the same line or on the next."""
    if not kept or kept[-1] is old[-1] or not hasattr(kept[-1], "comma"):
        return kept
    names = [n for n in ("comma", "whitespace_after_arg", "whitespace_after_param") if hasattr(kept[-1], n)]
    kept[-1] = kept[-1].with_changes(
        **{name: getattr(old[-1], name) for name in names if hasattr(old[-1], name)}
    )
    return kept


def walk(node: Any) -> Iterator[Any]:
    """The node and the parts of it that are code."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        for name in reversed(code_fields(type(node))):
            value = getattr(node, name)
            if value and not isinstance(value, _PLAIN):
                waiting.extend(reversed(value) if isinstance(value, list | tuple) else (value,))


def code(node: cst.CSTNode) -> str:
    """The text of a node."""
    return cst.Module([]).code_for_node(node)


def in_place_of(node: Any, part: Any) -> Any:
    """A part of an expression that stands for all of it, in its brackets where they may be needed."""
    atoms = cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.Integer | cst.SimpleString
    displays = cst.List | cst.Dict
    if not getattr(node, "lpar", ()) or part.lpar or isinstance(part, atoms | displays):
        return part
    return part.with_changes(lpar=node.lpar, rpar=node.rpar)


def unfolded(lines: Sequence[cst.EmptyLine], body: Sequence[Any]) -> list[Any]:
    """The statements of a branch in its place; the comments before it come with the first one."""
    if not body:
        return []
    first = body[0].with_changes(leading_lines=[*lines, *body[0].leading_lines])
    return [first, *body[1:]]
