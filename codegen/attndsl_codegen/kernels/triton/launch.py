"""Runs the Triton kernels for one attend, forward and backward, and says where they serve."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attndsl_codegen.kernels.all_keys import all_keys, all_keys_backward
from attndsl_codegen.kernels.chunked import chunked
from attndsl_codegen.kernels.definition import SMALLEST_SUM, query_extents
from attndsl_codegen.kernels.fields import with_fields
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiled import tiled, tiled_backward
from attndsl_codegen.kernels.triton.backward import (
    softmax_key_gradient_kernel,
    softmax_query_gradient_kernel,
)
from attndsl_codegen.kernels.triton.configurations import (
    WIDEST,
    Configuration,
    architecture_of,
    brick,
    configuration,
)
from attndsl_codegen.kernels.triton.forward import softmax_forward_kernel
from attndsl_codegen.kernels.triton.schedule import Schedule, cached_schedule
from attndsl_codegen.kernels.triton.strides import (
    for_any_size,
    in_rows_of_channels,
    layer_steps,
    operand_type,
    padded,
    row_steps,
)
from attndsl_codegen.kernels.triton.support import triton
from attndsl_codegen.kernels.triton.weighted import weighted_forward_kernel

BACKEND = "auto"
"""`auto`: Triton on a GPU, torch elsewhere; `torch`; or `triton`, which refuses what it cannot run."""


def tiled_softmax(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax by the Triton kernels where they serve, else tile by tile in torch."""
    found = by_triton(mechanism, at, q, k, v)
    return tiled(mechanism, at, q, k, v) if found is None else found


def all_keys_softmax(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Softmax over all keys by the Triton kernels where they serve, else in torch."""
    found = by_triton(mechanism, at, q, k, v)
    return all_keys(mechanism, at, q, k, v) if found is None else found


def weighted_sums(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Any]:
    """Weights of any kind, and with factors, by the Triton kernels where they serve, else in torch."""
    kind, unbounded = v.dtype, mechanism.normalize in ("linear", "none")
    if unbounded and kind == torch.float16:  # sums of scores leave its range
        q, k, v = q.float(), k.float(), v.float()
    found = by_triton(mechanism, at, q, k, v)
    if found is None:
        found = chunked(mechanism, at, q, k, v)
    return found[0].to(kind), found[1] if mechanism.normalize == "softmax" else None


def tiled_softmax_backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
    """Its gradients outside of autograd; whatever computed the output, the other can go on from there."""
    return (
        TritonAttention.backward(ctx, *upstream)
        if goes_back_by_triton(ctx)
        else tiled_backward(ctx, *upstream)
    )


def all_keys_softmax_backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
    """As `tiled_softmax_backward`."""
    if goes_back_by_triton(ctx):
        return TritonAttention.backward(ctx, *upstream)
    return all_keys_backward(ctx, *upstream)


def asked_backend() -> str:
    """The backend that this file is to use."""
    return BACKEND


def by_triton(
    mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor] | None:
    """An attend by the Triton kernels, and its log-sum-exps (or divisors); None where they do not serve.

    Raises:
        ValueError: they do not serve, but the backend is `triton`.
    """
    problem = why_not_triton(mechanism, at, q, v)
    known = {**at, "heads": q.shape[1], "device": q.device, "schedules": {}}
    fields = tuple(at[name].data for name in mechanism.real_fields)
    call = Call(mechanism, known, q, k, v)
    if problem is None and mechanism.real_fields and torch.is_grad_enabled():
        problem = call.why_no_gradients([f.requires_grad for f in fields])
    if problem is None:
        return TritonAttention.apply(mechanism, known, q, k, v, *fields)  # type: ignore[no-any-return]
    refused(at, problem)
    return None


def refused(at: dict[str, Any], problem: str) -> None:
    """Raises ValueError where only the Triton kernels will do."""
    if at.get("backend", BACKEND) == "triton":
        raise ValueError(f"the Triton kernels cannot run this: {problem}")


def goes_back_by_triton(ctx: Any) -> bool:
    """Whether the Triton kernels serve for the gradients that are wanted.

    Raises:
        ValueError: they do not, but the backend is `triton`.
    """
    q, k, v, *_ = ctx.saved_tensors
    problem = why_not_triton(ctx.mechanism, ctx.at, q, v)
    ctx.at = {**ctx.at, "heads": q.shape[1], "device": q.device}
    if problem is None and ctx.mechanism.real_fields:
        problem = Call(ctx.mechanism, ctx.at, q, k, v).why_no_gradients(ctx.needs_input_grad[5:])
    if problem is not None:
        refused(ctx.at, problem)
    return problem is None


def why_not_triton(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor, v: Tensor) -> str | None:
    """What keeps a call from the Triton kernels; None if nothing does."""
    backend = at.get("backend", BACKEND)  # an operator is told
    interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    if backend == "torch":
        return "the torch backend was asked for"
    if triton is None:
        return "Triton is not installed"
    if not (q.is_cuda or interpreted):
        return f"the tensors are on {q.device}"
    if q.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"{q.dtype} is not float32, float16 or bfloat16"
    if "queries" in at and bool(mechanism.query_steps):
        return "decoding steps of residue classes are left to torch"
    if max(q.shape[-1], v.shape[-1]) > WIDEST:
        return f"a width above {WIDEST} is left to torch"
    return "there is nothing to compute" if q.numel() == 0 or v.numel() == 0 else None


class Call(NamedTuple):
    """What the launches of one attend share; keys and values are tensors, or products of two.

    Attributes:
        kind: the type of results; None: that of the operands.
    """

    mechanism: type[Mechanism]
    at: dict[str, Any]
    q: Tensor
    k: Any
    v: Any
    kind: torch.dtype | None = None

    @property
    def env(self) -> tuple[Any, ...]:
        """What hooks read: sizes, and fields as (data, batch stride, head stride, extents)."""
        sizes = for_any_size(*(self.at[name] for name in self.mechanism.gpu.sizes))
        fields = [self.at[name].data.detach().contiguous() for name in self.mechanism.gpu.fields]
        return (*sizes, *((f, *for_any_size(*layer_steps(f), *f.shape[2:])) for f in fields))

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What every kernel takes after its sizes: extents, env, and the factor of the dot product."""
        extents = tuple(for_any_size(*sides) for sides in self.extents)
        return extents, self.env, float(self.mechanism.scale(self.at))

    def why_no_gradients(self, needed: Sequence[bool]) -> str | None:
        """What keeps the gradients of real fields from the kernels; None if nothing does."""
        names = {name for name, wanted in zip(self.mechanism.real_fields, needed) if wanted}
        lookups = (lookup for lookup in self.mechanism.gpu.lookups if lookup.field in names)
        too_large = next((lookup.field for lookup in lookups if lookup.planned(self) is None), None)
        return too_large and f"the gradient of {too_large} would take too much memory; it is left to torch"

    def settings(self, kernel: str) -> Configuration:
        """The configuration of a kernel."""
        width = max(self.q.shape[-1], self.v.shape[-1])
        looks_up = bool(self.mechanism.gpu.fields) or self.mechanism.normalize != "softmax"
        return configuration(kernel, width, self.q.element_size(), architecture_of(self.q.device), looks_up)

    def tiles(self, chosen: Configuration) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The sides of query tiles and key tiles."""
        axes, gpu = (len(self.mechanism.query.axes), len(self.mechanism.key.axes)), self.mechanism.gpu
        if self.mechanism.query_steps:  # boxes were chosen for whole axes
            return brick(chosen.queries, axes[0]), brick(chosen.keys, axes[1])
        return brick(chosen.queries, axes[0], gpu.query_boxes), brick(chosen.keys, axes[1], gpu.key_boxes)

    @property
    def extents(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of queries and keys; of a decoding step the queries computed, and the place of the first."""
        offset = (self.at["offset"],) if "queries" in self.at else ()
        return (*query_extents(self.mechanism, self.at), *offset), self.mechanism.key.extents(self.at)

    def schedule(self, chosen: Configuration, of_keys: bool) -> Schedule:
        """The schedule for the tiles of a configuration; passes whose tiles have the same sides share it."""
        shape, tiles = (self.q.shape[0], self.q.shape[1]), self.tiles(chosen)
        known, at = self.at.setdefault("schedules", {}), {**self.at, "key heads": self.k.shape[1]}
        if (tiles, of_keys) not in known:
            known[tiles, of_keys] = cached_schedule(self.mechanism, at, tiles, shape, of_keys)
        return known[tiles, of_keys]

    def constants(self, chosen: Configuration) -> dict[str, Any]:
        """What kernels are compiled for."""
        width, value_width = self.q.shape[-1], self.v.shape[-1]
        query_tile, key_tile = self.tiles(chosen)
        return {
            "WHERE": self.mechanism.gpu.where,
            "SHAPE": self.mechanism.gpu.shape,
            "TIMES": self.mechanism.gpu.times,
            "NORMALIZE": self.mechanism.normalize,
            "QUERY_TILE": query_tile,
            "KEY_TILE": key_tile,
            "QUERY_STEP": self.mechanism.query_steps or None,
            "KEY_STEP": self.mechanism.key_steps or None,
            "QUERIES": chosen.queries,
            "KEYS": chosen.keys,
            "WIDTH": width,
            "VALUE_WIDTH": value_width,
            "CHANNELS": padded(width),
            "VALUE_CHANNELS": padded(value_width),
            "PRECISION": "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
            "num_warps": chosen.warps,
            "num_stages": chosen.stages,
        }


class Launch(NamedTuple):
    """What the kernels of one pass over all tiles of queries, or of keys, are launched with.

    Attributes:
        grid: a program per tile, head and batch element.
        sizes: tiles, queries, heads (of keys: key heads), query heads per key head.
        schedule: which tiles are visited; None where tiles see ranges.
    """

    grid: tuple[int]
    sizes: tuple[int, ...]
    constants: dict[str, Any]
    schedule: Any

    @property
    def tables(self) -> Any:
        """The tables of the schedule."""
        return None if self.schedule is None else self.schedule.visits

    @property
    def token_orders(self) -> Any:
        """The orders of the tokens that make up tiles."""
        return None if self.schedule is None else self.schedule.orders

    @property
    def rounds(self) -> tuple[bool | None, ...]:
        """A launch for each, see `Schedule`."""
        return (None,) if self.schedule is None else self.schedule.layouts


def launch_of(call: Call, kernel: str, of_keys: bool = False) -> Launch:
    """The launch of a kernel over all tiles of queries, or of keys."""
    chosen, gpu = call.settings(kernel), call.mechanism.gpu
    constants, (batch, heads, queries, _) = call.constants(chosen), call.q.shape
    own = call.k.shape[1] if of_keys else heads
    if gpu.keys_seen is None:
        schedule = call.schedule(chosen, of_keys)
        tiles = schedule.rows.shape[2]
    else:
        schedule = None
        tiles = -(-call.k.shape[2] // chosen.keys) if of_keys else -(-queries // chosen.queries)
        seen = gpu.queries_seen if of_keys else gpu.keys_seen
        constants |= {"SEEN": seen, "LAST_FIRST": gpu.last_first[of_keys]}
    sizes = (*for_any_size(tiles, queries), own, heads // call.k.shape[1])
    return Launch((tiles * own * batch,), sizes, constants, schedule)


def forward_on_gpu(call: Call) -> tuple[Tensor, Tensor]:
    """Output, and in float32 natural log-sum-exps, or divisors where weights are no softmax."""
    q, k, v = call.q, call.k, call.v
    out = q.new_empty(*q.shape[:3], v.shape[-1], dtype=call.kind)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    run = launch_of(call, "forward")
    operands = (q, k, v, out, lse, row_steps(q, k, v, out), run.sizes, *call.geometry)
    for ordered in run.rounds:
        if call.mechanism.normalize == "softmax":
            softmax_forward_kernel[run.grid](
                *operands, visits=run.tables, orders=run.token_orders, ORDERED=ordered, **run.constants
            )
        else:
            weighted_forward_kernel[run.grid](
                *operands, visits=run.tables, orders=run.token_orders, ORDERED=ordered, **run.constants
            )
    return out, lse


def query_gradient(call: Call, grad_out: Tensor, lse: Tensor, delta: Tensor) -> Tensor:
    """The gradient of the queries."""
    q, k, v = call.q, call.k, call.v
    grad_q = torch.empty_like(q, dtype=call.kind)
    run = launch_of(call, "query gradient")
    for ordered in run.rounds:
        softmax_query_gradient_kernel[run.grid](
            *(q, k, v, grad_out, lse, delta, grad_q, row_steps(q, k, v, grad_out, grad_q)),
            *(run.sizes, *call.geometry),
            visits=run.tables,
            orders=run.token_orders,
            SLOPE=call.mechanism.gpu.slope,
            ORDERED=ordered,
            **run.constants,
        )
    return grad_q


def key_gradients(call: Call, grad_out: Tensor, lse: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of keys and values."""
    q, k, v = call.q, call.k, call.v
    grad_k, grad_v = (torch.empty_like(t, dtype=call.kind) for t in (k, v))
    run = launch_of(call, "key gradient", of_keys=True)
    for ordered in run.rounds:
        softmax_key_gradient_kernel[run.grid](
            *(q, k, v, grad_out, lse, delta, grad_k, grad_v, row_steps(q, k, v, grad_out, grad_k, grad_v)),
            *(run.sizes, *call.geometry),
            visits=run.tables,
            orders=run.token_orders,
            SLOPE=call.mechanism.gpu.slope,
            ORDERED=ordered,
            **run.constants,
        )
    return grad_k, grad_v


def field_gradients(
    call: Call, needed: tuple[bool, ...], grad_out: Tensor, lse: Tensor, delta: Tensor
) -> list[Tensor | None]:
    """The gradients of the real fields, of those that need one."""
    found: list[Tensor | None] = []
    for name, wanted in zip(call.mechanism.real_fields, needed):
        lookups = [lookup for lookup in call.mechanism.gpu.lookups if lookup.field == name and wanted]
        grads = [lookup.gradient(call, grad_out, lse, delta) for lookup in lookups]
        found.append(torch.stack(grads).sum(0) if grads else None)
    return found


class TritonAttention(torch.autograd.Function):
    """One attend on (batch, heads, tokens, width); keys and values may have fewer heads."""

    @staticmethod
    def forward(
        ctx: Any,
        mechanism: type[Mechanism],
        at: dict[str, Any],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *fields: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Output, and log-sum-exp or divisors."""
        kind, taken = q.dtype, operand_type(at, q)
        q, k, v = (in_rows_of_channels(t.to(taken)) for t in (q, k, v))
        out, lse = forward_on_gpu(Call(mechanism, with_fields(mechanism, at, fields), q, k, v, kind))
        ctx.mechanism, ctx.at = mechanism, at
        ctx.save_for_backward(q, k, v, out, lse, *fields)
        ctx.set_materialize_grads(False)
        if mechanism.normalize != "softmax":
            ctx.mark_non_differentiable(lse)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        """Gradients of q, k, v and the real fields."""
        q, k, v, out, lse, *fields = ctx.saved_tensors
        taken = operand_type(ctx.at, q)  # an operator keeps them as they were
        q, k, v = (in_rows_of_channels(t.to(taken)) for t in (q, k, v))
        grad_out = torch.zeros_like(out) if upstream[0] is None else in_rows_of_channels(upstream[0])
        delta = (grad_out.float() * out.float()).sum(-1)
        if upstream[1] is not None:
            delta = delta - upstream[1]
        if ctx.mechanism.normalize == "linear":  # instead of a sum next to zero, a constant divides
            delta = torch.where(lse.abs() > SMALLEST_SUM, delta, 0.0)
        elif ctx.mechanism.normalize != "softmax":
            delta = torch.zeros_like(delta)
        call = Call(ctx.mechanism, with_fields(ctx.mechanism, ctx.at, fields), q, k, v, out.dtype)
        grad_out = grad_out.to(taken)
        grads = [query_gradient(call, grad_out, lse, delta), *key_gradients(call, grad_out, lse, delta)]
        return None, None, *grads, *field_gradients(call, ctx.needs_input_grad[5:], grad_out, lse, delta)
