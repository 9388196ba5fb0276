"""List scheduling: query tiles go, in launch order, to the unit that is free first.

Graham's list scheduling of independent jobs (Bounds on Multiprocessing Timing Anomalies, 1969): with a
fixed order, no job that gets shorter and no further unit makes the whole longer.
"""

from __future__ import annotations

from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

EXACT_ITEMS = 200_000
"""Above so many items the sum over the slots plus the largest item is close and above."""


def makespan(durations: NDArray[np.float64], slots: int) -> float:
    """When the last item ends; items start in the given order."""
    if not len(durations):
        return 0.0
    longest = float(durations.max())
    if len(durations) <= slots:
        return longest
    if len(durations) > EXACT_ITEMS:  # equal ones, too: with one more of them shorter it would be longer
        return float(durations.sum()) / slots + longest
    if float(durations.min()) == longest:
        return longest * -(-len(durations) // slots)
    ends = [0.0] * slots
    for duration in durations.tolist():
        heapreplace(ends, ends[0] + duration)
    return max(ends)


def split_span(work: NDArray[np.float64], longest: NDArray[np.float64], slots: int) -> float | None:
    """When the last item ends if idle slots share the keys of a query tile (flash decoding, Dao et al. 2023).

    None where there are more than half as many items as slots, so that there is nothing to share.

    Args:
        work: per item, without its fixed cost.
        longest: per item its longest pair of tiles, which is not split.
    """
    ways = slots // max(1, len(work))
    if ways < 2:
        return None
    return float(np.maximum(work / ways, longest).max(initial=0.0))
