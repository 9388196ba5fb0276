"""`tiled` and `dense`: two ways to run one attend on flattened tensors. The second is the definition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import Plan, make_plan
from attndsl_codegen.kernels.softmax import softmax_attention
from attndsl_codegen.kernels.tiled import TiledAttention
from attndsl_codegen.kernels.tiles import Bricks

Attend = Callable[..., tuple[Tensor, Tensor]]
PLANS: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
MAX_PLANS = 32


def tiled(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The attend tile by tile: only tiles that hold visible pairs are computed."""
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"queries have width {q.shape[-1]}, but keys have width {k.shape[-1]}")
    plan = cached_plan(mechanism, at, q.shape[0], q.shape[1])
    fields = [at[name].data for name in mechanism.real_fields]
    return TiledAttention.apply(mechanism, plan, at, q, k, v, *fields)  # type: ignore[no-any-return]


def cached_plan(mechanism: type[Mechanism], at: dict[str, Any], batch: int, heads: int) -> Plan:
    """The plan for these sizes; plans that depend on fields are made anew at every call."""
    extents = mechanism.query.extents(at), mechanism.key.extents(at)
    if mechanism.mask_fields:
        return make_plan(mechanism, extents, batch, heads, at)
    numbers = tuple(sorted((name, value) for name, value in at.items() if isinstance(value, int)))
    key = (mechanism, extents, numbers)
    if key not in PLANS:
        PLANS[key] = make_plan(mechanism, extents, batch, heads, at)
        if len(PLANS) > MAX_PLANS:
            PLANS.popitem(last=False)
    PLANS.move_to_end(key)
    return PLANS[key]


def dense(rows: Tensor | None = None, chunk: int = 64) -> Attend:
    """The attend by its definition: every query against every key. For checks.

    Args:
        rows: compute these queries only, leaving zeros elsewhere; all if None.
        chunk: queries at a time.
    """

    def attend(
        mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        queries = Bricks(mechanism.query.extents(at), mechanism.query.extents(at))
        keys = Bricks(mechanism.key.extents(at), mechanism.key.extents(at))
        whole = torch.zeros(1, dtype=torch.long)
        i = [coord[0] for coord in queries.coordinates(whole)[0]]
        j = [coord.unsqueeze(-2).to(q.device) for coord in keys.coordinates(whole)[0]]
        head = torch.arange(q.shape[1], device=q.device).view(-1, 1, 1, 1)
        chosen = torch.arange(q.shape[2]) if rows is None else rows
        out, lse = q.new_zeros(*q.shape[:3], v.shape[-1]), torch.full_like(q[..., 0], -torch.inf)
        for part in chosen.split(chunk):
            here = [coord[part].view(1, -1, 1).to(q.device) for coord in i]
            visible = torch.as_tensor(mechanism.where(*here, *j, {**at, "head": head}), device=q.device)
            o, row_lse = softmax_attention(
                mechanism, {**at, "head": head}, q[:, :, None, part], k[:, :, None], v[:, :, None], here, j, visible
            )
            out, lse = out.index_copy(2, part, o[:, :, 0]), lse.index_copy(2, part, row_lse[:, :, 0])
        return out, lse

    return attend
