"""Issue slots that pair expressions cost per score, after what depends on one side alone is hoisted.

Measured on compiled kernels (128x128 tiles, sm_90): a causal mask costs 3.5 slots an element, a window
4.5; so a mask costs 3 and half a slot per comparison, because two comparisons fold into one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import TRUE, Apply, Expr, Load
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.walk import children, postorder

MASK_BASE, LOGIC, ARITHMETIC, DIVISION, LOOK_UP = 3.0, 0.5, 1.0, 4.0, 4.0
"""Slots of applying a mask, of a comparison or connective, of arithmetic, of division, of a load."""
EDGE_MASK = 2.0
"""Slots of masking the empty slots of a last key tile."""
HEAD = "head"
LOGICAL = {"<", "<=", "==", "and", "or", "not"}
DIVIDING = {"//", "%", "/"}
PLAIN = {"+", "*", "min", "max", "abs", "select"}


@dataclass(frozen=True)
class PairCost:
    """What pair expressions cost per score.

    Attributes:
        slots: plain issue slots, those of look-ups included.
        exponentials: special functions.
        passes, shared: operations on tensors, for every head and once for all heads.
        look_ups: numbers of fields that are looked up. Of these and of operations, only such that yield a
            number per pair count: what does not depend on some axis is far smaller.
    """

    slots: float = 0.0
    exponentials: float = 0.0
    passes: float = 0.0
    shared: float = 0.0
    look_ups: float = 0.0

    def __add__(self, other: PairCost) -> PairCost:
        return PairCost(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def mask_slots(condition: Expr) -> float:
    """Issue slots per score of a partial tile."""
    return EDGE_MASK if condition is TRUE else MASK_BASE + pair_cost(condition).slots


def score_cost(attend: Attend) -> PairCost:
    """What bias, score function and factor add to every score."""
    found = PairCost()
    for expr in (attend.bias, attend.score, attend.times):
        if expr is not None:
            found = found + pair_cost(expr) + PairCost(ARITHMETIC)
    return found if attend.bias is None else found + PairCost(passes=1.0)


@lru_cache(1024)
def pair_cost(expr: Expr) -> PairCost:
    """The cost of the nodes that depend on both the query and the key, or on the score."""
    sides: dict[Expr, frozenset[str]] = {}
    places: dict[Expr, frozenset[str]] = {}
    found = PairCost()
    nodes = list(postorder([expr]))
    everywhere = {name for node in nodes for name in _place(node)}
    for node in nodes:
        name = getattr(node, "name", "")
        own = {HEAD} if isinstance(node, Load) else {name.partition(".")[0]} & {QUERY, KEY, "s", HEAD}
        below = frozenset().union(*(sides[child] for child in children(node)))
        sides[node] = below | own
        places[node] = _place(node).union(*(places[child] for child in children(node)))
        if "s" in below or {QUERY, KEY} <= below:
            mixed = sum({QUERY, KEY} <= sides[child] for child in children(node))
            cost = _node_cost(node, bool(sides[node] & {"s", HEAD}), mixed)
            whole = "s" in below or places[node] == everywhere
            found = found + (cost if whole else replace(cost, passes=0.0, shared=0.0, look_ups=0.0))
    return found


def _place(node: Expr) -> frozenset[str]:
    """The coordinate that an expression is, if it is one."""
    name = getattr(node, "name", "")
    return frozenset([name] if name.partition(".")[0] in (QUERY, KEY) else [])


def _node_cost(node: Expr, per_head: bool, mixed: int) -> PairCost:
    """The cost of one node, of whose arguments so many depend on both query and key."""
    match node:
        case Load():  # such coordinates are numbers per pair, kept within the field
            return PairCost(LOOK_UP, shared=float(mixed), look_ups=1.0)
        case Apply("real"):
            return PairCost(ARITHMETIC)  # no operation of its own where tensors of either kind are mixed
        case Apply(_, args):
            times = float(max(1, len(args) - 1))
            passes = {"passes": times} if per_head else {"shared": times}
            return replace(_slots(node, times), **passes)
    return PairCost()


def _slots(node: Apply, times: float) -> PairCost:
    """Issue slots and special functions of an operation."""
    if node.function in LOGICAL:
        return PairCost(LOGIC * times)
    if node.function in DIVIDING:
        return PairCost(DIVISION)
    if node.function in PLAIN or node.function not in FUNCTIONS:
        return PairCost(ARITHMETIC * times)
    return PairCost(2 * ARITHMETIC, 1.0)
