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
FUSES = True
"""Whether PyTorch's fused operators are used where they can be; checks turn them off."""
NEVER = 1e30
"""A log-sum-exp so large that exp(s - NEVER) is zero: rows without a token or a key send no gradient."""


def can_fuse(mechanism: type[Mechanism], q: Tensor, v: Tensor) -> bool:
    """Whether the fused operators compute these scores: a mask can express them, and it is on a CPU."""
    here = FUSES and FUSED is not None and q.device.type == "cpu" and q.numel() > 0
    return here and q.shape[-1] == v.shape[-1] and mechanism.score is None


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
    """Output and natural log-sum-exp (batch * heads, tiles, queries); `mask` is added to the scores."""
    shape = tensors[0].shape[:2]
    separate = tiles_apart(mask, *tensors)
    q, k, v = (apart(t) if separate else in_rows(t) for t in tensors)
    out, lse = FUSED(q, k, v, 0.0, False, attn_mask=on_pairs(mask, q, k), scale=scale)
    # A query without keys has a log-sum-exp of zero or none at all here; others hardly ever have.
    if mask is not None and not bool((lse.abs() > 0).all()):
        lse = lse.masked_fill(mask.amax(-1) == -torch.inf, -torch.inf)
    if separate:
        out, lse = (t.squeeze(1).unflatten(0, shape) for t in (out, lse))
    return out, lse


def on_pairs(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The mask with a place for every query and key, without a copy."""
    return None if mask is None else mask.expand(-1, -1, q.shape[2], k.shape[2])


def fused_backward(
    scale: float,
    tensors: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    saved: tuple[Tensor, Tensor],
    grad_out: Tensor,
    grad_lse: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Gradients of q, k and v; None where the operator cannot take in that of the log-sum-exp."""
    out, lse = saved
    lse = lse.nan_to_num(neginf=NEVER, posinf=NEVER)
    shape = lse.shape[:2]
    if grad_lse is not None:
        shifted = shifted_output(out, grad_out, grad_lse)
        if shifted is None:
            return None
        out = shifted
    separate = tiles_apart(mask, *tensors, out, lse, grad_out)
    q, k, v, out, grad_out = (apart(t) if separate else in_rows(t) for t in (*tensors, out, grad_out))
    lse = apart(lse) if separate else lse
    mask = on_pairs(mask, q, k)
    grads = FUSED_BACKWARD(grad_out, q, k, v, out, lse, 0.0, False, attn_mask=mask, scale=scale)
    if separate:
        grads = tuple(grad.squeeze(1).unflatten(0, shape) for grad in grads)
    return grads


SMALLEST = 1e-20
"""The least gradient of an output that can carry that of its log-sum-exp."""


def shifted_output(out: Tensor, grad_out: Tensor, grad_lse: Tensor) -> Tensor | None:
    """An output that makes the fused operator count the gradient of the log-sum-exp in.

    The gradient of scores is weight * (grad_out . v - row) with row = grad_out . out - grad_lse. The operator
    uses the output for nothing but that row sum: moved along the largest channel of `grad_out`, it gives any.
    None if some query's output has no gradient to speak of, though its log-sum-exp has.
    """
    largest, channel = grad_out.abs().max(-1, keepdim=True)
    grad_lse = grad_lse.unsqueeze(-1)
    if bool(((largest < SMALLEST) & (grad_lse != 0)).any()):
        return None
    divisor = grad_out.gather(-1, channel)
    shift = torch.where(grad_lse == 0, 0.0, grad_lse / torch.where(divisor == 0, 1.0, divisor))
    return out.scatter_add(-1, channel, -shift)
