"""Groups of query tiles that visit equally many key tiles: what they cost where more tiles never cost less.

A group costs its steps, so query tiles that become alike by visiting more may be faster. To promise no
gain from more work, a simulation has two bounds that never fall with it: the least that groups cost in any
schedule with more tiles, whose work is paid for, and the most in any with fewer. What a schedule costs is in
between; the middle is off by half the distance at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def group_cost(counts: Counts, group: float, unit: float) -> float:
    """What groups of equal counts cost. Together with a unit for every key tile it never falls with one more.

    Args:
        counts: key tiles of every query tile; those without any are in no group.
        group: the cost of a group.
        unit: at most the cost of one key tile more.
    """
    sizes, members = np.unique(counts[counts > 0], return_counts=True)
    return (least(sizes, members, group, unit) + most(sizes, members, group, unit)) / 2


def least(sizes: Counts, members: Counts, group: float, unit: float) -> float:
    """The least that groups cost where counts may be raised, each by a unit a step.

    Args:
        sizes: the counts that there are, ascending.
        members: how many tiles have each.
    """
    tiles = np.concatenate([[0], members.cumsum()])
    counted = np.concatenate([[0], (sizes * members).cumsum()])
    found = np.zeros(len(sizes) + 1)
    firsts = np.searchsorted(sizes, sizes - group / unit)  # smaller ones are better off on their own
    for end, (size, first) in enumerate(zip(sizes.tolist(), firsts.tolist()), 1):
        raised = size * (tiles[end] - tiles[first:end]) - (counted[end] - counted[first:end])
        found[end] = (found[first:end] + unit * raised).min() + group
    return float(found[-1])


def most(sizes: Counts, members: Counts, group: float, unit: float) -> float:
    """The most that groups cost where counts may be lowered, each step saving a unit."""
    found = 0.0
    spare: list[tuple[int, int]] = []  # counts of several tiles, and how many can leave them
    for at in range(len(sizes) - 1, -1, -1):
        size, others = int(sizes[at]), int(members[at]) - 1
        found += group
        if others:
            spare.append((size, others))
        for place in range(size - 1, int(sizes[at - 1]) if at else 0, -1):
            if not spare or unit * (spare[-1][0] - place) >= group:
                break
            count, others = spare.pop()
            found += group - unit * (count - place)
            if others > 1:
                spare.append((count, others - 1))
    return found
