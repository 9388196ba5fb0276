"""How many pairs of tokens an attend keeps, for `torch.utils.flop_counter`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import Group, Plan
from attndsl_codegen.kernels.tiled import cached_plan


def all_pairs(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor) -> int:
    """Every query with every key, over batch and heads."""
    return q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]


def kept_pairs(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor) -> int:
    """The pairs that the mask admits, exactly, over batch and heads; visited tiles have more."""
    batch, heads = q.shape[:2]
    plan = cached_plan(mechanism, at, batch, heads)
    repeats = (
        (1 if g.batch is not None else batch) * (1 if g.head is not None else heads) for g in plan.groups
    )
    return sum(times * pairs_of(group, plan) for times, group in zip(repeats, plan.groups))


def pairs_of(group: Group, plan: Plan) -> int:
    """The visible pairs of one group, for one batch element and head; query slots may hold no token."""
    exists = plan.query.coordinates(group.queries)[1]
    if group.classes is None:
        return int(exists.sum()) * group.keys.shape[1] * plan.key.slots
    keys = plan.masks.sum(-1)[group.classes].sum(1)  # of every query slot, (members or 1, slots)
    return int((keys * exists).sum())
