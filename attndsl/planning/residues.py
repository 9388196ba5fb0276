"""Residue classes as a layout: `i` becomes `step * round + phase`, exactly, before any bounds are taken.

(i - j) % 4 == 0              i = 4 * i.n_round + i.n_phase   ->   (i.n_phase - j.n_phase) % 4 == 0
i % 4 == j % 4 and ...        tiles along rounds hold one phase, so bounds decide them
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from attndsl.ir.index import TRUE, Apply, Const, Expr, Var
from attndsl.ir.ops import Attend
from attndsl.ir.rewrite import Ranges, simplify
from attndsl.ir.tokens import KEY, QUERY, Axis, TokenSet
from attndsl.ir.walk import postorder, substitute, variables

PHASE, ROUND = "_phase", "_round"
LARGEST_STEP = 64
"""Residue classes of larger moduli are hardly longer than a tile."""

Steps = tuple[int, ...]
"""Per axis, into how many residue classes it is split; 1 where it is not."""


def candidate_steps(attend: Attend) -> Iterator[tuple[Steps, Steps]]:
    """Splits that may suit a mask, for queries and keys: none, and the moduli that it mentions."""
    sides = [
        [sorted({1, *_moduli(attend.where, f"{role}.{axis}")}) for axis in tokens.axis_names]
        for role, tokens in ((QUERY, attend.query_tokens), (KEY, attend.key_tokens))
    ]
    plain = tuple((1,) * len(side) for side in sides)
    yield plain[0], plain[1]
    if attend.query_tokens == attend.key_tokens:
        for steps in product(*(sorted({*a, *b}) for a, b in zip(*sides))):
            if steps != plain[0]:
                yield steps, steps


def _moduli(where: Expr, coordinate: str) -> set[int]:
    """Constants of remainders that a coordinate occurs in."""
    found: set[int] = set()
    for node in postorder([where]):
        match node:
            case Apply("%", (argument, Const(int() as modulus))) if coordinate in variables(argument):
                if 1 < modulus <= LARGEST_STEP:
                    found.add(modulus)
    return found


def split_tokens(tokens: TokenSet, steps: Steps) -> TokenSet:
    """The set with a phase and a round in place of every split axis."""
    axes: list[Axis] = []
    for axis, step in zip(tokens.axes, steps):
        if step == 1:
            axes.append(axis)
        else:
            axes.append(Axis(axis.name + PHASE, Const(step)))
            axes.append(Axis(axis.name + ROUND, (axis.extent + (step - 1)) // step))
    return replace(tokens, axes=tuple(axes))


def split_attend(attend: Attend, query: Steps, key: Steps, exact: bool = False) -> Attend:
    """The attend over phases and rounds.

    Args:
        exact: hide places that hold no token (where a step does not divide an extent), for exact counts;
            kernels know these places and need no condition for them.
    """
    exists: Expr = TRUE
    values: dict[str, Expr] = {}
    boxes: dict[str, tuple[int, int]] = {}
    for role, tokens, steps in ((QUERY, attend.query_tokens, query), (KEY, attend.key_tokens, key)):
        for axis, step in zip(tokens.axis_names, steps):
            if step > 1:
                phase, turn = Var(f"{role}.{axis}{PHASE}"), Var(f"{role}.{axis}{ROUND}")
                values[f"{role}.{axis}"] = step * turn + phase
                if exact:
                    extent = next(known.extent for known in tokens.axes if known.name == axis)
                    exists = exists & (step * turn + phase < extent)
                boxes |= {phase.name: (0, step - 1), turn.name: (0, 2**40)}
    if not values:
        return attend
    return replace(
        attend,
        query_tokens=split_tokens(attend.query_tokens, query),
        key_tokens=split_tokens(attend.key_tokens, key),
        where=simplify(substitute(attend.where, values) & exists, Ranges(boxes)),
    )
