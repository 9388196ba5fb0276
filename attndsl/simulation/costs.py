"""What the torch path of a generated file costs on a CPU, as calibration measures it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """What calibration measures on a CPU. Times in nanoseconds are of all cores together.

    Attributes:
        score_ns, channel_ns: per score, and per score and channel of key and value.
        middle, large: the share of these that is left in query tiles from 192 and 768 queries on.
        query_ns, key_ns: per query and per key of a tile, for one head.
        far_ns: more per key of a tile whose keys do not stay in the cache of a core.
        mask_ns: per score of a query tile with a mask.
        bias_ns: per score of a bias of every head, which fused attention reads in place of a mask.
        gather_gbps, run_ns: keys and values gathered, and each run of consecutive keys.
        step_us: the calls of one step.
        biased_step_us, held_step_us: of one with a row of biases, and of one that holds its scores in memory.
        held_ns: per score that is held in memory, in place of `score_ns`.
        element_ns, special_ns: one operation on one number of a tensor in the cache; a special function.
        look_up_ns: one number of a field looked up by an index.
        fresh_gbps: writing to memory that the process has not touched before.
        backward: scores of the backward pass over those of the forward pass.
        scatter_gbps: gradients added to the rows of their keys.
    """

    score_ns: float
    channel_ns: float
    middle: float
    large: float
    query_ns: float
    key_ns: float
    far_ns: float
    mask_ns: float
    bias_ns: float
    gather_gbps: float
    run_ns: float
    step_us: float
    biased_step_us: float
    held_step_us: float
    held_ns: float
    element_ns: float
    special_ns: float
    look_up_ns: float
    fresh_gbps: float
    backward: float
    scatter_gbps: float
