"""Numbers and names as a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attndsl.picture.model import Grid, MaskPicture

LONGEST = 8
"""Characters of an axis name in a picture."""


def percent(part: int, whole: int) -> str:
    """A share with three figures: `37.2 %`, `0.042 %`; 0 and 100 only if exact."""
    if whole == 0:
        return "0 %"
    if part in (0, whole):
        return "0 %" if part == 0 else "100 %"
    share = 100 * part / whole
    if share >= 99.95:
        return "> 99.9 %"
    if share < 0.001:
        return "< 0.001 %"
    places = 1 if share >= 10 else 2 if share >= 1 else 3
    return f"{share:.{places}f} %"


def times(sizes: Sequence[int]) -> str:
    """Sizes as `4×8×8`."""
    return "×".join(f"{size:,}" for size in sizes)


def short(name: str) -> str:
    """A name that fits beside a tick."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def axis_name(grid: Grid, axis: int) -> str:
    """The name of an axis; anonymous ones are called after their set."""
    name = grid.axes[axis]
    if not name.isdigit():
        return short(name)
    return grid.name if len(grid.axes) == 1 else f"{grid.name}.{name}"


def coordinates(grid: Grid, values: Sequence[int]) -> str:
    """Coordinates as `h=3, w=5`; a plain number on a single axis."""
    if len(values) == 1:
        return f"{values[0]:,}"
    return ", ".join(f"{axis_name(grid, axis)}={value}" for axis, value in enumerate(values))


def grid_text(grid: Grid) -> str:
    """A token set as `x[h=28, w=28]`, or `c[16]` where the axis has no name."""
    sizes = zip(grid.axes, grid.extents)
    texts = (f"{extent:,}" if axis.isdigit() else f"{axis}={extent:,}" for axis, extent in sizes)
    return f"{grid.name}[{', '.join(texts)}]"


def heads_text(heads: Sequence[int], every: int) -> str:
    """Heads as `head 3`, `heads 0, 2, 4`, `heads 0–7`, `all 8 heads`."""
    if len(heads) == every:
        return "all heads" if every > 1 else "head 0"
    if len(heads) == 1:
        return f"head {heads[0]}"
    if len(heads) > 2 and heads[-1] - heads[0] == len(heads) - 1:
        return f"heads {heads[0]}–{heads[-1]}"
    if len(heads) <= 8:
        return f"heads {', '.join(map(str, heads))}"
    first = ", ".join(map(str, heads[:4]))
    return f"heads {first}, …, {heads[-1]} ({len(heads)} of {every})"


def value_text(value: Any) -> str:
    """A parameter's value as the spec writes it."""
    match value:
        case bool():
            return str(value).lower()
        case tuple() | list():
            return f"({', '.join(map(value_text, value))})"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def shape_text(picture: MaskPicture) -> str:
    """The token sets of the attend, e.g. `x[h=28, w=28]` or `x[n=64] attends to y[m=16]`."""
    sets = [picture.query_set] + ([picture.key_set] if picture.key_set != picture.query_set else [])
    return " attends to ".join(grid_text(grid) for grid in sets)


def parameter_text(picture: MaskPicture) -> str:
    """The parameters in force, e.g. `size = (13, 13), stride = (1, 1)`."""
    return ", ".join(f"{name} = {value_text(value)}" for name, value in picture.parameters.items())


def notes(picture: MaskPicture) -> list[str]:
    """What a reader must know about how the picture came about."""
    found: list[str] = []
    if picture.sampled:
        names = ", ".join(picture.sampled)
        verb = "has" if len(picture.sampled) == 1 else "have"
        found.append(
            f"{names} {verb} sample values: labels that stay the same for stretches of tokens. "
            "At run time the mask depends on the labels passed in."
        )
    if picture.others:
        others = ", ".join(picture.others)
        found.append(f"Shown is {picture.attend}; also in this attention: {others} (--attend).")
    return found
