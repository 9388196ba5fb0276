"""PyTorch's fused CPU attention, for steps without a score function: the same result, faster.

Tensors are (batch * heads, tiles, tokens, width); masks are additive and broadcast. The operators lay their
results out token by token, then tile by tile: with one tile each, results can be used without a copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism

FUSED: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
FUSED_BACKWARD: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)
"""Private operators of PyTorch, stable since 2.2; where they are missing, the plain path is taken."""
NEVER = 1e30
"""A log-sum-exp so large that exp(s - NEVER) is zero: rows without a token or a key send no gradient."""


def can_fuse(mechanism: type[Mechanism], q: Tensor, v: Tensor) -> bool:
    """Whether the fused operators compute these steps: scores that a mask can express, on a CPU."""
    here = FUSED is not None and q.device.type == "cpu" and q.shape[-1] == v.shape[-1]
    return here and mechanism.score is None and not mechanism.real_fields


def in_rows(tensor: Tensor) -> Tensor:
    """The fused operators take the channels of a token to be neighbours in memory, without a check."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def tiles_apart(mask: Tensor | None, *tensors: Tensor) -> bool:
    """Whether tiles can be batch elements of their own: no copies are needed, and all share the mask."""
    shared = mask is None or mask.shape[:2] == (1, 1)
    return shared and all(tensor.is_contiguous() for tensor in tensors)


def apart(tensor: Tensor) -> Tensor:
    """(batch * heads, tiles, ...) as (batch * heads * tiles, 1, ...)."""
    return tensor.flatten(0, 1).unsqueeze(1)


def fused_forward(
    scale: float, tensors: tuple[Tensor, Tensor, Tensor], mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Output and natural log-sum-exp (batch * heads, tiles, queries)."""
    shape = tensors[0].shape[:2]
    separate = tiles_apart(mask, *tensors)
    q, k, v = (apart(t) if separate else in_rows(t) for t in tensors)
    out, lse = FUSED(q, k, v, 0.0, False, attn_mask=mask, scale=scale)
    if mask is not None:
        lse = lse.masked_fill(mask.amax(-1) == -torch.inf, -torch.inf)
    if separate:
        out, lse = (t.squeeze(1).unflatten(0, shape) for t in (out, lse))
    return out, lse


def fused_backward(
    scale: float,
    tensors: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    saved: tuple[Tensor, Tensor],
    grad_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, where nothing flows into the log-sum-exp."""
    out, lse = saved
    lse = lse.nan_to_num(neginf=NEVER, posinf=NEVER)
    shape = lse.shape[:2]
    separate = tiles_apart(mask, *tensors, out, lse, grad_out)
    q, k, v, out, grad_out = (apart(t) if separate else in_rows(t) for t in (*tensors, out, grad_out))
    lse = apart(lse) if separate else lse
    grads = FUSED_BACKWARD(grad_out, q, k, v, out, lse, 0.0, False, attn_mask=mask, scale=scale)
    if separate:
        grads = tuple(grad.squeeze(1).unflatten(0, shape) for grad in grads)
    return grads
