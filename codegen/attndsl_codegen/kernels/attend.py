"""`tiled` and `dense`: two ways to run one attend on flattened tensors. The second is the definition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import Plan, make_plan
from attndsl_codegen.kernels.softmax import per_query_head, shaped_scores, visible_scores
from attndsl_codegen.kernels.tiled import TiledAttention

Attend = Callable[..., tuple[Tensor, Tensor]]
PLANS: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
MAX_PLANS = 32


def tiled(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """The attend tile by tile: only tiles that hold visible pairs are computed."""
    if q.shape[-1] != k.shape[-1]:
        query_name, key_name = mechanism.operands
        raise ValueError(f"{key_name}: width {k.shape[-1]}, but {query_name} has width {q.shape[-1]}")
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
    """The attend by its definition, every query against every key, differentiated by torch. For checks.

    Args:
        rows: compute these queries only, leaving zeros elsewhere; all if None.
        chunk: queries at a time.
    """

    def attend(
        mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        i, j = (all_coordinates(tokens.extents(at)) for tokens in (mechanism.query, mechanism.key))
        j = [coord.view(1, 1, -1) for coord in j]
        head = torch.arange(q.shape[1]).view(-1, 1, 1, 1)
        k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
        out, lse = q.new_zeros(*q.shape[:3], v.shape[-1]), torch.full_like(q[..., 0], -torch.inf)
        for part in (torch.arange(q.shape[2]) if rows is None else rows).split(chunk):
            here, coords = {**at, "head": head}, [coord[part].view(1, -1, 1) for coord in i]
            s = (q[:, :, None, part] * mechanism.scale(at)) @ k[:, :, None].transpose(-1, -2)
            shown = shaped_scores(mechanism, here, s.detach(), coords, j) != -torch.inf
            visible = torch.as_tensor(mechanism.where(*coords, *j, here)).expand_as(s) & shown
            seen = visible.any(-1, keepdim=True)
            s = visible_scores(mechanism, here, s, coords, j, visible)
            # Rows without keys pass through finite numbers so that no NaN is born.
            s = torch.where(visible, s, torch.where(seen, -torch.inf, 0.0))
            weight = torch.where(seen, s.softmax(-1), 0.0)
            row_lse = torch.where(seen[..., 0], s.logsumexp(-1), -torch.inf)
            out = out.index_copy(2, part, (weight @ v[:, :, None])[:, :, 0].to(out.dtype))
            lse = lse.index_copy(2, part, row_lse[:, :, 0])
        return out, lse

    return attend


def all_coordinates(extents: tuple[int, ...]) -> list[Tensor]:
    """The coordinates of every token, per axis."""
    grid = torch.meshgrid(*(torch.arange(extent) for extent in extents), indexing="ij")
    return [coord.flatten() for coord in grid]
