"""Exact rewriting of index expressions: a table of small rules, each true for every integer.

A rule takes a node whose operands are already simple and returns an equal, simpler expression or
None. Rules may ask for the range of a subexpression; the ranges come from `Bounds` over constant
boxes, so rewriting and interval analysis share one semantics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attndsl.ir.bounds import Bounds
from attndsl.ir.index import FALSE, MAX_INTEGER, TRUE, ZERO, Apply, ArithmeticProblem, Const, Expr, apply
from attndsl.ir.walk import children, postorder, rebuild


class Ranges:
    """What is known of the variables: integer ranges, from which ranges of expressions follow.

    Args:
        boxes: constant bounds of variables.
        relative: bounds of variables by expressions of other variables, e.g. `0 <= i.h <= h - 1`.
    """

    def __init__(
        self,
        boxes: Mapping[str, tuple[int, int]],
        relative: Mapping[str, tuple[Expr, Expr]] | None = None,
    ) -> None:
        self._boxes = dict(boxes)
        self._bounds = Bounds(boxes)
        self._relative = Bounds(relative) if relative else None

    def of(self, expr: Expr) -> tuple[int, int] | None:
        """Smallest and largest value, or None if some variable has no known range."""
        try:
            lo, hi = self._bounds.interval(expr)
        except ArithmeticProblem:
            return None
        match lo, hi:
            case Const(int() as low), Const(int() as high):
                return low, high
        return None

    def decide(self, condition: Expr) -> bool | None:
        """Whether a condition always (True) or never (False) holds; None if that is not known."""
        try:
            must, may = self._bounds.interval(condition)
            if self._relative is not None and must is not TRUE and may is not FALSE:
                known = Ranges(self._boxes)
                must, may = (simplify(end, known) for end in self._relative.interval(condition))
        except ArithmeticProblem:
            return None
        if must is TRUE:
            return True
        return False if may is FALSE else None


@dataclass(frozen=True)
class Rule:
    """One identity, shown as it reads; `apply` returns None where it does not match."""

    shows: str
    apply: Callable[[Expr, Ranges], Expr | None]


def simplify(expr: Expr, ranges: Ranges | None = None) -> Expr:
    """Applies the rules bottom-up until none matches; the value is unchanged wherever `ranges` hold.

    An expression in which some part has no value (a branch never taken that divides by zero, say) is
    left as it is.
    """
    try:
        return _simplified(expr, ranges or Ranges({}), {})
    except ArithmeticProblem:
        return expr


def _simplified(expr: Expr, ranges: Ranges, done: dict[Expr, Expr]) -> Expr:
    """As `simplify`; `done` holds what is already known, so that shared parts are visited once."""
    for node in postorder([expr]):
        if node in done:
            continue
        operands = tuple(done[child] for child in children(node))
        simpler = _rewritten(node if operands == children(node) else rebuild(node, operands), ranges)
        done[node] = node if simpler is node else _simplified(simpler, ranges, done)
    return done[expr]


def _rewritten(node: Expr, ranges: Ranges) -> Expr:
    """The node after the first rule that changes it."""
    for rule in RULES:
        simpler = rule.apply(node, ranges)
        if simpler is not None and simpler is not node:
            return simpler
    return node


def _terms(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Apply("+", terms):
            return terms
        case _:
            return (expr,)


def _coefficient(term: Expr) -> int:
    match term:
        case Const(int() as value):
            return value
        case Apply("*", (Const(int() as factor), _)):
            return factor
        case _:
            return 1


def _split(expr: Expr, divisor: int) -> tuple[Expr, Expr] | None:
    """`expr = divisor * quotient + rest`, moving whole terms (and the constant's multiple) out."""
    quotient, rest = [], []
    for term in _terms(expr):
        factor = _coefficient(term)
        whole, left = factor // divisor, factor % divisor
        match term:
            case Const():
                quotient.append(Const(whole))
                rest.append(Const(left))
            case Apply("*", (Const(), inner)) if left == 0:
                quotient.append(whole * inner)
            case _:
                rest.append(term)
    moved = apply("+", *quotient) if quotient else ZERO
    if moved is ZERO:
        return None
    return moved, apply("+", *rest) if rest else ZERO


def _divide_out(node: Expr, _: Ranges) -> Expr | None:
    match node:
        case Apply("//", (a, Const(int() as c))) if c > 0 and (parts := _split(a, c)):
            return parts[0] + parts[1] // c
    return None


def _drop_multiples(node: Expr, _: Ranges) -> Expr | None:
    match node:
        case Apply("%", (a, Const(int() as c))) if c > 0 and (parts := _split(a, c)):
            return parts[1] % c
    return None


def _nested_floor(node: Expr, _: Ranges) -> Expr | None:
    match node:
        case Apply("//", (Apply("//", (a, Const(int() as c))), Const(int() as d))) if c > 0 and d > 0:
            return a // (c * d) if c * d < MAX_INTEGER else None
    return None


def _nested_mod(node: Expr, _: Ranges) -> Expr | None:
    match node:
        case Apply("%", (Apply("%", (a, Const(int() as c))), Const(int() as d))) if d > 0 and c % d == 0:
            return a % d
    return None


def _mod_of_floor(node: Expr, _: Ranges) -> Expr | None:
    match node:
        case Apply("//", (Apply("%", (a, Const(int() as c))), Const(int() as d))) if (
            d > 0 and c > 0 and c % d == 0
        ):
            return (a // d) % (c // d)
    return None


def _small_quotient(node: Expr, ranges: Ranges) -> Expr | None:
    match node:
        case Apply("//", (_, divisor)) if divisor is not ZERO:
            span = ranges.of(node)
            if span and span[0] == span[1]:
                return Const(span[0])
    return None


def _small_remainder(node: Expr, ranges: Ranges) -> Expr | None:
    match node:
        case Apply("%", (a, divisor)):
            inside = (Const(0) <= a) & (a < divisor)
            return a if ranges.decide(inside) else None
    return None


def _floor_plus_mod(node: Expr, _: Ranges) -> Expr | None:
    match node:
        case Apply("+", terms):
            for term in terms:
                match term:
                    case Apply("%", (a, c)) if (whole := c * (a // c)) in terms:
                        rest = [t for t in terms if t is not term and t is not whole]
                        return apply("+", a, *rest)
    return None


def _decided_minimum(node: Expr, ranges: Ranges) -> Expr | None:
    match node:
        case Apply("min" | "max" as name, args):
            for a in args:
                for b in args:
                    small, large = (a, b) if name == "min" else (b, a)
                    if a is not b and ranges.decide(small <= large):
                        return apply(name, *(arg for arg in args if arg is not b))
    return None


def _decided_condition(node: Expr, ranges: Ranges) -> Expr | None:
    if node.kind == "bool" and isinstance(node, Apply):
        known = ranges.decide(node)
        return None if known is None else Const(known)
    return None


def _decided_select(node: Expr, ranges: Ranges) -> Expr | None:
    match node:
        case Apply("select", (test, a, b)):
            known = ranges.decide(test)
            return None if known is None else (a if known else b)
    return None


def _decided_abs(node: Expr, ranges: Ranges) -> Expr | None:
    match node:
        case Apply("abs", (a,)) if a.kind == "int":
            if ranges.decide(Const(0) <= a):
                return a
            return -a if ranges.decide(a <= 0) else None
    return None


def _cancel_comparison(node: Expr, _: Ranges) -> Expr | None:
    """Terms on both sides cancel: over the integers only, where sums are exact."""
    match node:
        case Apply("<" | "<=" | "==" as name, (a, b)) if a.kind == b.kind == "int":
            common = [t for t in _terms(a) if t in _terms(b) and not isinstance(t, Const)]
            if common:
                shared = apply("+", *common)
                return apply(name, a - shared, b - shared)
    return None


def _exclusive(node: Expr, _: Ranges) -> Expr | None:
    """A condition together with its negation."""
    match node:
        case Apply("and" | "or" as name, args):
            if any(apply("not", arg) in args for arg in args):
                return FALSE if name == "and" else TRUE
    return None


def _absorb(node: Expr, _: Ranges) -> Expr | None:
    """`a and (a or b)` is `a`; `a or (a and b)` is `a`."""
    match node:
        case Apply("and" | "or" as name, args):
            dual = "or" if name == "and" else "and"
            kept = [
                arg
                for arg in args
                if not (isinstance(arg, Apply) and arg.function == dual and set(arg.args) & set(args))
            ]
            return apply(name, *kept) if len(kept) < len(args) else None
    return None


RULES: tuple[Rule, ...] = (
    Rule("(c*a + b) // c  ->  a + b // c            c > 0", _divide_out),
    Rule("(c*a + b) % c  ->  b % c                  c > 0", _drop_multiples),
    Rule("(a // c) // d  ->  a // (c*d)             c, d > 0", _nested_floor),
    Rule("(a % (c*d)) % d  ->  a % d                d > 0", _nested_mod),
    Rule("(a % (c*d)) // d  ->  (a // d) % c        c, d > 0", _mod_of_floor),
    Rule("a // b  ->  its value                     if one value is possible", _small_quotient),
    Rule("a % b  ->  a                              if 0 <= a < b", _small_remainder),
    Rule("c*(a // c) + a % c  ->  a", _floor_plus_mod),
    Rule("min(a, b)  ->  a                          if a <= b always; max alike", _decided_minimum),
    Rule("condition  ->  true or false              if its range decides it", _decided_condition),
    Rule("a if c else b  ->  a or b                 if c is decided", _decided_select),
    Rule("abs(a)  ->  a or -a                       if the sign is known", _decided_abs),
    Rule("a + t <= b + t  ->  a <= b                < and == alike", _cancel_comparison),
    Rule("a and not a  ->  false                    or: true", _exclusive),
    Rule("a and (a or b)  ->  a                     and its dual", _absorb),
)
