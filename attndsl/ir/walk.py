"""Generic traversals of expressions: substitution, free names, evaluation. Each visits a shared node once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import Apply, Const, Expr, Load, Operand, Var, apply, as_expr
from attndsl.ir.namespaces import Namespace


def postorder(roots: Iterable[Expr]) -> Iterator[Expr]:
    """Every node reachable from `roots`, operands first, each once."""
    seen: set[Expr] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(children(node)))


def children(expr: Expr) -> tuple[Expr, ...]:
    """The operands of a node."""
    match expr:
        case Apply(_, args):
            return args
        case Load(_, coords):
            return coords
        case _:
            return ()


def rebuild(expr: Expr, operands: tuple[Expr, ...]) -> Expr:
    """The same node on other operands, through the folding constructors."""
    match expr:
        case Apply(function):
            return apply(function, *operands)
        case Load(field, _, kind):
            return Load(field, operands, kind)
        case _:
            return expr


def transform(expr: Expr, rule: Callable[[Expr], Expr]) -> Expr:
    """Applies `rule` to every node, bottom-up, on already transformed operands."""
    done: dict[Expr, Expr] = {}
    for node in postorder([expr]):
        operands = tuple(done[child] for child in children(node))
        done[node] = rule(node if operands == children(node) else rebuild(node, operands))
    return done[expr]


def substitute(expr: Expr, values: Mapping[str, Operand]) -> Expr:
    """Replaces variables by expressions or numbers; constants fold on the way."""

    def rule(node: Expr) -> Expr:
        match node:
            case Var(name) if name in values:
                return as_expr(values[name])
            case _:
                return node

    return transform(expr, rule)


def variables(*exprs: Expr) -> set[str]:
    """Names of the variables that occur."""
    return {node.name for node in postorder(exprs) if isinstance(node, Var)}


def fields(*exprs: Expr) -> set[str]:
    """Names of the fields that are looked up."""
    return {node.field for node in postorder(exprs) if isinstance(node, Load)}


def evaluate(
    expr: Expr,
    values: Mapping[str, Any],
    ns: Namespace,
    loads: Mapping[str, Callable[..., Any]] | None = None,
) -> Any:
    """The value of `expr`.

    Args:
        values: a value for each variable; arrays broadcast.
        ns: the namespace the values belong to.
        loads: for each field a function from coordinates to values.
    """
    return evaluate_all([expr], values, ns, loads)[0]


def evaluate_all(
    exprs: Iterable[Expr],
    values: Mapping[str, Any],
    ns: Namespace,
    loads: Mapping[str, Callable[..., Any]] | None = None,
) -> list[Any]:
    """The values of several expressions that may share subexpressions."""
    roots = tuple(exprs)
    known: list[Any] = []
    steps, found = _steps(roots)
    for node, below in steps:
        match node:
            case Const(value):
                known.append(value)
            case Var(name):
                known.append(values[name])
            case Load(field):
                known.append((loads or {})[field](*(known[at] for at in below)))
            case Apply(function):
                known.append(FUNCTIONS[function].value(ns, *(known[at] for at in below)))
    return [known[at] for at in found]


@lru_cache(maxsize=256)
def _steps(roots: tuple[Expr, ...]) -> tuple[list[tuple[Expr, list[int]]], list[int]]:
    """The nodes in order, each with the places of its operands, and the places of the roots.

    Kept, because the same expressions are evaluated at many values.
    """
    place: dict[Expr, int] = {}
    steps: list[tuple[Expr, list[int]]] = []
    for node in postorder(roots):
        steps.append((node, [place[child] for child in children(node)]))
        place[node] = len(place)
    return steps, [place[root] for root in roots]
