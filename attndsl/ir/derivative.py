"""The derivative of a real expression by a variable or a look-up, by the chain rule, as an expression."""

from __future__ import annotations

from attndsl.ir.bounds import SYMBOLIC
from attndsl.ir.functions import FUNCTIONS
from attndsl.ir.index import Apply, Const, Expr, Load, Var, as_expr
from attndsl.ir.walk import postorder

NOTHING, ALL = Const(0.0), Const(1.0)


class NoDerivative(ValueError):
    """A function has no rule by which it is differentiated."""


def derivative(expr: Expr, by: Var | Load) -> Expr:
    """How `expr` changes with a real variable or a look-up.

    Integers and conditions are constants, whatever they depend on. Follows the derivatives that `FUNCTIONS`
    gives beside the values.
    """
    slopes: dict[Expr, Expr] = {}
    for node in postorder([expr]):
        match node:
            case Var() | Load() if node is by:
                slopes[node] = ALL
            case Apply(function, args, "real") if any(slopes[arg] is not NOTHING for arg in args):
                rule = FUNCTIONS[function].derivative
                if rule is None:
                    raise NoDerivative(f"{function} has no derivative")
                parts = zip(rule(SYMBOLIC, *args), args)
                terms = [as_expr(part) * slopes[arg] for part, arg in parts if slopes[arg] is not NOTHING]
                slopes[node] = sum(terms[1:], terms[0])
            case _:
                slopes[node] = NOTHING
    return slopes[expr]
