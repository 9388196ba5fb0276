"""Keeps expressions small. Names are shared, so a short spec can describe an enormous expression."""

from __future__ import annotations

from math import isfinite

from attndsl.ir.index import Const, Expr
from attndsl.ir.problem import Problem
from attndsl.ir.walk import children
from attndsl.language import problems as p
from attndsl.language.limits import MAX_DEPTH, MAX_NODES


class Growth:
    """Measures expressions as if nothing were shared; remembers what it has measured."""

    def __init__(self) -> None:
        self._known: dict[Expr, tuple[int, int]] = {}

    def problem(self, expr: Expr) -> Problem | None:
        """What is wrong with the size of an expression, or with a constant in it."""
        stack = [expr]
        while stack:
            node = stack[-1]
            missing = [child for child in children(node) if child not in self._known]
            if missing:
                stack += missing
                continue
            stack.pop()
            match node:
                case Const(float() as value) if not isfinite(value):
                    return p.Arithmetic("it is too large")
            sizes = [self._known[child] for child in children(node)]
            size = 1 + sum(size for size, _ in sizes)
            depth = 1 + max((depth for _, depth in sizes), default=0)
            if size > MAX_NODES:
                return p.TooManyNodes(MAX_NODES)
            if depth > MAX_DEPTH:
                return p.NestedTooDeeply(MAX_DEPTH)
            self._known[node] = size, depth
        return None
