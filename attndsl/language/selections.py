"""What `top`, `mass` and `minmax` choose from: a tensor, or an expression of pairs that becomes one.

`over = j`, `i` or `(i, j)` says that the entries are pairs. Which tokens `i` and `j` are follows from the
features that are looked up at the whole position: in `dot(q[i], kb[j])` they are those of `q` and of `kb`.
A side that no lookup tells is on the set of the other; if neither is told, both are on the one declared
token set. `on = (x, c)` names them where this is not what is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from attndsl.diagnostics import AttnError, Diagnostic, fail
from attndsl.ir.index import Expr, Load
from attndsl.ir.ops import Operand, Over, Tabulate
from attndsl.ir.problem import Span
from attndsl.ir.rewrite import simplify
from attndsl.ir.tokens import KEY, QUERY, Relation, TokenSet, relation
from attndsl.ir.types import HEADS, FeatureType
from attndsl.ir.walk import fields, substitute, variables
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.reductions import read_axes
from attndsl.language.scope import Deferred, Frame, Pair, Value
from attndsl.language.values import Feature
from attndsl.language.vocabulary import is_operator_call
from attndsl.language.workspace import Workspace

Nodes = Mapping[str, syntax.Expression]
"""The arguments of the call by parameter."""

PAIR_ROLES = (QUERY, KEY)


@dataclass(frozen=True)
class EntriesReader:
    """Reads the entries of one call.

    Attributes:
        name: what the call's result will be called.
        operand: evaluates a tensor argument.
    """

    work: Workspace
    frame: Frame
    keyword: str
    name: str
    operand: Callable[[str, syntax.Expression], Operand]

    def read(self, nodes: Nodes, call: Span) -> dict[str, Any]:
        """`e`, `where` and `always` as operands, and `over`.

        Raises:
            AttnError: with everything that is wrong with them.
        """
        roles = pair_roles(nodes.get("over"))
        if roles is None and ("over" not in nodes or "e" not in nodes):
            self._check_told(nodes, call)
        if roles is not None:
            return self._of_pairs(nodes, roles)
        if "on" in nodes:
            remedy = "leave it out: a tensor knows its tokens"
            problem = p.Misplaced("`on`", "in a selection from a tensor", remedy)
            raise fail(problem, nodes["on"].span)
        return self._of_tensor(nodes)

    def _check_told(self, nodes: Nodes, call: Span) -> None:
        """Entries that are pairs need `over`, since there are three ways to choose among them."""
        if not _about_pairs(nodes["e"], self.frame):
            return
        remedy = "write over = j (the best keys of each query), over = i, or over = (i, j)"
        raise fail(p.MissingArgument(f"`{self.keyword}` of pairs", "over", remedy), call)

    # --- tensors --------------------------------------------------------------------------------

    def _of_tensor(self, nodes: Nodes) -> dict[str, Any]:
        e = self.operand("e", nodes["e"])
        tokens = e.type.tokens
        given: dict[str, Any] = {"e": e, "over": Over(axes=tuple(range(len(tokens.axes))))}
        if "over" in nodes:
            given["over"] = read_axes(nodes["over"], "over", self.keyword, e, self.frame)
        match tokens.origin:
            case Relation(query, key):
                frame = self.frame.with_pair(Pair(query, key))
            case _:
                frame = self.frame.with_pair(Pair(tokens, tokens, places=True))
        return given | self._conditions(nodes, frame, tokens)

    # --- pairs ----------------------------------------------------------------------------------

    def _of_pairs(self, nodes: Nodes, roles: tuple[str, ...]) -> dict[str, Any]:
        query, key = self._sets(nodes)
        tokens = relation(query, key)
        assert isinstance(tokens.origin, Relation)
        sides = tokens.origin.sides
        chosen = [side for role, side in zip(PAIR_ROLES, sides) if role in roles]
        over = Over(axes=tuple(axis for side in chosen for axis in side))
        frame = self.frame.with_pair(Pair(query, key))
        given: dict[str, Any] = {"over": over}
        found: list[Diagnostic] = []
        try:
            e = self.work.expressions.number(nodes["e"], frame, "`e`")
            given["e"] = self._table(e, "e", tokens, frame, nodes["e"].span)
        except AttnError as error:
            found += error.diagnostics
        try:
            given |= self._conditions(nodes, frame, tokens)
        except AttnError as error:
            found += error.diagnostics
        if found or "e" not in given:
            raise AttnError(found)
        return given

    def _conditions(self, nodes: Nodes, frame: Frame, tokens: TokenSet) -> dict[str, Operand]:
        assert frame.pair is not None
        frame = replace(frame, pair=replace(frame.pair, integral=True))
        given: dict[str, Operand] = {}
        for name in ("where", "always"):
            if name in nodes:
                expr = self.work.expressions.condition(nodes[name], frame, f"`{name}`")
                given[name] = self._table(expr, name, tokens, frame, nodes[name].span)
        return given

    def _table(self, expr: Expr, role: str, tokens: TokenSet, frame: Frame, span: Span) -> Operand:
        """The values of an expression as a tensor on `tokens`."""
        work, types = self.work, self.work.types
        work.expressions.keep(expr, "", span)
        expr = simplify(expr, work.expressions.knowledge.ranges(frame.pair))
        match expr, tokens.origin:
            case Load(name, coords), Relation(query, key) if types[name].tokens == tokens and coords == (
                *query.coordinates(QUERY),
                *key.coordinates(KEY),
            ):
                return Operand(name, types[name])
        looked_up = [types[name] for name in sorted(fields(expr))]
        heads = next((type_.heads for type_ in looked_up if type_.heads is not None), None)
        if heads is None and variables(expr) & {"head", "heads"}:
            heads = HEADS
        if heads not in (None, HEADS):
            expr = substitute(expr, {"heads": heads})
        batch = any(type_.batch for type_ in looked_up)
        kind = expr.kind if expr.kind == "bool" else "real"
        type_ = FeatureType(tokens, kind, batch=batch, heads=heads)
        value = work.add(Tabulate(expr, type_), f"{self.name}_{role}", span)
        return Operand(value.name, type_, self.frame.module.excerpt(span))

    # --- which tokens i and j are ---------------------------------------------------------------

    def _sets(self, nodes: Nodes) -> tuple[TokenSet, TokenSet]:
        """The sets of query and key, by the rule at the head of this file."""
        if "on" in nodes:
            return self._named_sets(nodes["on"])
        told: dict[str, TokenSet] = {}
        for name in ("e", "where", "always"):
            if name in nodes:
                for role, tokens in _told(nodes[name], self.frame):
                    told.setdefault(role, tokens)
        declared = self.work.token_sets
        if not told and len(declared) > 1:
            names = ", ".join(tokens.name for tokens in declared)
            remedy = f"say which tokens are meant: on = (query set, key set), of {names}"
            raise fail(p.NoPair("i", "query", remedy), nodes["e"].span)
        anyone = next(iter(told.values()), declared[0])
        return told.get(QUERY, anyone), told.get(KEY, anyone)

    def _named_sets(self, node: syntax.Expression) -> tuple[TokenSet, TokenSet]:
        value = self.work.expressions.value(node, self.frame)
        match value:
            case (TokenSet() as query, TokenSet() as key):
                return query, key
        remedy = "name the tokens of i and of j: on = (x, c)"
        text = self.frame.module.excerpt(node.span)
        raise fail(p.WrongValue("`on`", "two token sets", f"`{text}`", remedy), node.span)


def pair_roles(over: syntax.Expression | None) -> tuple[str, ...] | None:
    """`i`, `j` or both, where `over` names them; None where the entries are those of a tensor."""
    match over:
        case syntax.Name(name=name) if name in PAIR_ROLES:
            return (name,)
        case syntax.Tuple(items=items) if items:
            names = tuple(item.name for item in items if isinstance(item, syntax.Name))
            if len(names) == len(items) and set(names) <= set(PAIR_ROLES):
                return names
    return None


def _about_pairs(node: syntax.Expression, frame: Frame) -> bool:
    """Whether an expression speaks of `i` and `j`, itself or through a name; tensors do not."""
    match node:
        case syntax.Name(name=name):
            match _bound(name, frame):
                case Feature(type=FeatureType(tokens=TokenSet(origin=Relation()))) | Deferred():
                    return True
            return name in PAIR_ROLES
        case syntax.Call() if is_operator_call(node):
            return False
    return any(_about_pairs(child, frame) for child in syntax.children(node))


def _told(node: syntax.Expression, frame: Frame) -> Iterator[tuple[str, TokenSet]]:
    """Which sets the lookups in an expression say that `i` and `j` are on."""
    children = syntax.children(node)
    match node:
        case syntax.Name(name=name):
            match _bound(name, frame):
                case Deferred(syntax=inner, frame=own):
                    yield from _told(inner, own)
                case Feature(type=FeatureType(tokens=TokenSet(origin=Relation(query, key)))):
                    yield from zip(PAIR_ROLES, (query, key))
        case syntax.Call() if is_operator_call(node):
            return
        case syntax.Index(value=syntax.Name(name=name), coords=coords):
            sides: tuple[TokenSet, ...] = ()
            match _bound(name, frame):
                case Feature(type=FeatureType(tokens=TokenSet(origin=Relation(query, key)))):
                    sides = query, key
                case Feature(type=FeatureType(tokens=tokens)) if len(coords) == 1:
                    sides = (tokens,)
            for coord, tokens in zip(coords, sides):
                match coord:
                    case syntax.Name(name=role) if role in PAIR_ROLES:
                        yield role, tokens
            children = coords
    for child in children:
        yield from _told(child, frame)


def _bound(name: str, frame: Frame) -> Value | None:
    binding = frame.names.get(name)
    return None if binding is None else binding.value
