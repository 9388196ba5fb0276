"""PyTorch's fused CPU attention, for steps without a score function or bias: the same result, faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.softmax import per_kv_head, per_query_head

FUSED: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
FUSED_BACKWARD: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)
"""Private operators of PyTorch, stable since 2.2; where they are missing, the plain path is taken."""
NEVER = 1e30
"""A log-sum-exp so large that exp(s - NEVER) is zero: rows without a token or a key send no gradient."""


def can_fuse(mechanism: type[Mechanism], q: Tensor, v: Tensor) -> bool:
    """Whether the fused operators compute this step: plain scores, equal widths, on a CPU."""
    plain = mechanism.score is None and mechanism.bias is None
    return plain and FUSED is not None and q.device.type == "cpu" and q.shape[-1] == v.shape[-1]


def additive_mask(visible: Tensor | None, batch: int, heads: int, dtype: torch.dtype) -> Tensor | None:
    """Zero where visible and minus infinity elsewhere, (1 or batch * heads, tiles, queries, keys)."""
    if visible is None:
        return None
    mask = torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, -torch.inf)
    if mask.dim() == 3:
        return mask.unsqueeze(0)
    return mask.expand(batch, heads, *mask.shape[-3:]).flatten(0, 1)


def in_rows(tensor: Tensor) -> Tensor:
    """The fused operators take the channels of a token to be neighbours in memory, without a check."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def fused_forward(
    scale: float, dtype: torch.dtype, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Output and natural log-sum-exp, as `softmax_forward`."""
    batch, heads = q.shape[:2]
    q, k, v = (in_rows(per_query_head(t, heads).to(dtype).flatten(0, 1)) for t in (q, k, v))
    mask = additive_mask(visible, batch, heads, dtype)
    out, lse = FUSED(q, k, v, 0.0, False, attn_mask=mask, scale=scale)
    if mask is not None:
        lse = lse.masked_fill((mask == -torch.inf).all(-1), -torch.inf)
    return out.unflatten(0, (batch, heads)), lse.unflatten(0, (batch, heads))


def fused_backward(
    scale: float,
    dtype: torch.dtype,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor | None,
    saved: tuple[Tensor, Tensor],
    grad_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, where nothing flows into the log-sum-exp."""
    (batch, heads), kv_heads = q.shape[:2], k.shape[1]
    tensors = [in_rows(per_query_head(t, heads).to(dtype).flatten(0, 1)) for t in (q, k, v)]
    out, grad_out = (in_rows(t.to(dtype).flatten(0, 1)) for t in (saved[0], grad_out))
    lse = saved[1].to(dtype).flatten(0, 1).nan_to_num(neginf=NEVER, posinf=NEVER)
    mask = additive_mask(visible, batch, heads, dtype)
    grads = FUSED_BACKWARD(grad_out, *tensors, out, lse, 0.0, False, attn_mask=mask, scale=scale)
    grad_q, grad_k, grad_v = (grad.unflatten(0, (batch, heads)) for grad in grads)
    return grad_q, per_kv_head(grad_k, kv_heads), per_kv_head(grad_v, kv_heads)
