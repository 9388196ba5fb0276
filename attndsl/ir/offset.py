"""When do two boxes see the same mask? A rewrite that finds what a condition depends on.

Substitute `i = lo + a` into an expression. Each integer subexpression becomes `offset + residual(a)`,
where the residual depends on the box only through a few numbers, its *parameters*:

    i // 7      offset lo // 7     residual (a + p) // 7    parameter p = lo % 7
    i <= j      parameter i.lo - j.lo, unless the bounds decide it on the whole box
    label[i]    offset 0, residual the labels of the box: they are compared themselves

Boxes of equal size with equal parameters see the same condition, so one of them stands for all. Offsets
and parameters are expressions over the box variables, evaluated with numpy like the bounds themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from attndsl.ir.bounds import Bounds
from attndsl.ir.index import TRUE, ZERO, Apply, Const, Expr, Load, Var, apply
from attndsl.ir.walk import children


class Parameters:
    """Collects the parameters of conditions.

    Args:
        bounds: the bounds of expressions on the box.
        origins: for each coordinate variable, the expression for the start of its box.

    Attributes:
        found: the parameters, as integer expressions over the box variables.
        contents: run-time fields that are looked up at the box's own tokens, with the coordinates: boxes
            are alike if they hold the same values.
        unique: True if a field is looked up elsewhere, so that no two boxes can be known to be alike.
    """

    def __init__(self, bounds: Bounds, origins: Mapping[str, Expr]) -> None:
        self._bounds = bounds
        self._origins = origins
        self.found: dict[Expr, None] = {}
        self.contents: dict[tuple[str, tuple[str, ...]], None] = {}
        self.unique = False

    def of_condition(self, expr: Expr, active: Expr = TRUE) -> None:
        """Adds the parameters of a condition; they matter only where `active` holds."""
        match expr:
            case Apply("and" | "or" | "not", args):
                for arg in args:
                    self.of_condition(arg, active)
            case Apply("<" | "<=" | "==", (a, b)):
                open_ = active & self._undecided(expr, active)
                self._add(self._offset(a, open_) - self._offset(b, open_), open_)
            case Apply(_, args):
                self._undecided(expr, active)
                for arg in args:
                    self._add(self._offset(arg, active), active)
            case Load(field, coords):
                self._look_up(field, coords)

    def _look_up(self, field: str, coords: tuple[Expr, ...]) -> None:
        names = tuple(c.name for c in coords if isinstance(c, Var) and c.name in self._origins)
        if len(names) == len(coords):
            self.contents[field, names] = None
        else:
            self.unique = True

    def _add(self, parameter: Expr, active: Expr) -> None:
        gated = apply("select", active, parameter, ZERO)
        if not isinstance(gated, Const):
            self.found[gated] = None

    def _undecided(self, condition: Expr, active: Expr) -> Expr:
        """Records whether a condition is true, false or open on the box; the result says open."""
        must, may = self._bounds.interval(condition)
        code = apply("select", must, 2, apply("select", may, 1, 0))
        self._add(code, active)
        return may & apply("not", must)

    def _offset(self, expr: Expr, active: Expr) -> Expr:
        match expr:
            case Const():
                return expr
            case Var(name):
                return self._origins.get(name, expr)
            case Load(field, coords):
                self._look_up(field, coords)
                return ZERO
            case Apply("+", terms):
                return apply("+", *(self._offset(term, active) for term in terms))
            case Apply("*", (Const() as factor, term)):
                return factor * self._offset(term, active)
            case Apply("//", (a, Const(int() as divisor))) if divisor > 0:
                offset = self._offset(a, active)
                self._add(offset % divisor, active)
                return offset // divisor
            case Apply("%", (a, Const(int() as divisor))):
                self._add(self._offset(a, active) % divisor, active)
                return ZERO
            case Apply("min" | "max" as name, (first, *rest)):
                return self._extreme(name, first, rest, active)
            case Apply("abs", (a,)):
                return self._chosen(Const(0) <= a, a, -a, active)
            case Apply("select", (test, a, b)):
                self.of_condition(test, active)
                return self._chosen(test, a, b, active)
        for child in children(expr):
            self._add(self._offset(child, active), active)
        return ZERO

    def _extreme(self, name: str, first: Expr, rest: list[Expr], active: Expr) -> Expr:
        winner, offset = first, None
        for other in rest:
            test = winner <= other if name == "min" else other <= winner
            offset = self._chosen(test, winner, other, active, offset)
            winner = apply(name, winner, other)
        return offset if offset is not None else self._offset(first, active)

    def _chosen(self, test: Expr, a: Expr, b: Expr, active: Expr, known_a: Expr | None = None) -> Expr:
        """The offset of `a if test else b`: that of the branch taken; if open, their distance matters."""
        must, may = self._bounds.interval(test)
        open_ = active & self._undecided(test, active)
        of_a = known_a if known_a is not None else self._offset(a, active & may)
        of_b = self._offset(b, active & apply("not", must))
        self._add(of_b - of_a, open_)
        return apply("select", may, of_a, of_b)
