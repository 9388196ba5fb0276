"""What several operators ask of their arguments, and how they say that it is missing."""

from __future__ import annotations

from attndsl.ir.index import Const, Expr
from attndsl.ir.ops.base import Arguments, IllTyped, Operand, WrongOperand


def real(operand: Operand, keyword: str, argument: str = "f", position: int = 0) -> None:
    """Refuses labels and conditions.

    Raises:
        IllTyped: the operand is not real.
    """
    if operand.type.kind != "real":
        what = f"`{keyword}` needs real numbers, but `{operand}` is {operand.type.kind}"
        remedy = "int and bool fields serve in `where`, `bias` and `by`, looked up at a token"
        raise IllTyped(WrongOperand(what, "", remedy), argument, position)


def real_width(operand: Operand, keyword: str, argument: str = "f") -> Expr:
    """The width of a real feature.

    Raises:
        IllTyped: the operand is not real, or has no width.
    """
    real(operand, keyword, argument)
    if operand.type.width is None:
        what = f"`{keyword}` needs a width, and `{operand}` has none"
        remedy = "use a feature with a width, as inputs without a modifier are"
        raise IllTyped(WrongOperand(what, "", remedy), argument)
    return operand.type.width


def chosen_width(args: Arguments, default: Expr) -> Expr:
    """The `width` asked for, or that of the feature.

    Raises:
        IllTyped: it is less than one channel.
    """
    match args.get("width", default):
        case Const(int() as width) if width < 1:
            what = f"a feature cannot be {width} channels wide"
            raise IllTyped(WrongOperand(what, "", "give a width of at least 1"), "width")
        case width:
            return width


def number_of(count: int, noun: str) -> str:
    """E.g. `1 axis`, `2 axes`, `3 coordinates`."""
    plural = {"axis": "axes"}.get(noun, f"{noun}s")
    return f"{count} {noun if count == 1 else plural}"
