"""Tiled softmax attention in torch: gathers the keys that a query tile sees; recomputes in backward."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.definition import query_extents
from attndsl_codegen.kernels.fields import Field
from attndsl_codegen.kernels.fused import can_fuse, fused_backward, fused_forward
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import Group, Plan, make_plan
from attndsl_codegen.kernels.softmax import softmax_backward, softmax_forward

WORKSPACE = 1 << 21
"""Scores held at a time."""
PLANS: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
MAX_PLANS = 32
"""Plans that are remembered."""


def tiled(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax tile by tile: only tiles that hold visible pairs are computed."""
    plan = cached_plan(mechanism, at, q.shape[0], q.shape[1])
    fields = [at[name].data for name in mechanism.real_fields]
    return TiledAttention.apply(mechanism, plan, at, q, k, v, *fields)  # type: ignore[no-any-return]


def cached_plan(mechanism: type[Mechanism], at: dict[str, Any], batch: int, heads: int) -> Plan:
    """The plan for these sizes; plans that depend on fields are made anew at every call."""
    extents = query_extents(mechanism, at), mechanism.key.extents(at)
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


@dataclass(frozen=True)
class Step:
    """A few query tiles of one group: what to gather, and which slots are real.

    Attributes:
        layer: the batch elements and heads, as slices.
        heads: how many query heads there are in all.
        query_tokens, key_tokens: token numbers (tiles, slots).
        query_exists, key_exists: which slots hold a token.
        i, j: coordinates per axis, (tiles, queries, 1) and (tiles, 1, keys).
        full: no mask is needed.
    """

    layer: tuple[slice, slice]
    heads: int
    query_tokens: Tensor
    query_exists: Tensor
    key_tokens: Tensor
    key_exists: Tensor
    i: list[Tensor]
    j: list[Tensor]
    full: bool


def steps(plan: Plan, batch: int, heads: int, device: torch.device) -> Iterator[Step]:
    """The plan in pieces whose scores fit the workspace."""
    for group in plan.groups:
        rows = (1 if group.batch is not None else batch) * (1 if group.head is not None else heads)
        scores = rows * plan.query.slots * plan.key.slots * group.keys.shape[1]
        size = max(1, WORKSPACE // max(1, scores))
        for start in range(0, len(group.queries), size):
            yield make_step(plan, group, heads, slice(start, start + size), device)


def make_step(plan: Plan, group: Group, heads: int, members: slice, device: torch.device) -> Step:
    """Coordinates and token numbers of some query tiles of a group and of the keys they see."""
    i, query_exists = plan.query.coordinates(group.queries[members])
    j, key_exists = plan.key.coordinates(group.keys[members])
    layer = one_or_all(group.batch), one_or_all(group.head)
    tensors = [plan.query.tokens(i), query_exists, plan.key.tokens(j).flatten(1), key_exists.flatten(1)]
    query_tokens, query_exists, key_tokens, key_exists = (tensor.to(device) for tensor in tensors)
    i = [coord.to(device).unsqueeze(-1) for coord in i]
    j = [coord.to(device).flatten(1).unsqueeze(-2) for coord in j]
    return Step(layer, heads, query_tokens, query_exists, key_tokens, key_exists, i, j, group.full)


def one_or_all(index: int | None) -> slice:
    """The slice that keeps one index, or everything."""
    return slice(None) if index is None else slice(index, index + 1)


class TiledAttention(torch.autograd.Function):
    """One attend on flattened tensors (batch, heads, tokens, width); keys and values may have fewer heads.

    Returns the output and the natural log-sum-exp, both in the accumulation type.
    """

    @staticmethod
    def forward(
        ctx: Any,
        mechanism: type[Mechanism],
        plan: Plan,
        at: dict[str, Any],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *real_fields: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""
        out = q.new_zeros(*q.shape[:3], v.shape[-1])
        lse = torch.full(q.shape[:3], -torch.inf, dtype=at["real dtype"], device=q.device)
        at = with_fields(mechanism, at, real_fields)
        for step in steps(plan, q.shape[0], q.shape[1], q.device):
            o, row_lse = step_forward(mechanism, at_step(at, step), step, q, k, v)
            put(out, step, o)
            put(lse, step, row_lse)
        ctx.mechanism, ctx.plan, ctx.at = mechanism, plan, at
        ctx.save_for_backward(q, k, v, out, lse, *real_fields)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:
        """Gradients of q, k, v and the real fields."""
        q, k, v, out, lse, *real_fields = ctx.saved_tensors
        grad_out = torch.zeros_like(out) if grad_outputs[0] is None else grad_outputs[0]
        upstream = grad_out, grad_outputs[1]
        tensors = (q, k, v, *real_fields)
        grads = [torch.zeros_like(tensor, dtype=ctx.at["real dtype"]) for tensor in tensors]
        for step in steps(ctx.plan, q.shape[0], q.shape[1], q.device):
            leaves = [field.to(ctx.at["real dtype"]).detach().requires_grad_() for field in real_fields]
            with torch.enable_grad():  # slices of the fields must stay connected to the leaves
                at = at_step(with_fields(ctx.mechanism, ctx.at, leaves), step)
            *found, found_fields = step_backward(
                ctx.mechanism, at, leaves, step, (q, k, v), (out, lse), upstream
            )
            for grad, part, side in zip(grads, found, ("query", "key", "key")):
                add(grad, step, side, part)
            for grad, part in zip(grads[3:], found_fields):
                if part is not None:
                    grad += part
        return None, None, None, *(grad.to(tensor.dtype) for grad, tensor in zip(grads, tensors))


def step_forward(
    mechanism: type[Mechanism], at: dict[str, Any], step: Step, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of a step's queries."""
    tensors, (i, j, visible) = gather(step, q, k, v), mask(mechanism, at, step)
    if can_fuse(mechanism, q, v):
        return fused_forward(mechanism.scale(at), at["real dtype"], *tensors, visible)
    return softmax_forward(mechanism, at, *tensors, i, j, visible)


def step_backward(
    mechanism: type[Mechanism],
    at: dict[str, Any],
    fields: list[Tensor],
    step: Step,
    tensors: tuple[Tensor, Tensor, Tensor],
    saved: tuple[Tensor, Tensor],
    upstream: tuple[Tensor, Tensor | None],
) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
    """Gradients of a step's q, k and v, and of the fields; scores are computed anew."""
    copies, (i, j, visible) = gather(step, *tensors), mask(mechanism, at, step)
    # Slots without a token get an infinite log-sum-exp: exp(s - inf) = 0, so they send no gradient.
    out, lse = take(saved[0], step), take(saved[1], step, fill=torch.inf)
    grad_out, grad_lse = take(upstream[0], step), upstream[1]
    if grad_lse is None and can_fuse(mechanism, tensors[0], tensors[2]):
        scale, dtype = mechanism.scale(at), at["real dtype"]
        return *fused_backward(scale, dtype, *copies, visible, (out, lse), grad_out), []
    row = torch.zeros_like(lse) if grad_lse is None else take(grad_lse, step)
    return softmax_backward(mechanism, at, fields, *copies, i, j, visible, (out, lse), (grad_out, row))


def with_fields(mechanism: type[Mechanism], at: dict[str, Any], real_fields: Any) -> dict[str, Any]:
    """`at` with the differentiable fields in place, in the accumulation type."""
    fields = {
        name: type(at[name])(data.to(at["real dtype"]))
        for name, data in zip(mechanism.real_fields, real_fields)
    }
    return {**at, **fields}


def gather(step: Step, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The tokens of a step: (batch, heads, tiles, slots, width)."""
    key_layer = kv_layer(step.layer, q.shape[1] // k.shape[1])
    return (
        q[step.layer][:, :, step.query_tokens],
        k[key_layer][:, :, step.key_tokens],
        v[key_layer][:, :, step.key_tokens],
    )


def kv_layer(layer: tuple[slice, slice], group: int) -> tuple[slice, slice]:
    """The key/value heads that serve the query heads of a layer, `group` query heads each."""
    batch, head = layer
    if head.start is None:
        return layer
    return batch, slice(head.start // group, head.start // group + 1)


def take(full: Tensor, step: Step, fill: float = 0.0) -> Tensor:
    """The rows of a step's queries; slots without a token get `fill`."""
    rows = full[step.layer][:, :, step.query_tokens]
    exists = step.query_exists if rows.dim() == 4 else step.query_exists.unsqueeze(-1)
    return torch.where(exists, rows, fill)


def put(full: Tensor, step: Step, part: Tensor) -> None:
    """Writes the rows of a step's queries; every token has one slot."""
    rows = part.flatten(2, 3)[:, :, step.query_exists.flatten()]
    full[step.layer].index_copy_(2, step.query_tokens[step.query_exists], rows.to(full.dtype))


def add(full: Tensor, step: Step, side: str, part: Tensor) -> None:
    """Adds rows to the tokens they came from; a key may be in many tiles."""
    query = side == "query"
    tokens, exists = (step.query_tokens, step.query_exists) if query else (step.key_tokens, step.key_exists)
    layer = step.layer if query else kv_layer(step.layer, step.heads // full.shape[1])
    rows = part.flatten(2, 3)[:, :, exists.flatten()]
    full[layer].index_add_(2, tokens[exists], rows.to(full.dtype))


def mask(
    mechanism: type[Mechanism], at: dict[str, Any], step: Step
) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Coordinates of a step, and which pairs are visible (None if all are)."""
    if step.full:
        return step.i, step.j, None
    return step.i, step.j, mechanism.where(*step.i, *step.j, at) & step.key_exists.unsqueeze(-2)


def at_step(at: dict[str, Any], step: Step) -> dict[str, Any]:
    """`at` for the batch elements and heads of a step."""
    here = {name: field_slice(value, step.layer) for name, value in at.items()}
    heads = torch.arange(at["heads"], device=step.query_tokens.device)[step.layer[1]]
    return {**here, "head": heads.view(-1, 1, 1, 1)}


def field_slice(value: Any, layer: tuple[slice, slice]) -> Any:
    """A field restricted to the batch elements and heads at hand; anything else as it is."""
    if not isinstance(value, Field):
        return value
    (batch, head), (batches, heads) = layer, value.data.shape[:2]
    return type(value)(value.data[batch if batches > 1 else slice(None), head if heads > 1 else slice(None)])
