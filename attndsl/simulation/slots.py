"""Issue slots that pair expressions cost per score, after what depends on one side alone is hoisted.

Measured on compiled kernels (128x128 tiles, sm_90): a causal mask costs 3.5 slots an element, a window
4.5; so a mask costs 3 and half a slot per comparison, because two comparisons fold into one.
"""

from __future__ import annotations

from dataclasses import dataclass

from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import TRUE, Apply, Expr, Load
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import children, postorder

MASK_BASE, LOGIC, ARITHMETIC, DIVISION, LOOK_UP = 3.0, 0.5, 1.0, 4.0, 4.0
"""Slots of applying a mask, of a comparison or connective, of arithmetic, of division, of a load."""
EDGE_MASK = 2.0
"""Slots of masking the empty slots of a last key tile."""
LOGICAL = {"<", "<=", "==", "and", "or", "not"}
DIVIDING = {"//", "%", "/"}
PLAIN = {"+", "*", "min", "max", "abs", "select"}


@dataclass(frozen=True)
class PairCost:
    """Per score: plain issue slots and special functions."""

    slots: float = 0.0
    exponentials: float = 0.0

    def __add__(self, other: PairCost) -> PairCost:
        return PairCost(self.slots + other.slots, self.exponentials + other.exponentials)


def mask_slots(condition: Expr) -> float:
    """Issue slots per score of a partial tile."""
    return EDGE_MASK if condition is TRUE else MASK_BASE + pair_cost(condition).slots


def score_cost(attend: Attend) -> PairCost:
    """What bias, score function and factor add to every score."""
    found = PairCost()
    for expr in (attend.bias, attend.score, attend.times):
        if expr is not None:
            found = found + pair_cost(expr) + PairCost(ARITHMETIC)
    return found


def pair_cost(expr: Expr) -> PairCost:
    """The cost of the nodes that depend on both the query and the key, or on the score."""
    sides: dict[Expr, frozenset[str]] = {}
    found = PairCost()
    for node in postorder([expr]):
        name = getattr(node, "name", "")
        own = name.partition(".")[0]
        below = frozenset().union(*(sides[child] for child in children(node)))
        sides[node] = below | ({own} if own in (QUERY, KEY, "s") else set())
        if "s" in below or {QUERY, KEY} <= below:
            found = found + _node_cost(node)
    return found


def _node_cost(node: Expr) -> PairCost:
    match node:
        case Load():
            return PairCost(LOOK_UP)
        case Apply(function, args) if function in LOGICAL:
            return PairCost(LOGIC * max(1, len(args) - 1))
        case Apply(function) if function in DIVIDING:
            return PairCost(DIVISION)
        case Apply(function, args) if function in PLAIN or function not in FUNCTIONS:
            return PairCost(ARITHMETIC * max(1, len(args) - 1))
        case Apply():
            return PairCost(2 * ARITHMETIC, 1.0)
    return PairCost()
