"""Runs the Triton kernels of softmax over pairs of tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.paired import Factors, paired
from attndsl_codegen.kernels.softmax import per_query_head
from attndsl_codegen.kernels.triton.configurations import Configuration, brick
from attndsl_codegen.kernels.triton.launch import (
    Call,
    refused,
    why_not_triton,
)
from attndsl_codegen.kernels.triton.pairs import (
    paired_forward_kernel,
    paired_key_gradient_kernel,
    paired_query_gradient_kernel,
)
from attndsl_codegen.kernels.triton.schedule import Schedule, cached_schedule
from attndsl_codegen.kernels.triton.strides import (
    for_any_size,
    in_rows_of_channels,
    operand_type,
    row_steps,
)

ROWS = 16
"""Tokens of one factor in a key tile; there are more of the other one."""


def paired_softmax(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Factors, v: Factors
) -> tuple[Tensor, Tensor]:
    """Softmax over pairs by the Triton kernels where they serve, else in torch."""
    problem = why_not_triton(mechanism, at, q, v.a)
    if problem is None and "queries" in at:
        problem = "decoding steps over pairs are left to torch"
    if problem is not None:
        refused(at, problem)
        return paired(mechanism, at, q, k, v)
    factors = (*k, *v)
    if len({t.shape[1] for t in factors}) > 1:
        factors = tuple(per_query_head(t, q.shape[1]) for t in factors)
    factors = tuple(t.to(q.dtype) for t in factors)
    known = {**at, "heads": q.shape[1], "device": q.device, "schedules": {}}
    return TritonPairs.apply(mechanism, known, q, *factors)  # type: ignore[no-any-return]


class PairCall(Call):
    """What the launches of one attend over pairs share."""

    def schedule_of(self, chosen: Configuration, of_keys: bool, first: bool = False) -> Schedule:
        """The schedule, for key tiles that are longer on the second factor, or with `first` on the first."""
        shape, known = (self.q.shape[0], self.q.shape[1]), self.at.setdefault("schedules", {})
        sides = (chosen.keys, ROWS) if first else (ROWS, chosen.keys)
        tiles = brick(chosen.queries, len(self.mechanism.query.axes)), sides
        if (tiles, of_keys) not in known:
            known[tiles, of_keys] = cached_schedule(self.mechanism, self.at, tiles, shape, of_keys)
        return known[tiles, of_keys]  # type: ignore[no-any-return]

    def settings_of(self, kernel: str) -> tuple[Configuration, dict[str, Any]]:
        """The configuration of a kernel, and what it is compiled for."""
        chosen = self.settings(kernel)
        others = ("KEY_TILE", "KEY_STEP", "TIMES", "NORMALIZE")
        constants = {n: value for n, value in self.constants(chosen).items() if n not in others}
        return chosen, {**constants, "ROWS": ROWS}


def pairs_forward(call: PairCall) -> tuple[Tensor, Tensor]:
    """Output, and natural log-sum-exp in float32."""
    q, k, v = call.q, call.k, call.v
    out = q.new_empty(*q.shape[:3], v.shape[-1], dtype=call.kind)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    chosen, constants = call.settings_of("pair forward")
    schedule = call.schedule_of(chosen, of_keys=False)
    tiles, heads = schedule.rows.shape[2], q.shape[1]
    sizes = (*for_any_size(tiles, q.shape[2]), heads, heads // k.shape[1])
    paired_forward_kernel[(tiles * heads * q.shape[0],)](
        *(q, *k, *v, out, lse, row_steps(q, *k, *v, out), sizes, *call.geometry),
        visits=schedule.visits,
        **constants,
    )
    return out, lse


def pairs_query_gradient(call: PairCall, backward: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The gradient of the queries.

    Args:
        backward: the gradient of the output, log-sum-exps, and `delta` of the kernels.
    """
    q, k, v = call.q, call.k, call.v
    grad_q = torch.empty_like(q, dtype=call.kind)
    chosen, constants = call.settings_of("pair query gradient")
    schedule = call.schedule_of(chosen, of_keys=False)
    tiles, heads = schedule.rows.shape[2], q.shape[1]
    sizes = (*for_any_size(tiles, q.shape[2]), heads, heads // k.shape[1])
    paired_query_gradient_kernel[(tiles * heads * q.shape[0],)](
        *(q, *k, *v, *backward, grad_q, row_steps(q, *k, *v, backward[0], grad_q)),
        *(sizes, *call.geometry),
        visits=schedule.visits,
        SLOPE=call.mechanism.gpu.slope,
        **constants,
    )
    return grad_q


def pairs_key_gradients(
    call: PairCall, backward: tuple[Tensor, Tensor, Tensor], first: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of the first factors, or of the second ones."""
    q, (k, rows_k), (v, rows_v) = call.q, *((f if first else f[::-1]) for f in (call.k, call.v))
    grad_k, grad_v = (torch.empty_like(t, dtype=call.kind) for t in (k, v))
    chosen, constants = call.settings_of("pair key gradient")
    schedule = call.schedule_of(chosen, of_keys=True, first=first)
    tiles, heads = -(-k.shape[2] // chosen.keys), k.shape[1]
    tensors = q, rows_k, k, rows_v, v
    sizes = (*for_any_size(tiles, q.shape[2]), heads, q.shape[1] // heads)
    paired_key_gradient_kernel[(tiles * heads * q.shape[0],)](
        *(*tensors, *backward, grad_k, grad_v, row_steps(*tensors, backward[0], grad_k, grad_v)),
        *(sizes, *call.geometry),
        visits=schedule.visits,
        SLOPE=call.mechanism.gpu.slope,
        FIRST=first,
        **constants,
    )
    return grad_k, grad_v


class TritonPairs(torch.autograd.Function):
    """One attend over pairs; factors may have fewer heads."""

    @staticmethod
    def forward(
        ctx: Any, mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, *factors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""
        kind, taken = q.dtype, operand_type(at, q)
        q, k1, k2, v1, v2 = (in_rows_of_channels(t.to(taken)) for t in (q, *factors))
        out, lse = pairs_forward(PairCall(mechanism, at, q, Factors(k1, k2), Factors(v1, v2), kind))
        ctx.mechanism, ctx.at = mechanism, at
        ctx.save_for_backward(q, k1, k2, v1, v2, out, lse)
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        """Gradients of queries and factors."""
        q, k1, k2, v1, v2, out, lse = ctx.saved_tensors
        grad_out = torch.zeros_like(out) if upstream[0] is None else in_rows_of_channels(upstream[0])
        delta = (grad_out.float() * out.float()).sum(-1)
        if upstream[1] is not None:
            delta = delta - upstream[1]
        call = PairCall(ctx.mechanism, ctx.at, q, Factors(k1, k2), Factors(v1, v2), out.dtype)
        backward = grad_out.to(q.dtype), lse, delta
        (grad_k1, grad_v1), (grad_k2, grad_v2) = (
            pairs_key_gradients(call, backward, first) for first in (True, False)
        )
        grad_q = pairs_query_gradient(call, backward)
        return None, None, grad_q, grad_k1, grad_k2, grad_v1, grad_v2
