"""How one attend runs on tensors (batch, heads, tokens, width): by a kernel, or by its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.definition import query_extents, weighted_rows
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.registration import OPERATORS, by_operator

Attend = Callable[..., tuple[Tensor, Any]]
"""attend(kernel, mechanism, at, q, k, v): the output, and the log-sum-exp where there is one."""


def by_kernel(
    kernel: Callable[..., Any], mechanism: type[Mechanism], at: dict[str, Any], q: Any, k: Any, v: Any
) -> tuple[Tensor, Any]:
    """The attend by its kernel, or by its operator where calls are traced or counted."""
    at, q, k, v = aligned(mechanism, at, q, k, v)
    if by_operator(mechanism):
        return OPERATORS[mechanism](at, q, k, v)
    return kernel(mechanism, at, q, k, v)


def aligned(
    mechanism: type[Mechanism], at: dict[str, Any], q: Any, k: Any, v: Any
) -> tuple[dict[str, Any], Any, Any, Any]:
    """Operands of one batch size, queries with all heads of the result, widths that agree."""
    tensors = [t for t in (q, k, v) if t is not None]
    fields = [at[name].data for name in (*mechanism.real_fields, *mechanism.mask_fields)]
    batch = max(t.shape[0] for t in (*tensors, *fields))
    heads = next((t.shape[1] for t in (*tensors, *fields) if t.shape[1] > 1), 1)
    if q is not None and k is not None and q.shape[-1] != k.shape[-1]:
        query_name, key_name = mechanism.operands
        raise ValueError(f"{key_name}: width {k.shape[-1]}, but {query_name} has width {q.shape[-1]}")
    q, k, v = (None if t is None else t.expand(batch, *t.shape[1:]) for t in of_one_type(q, k, v))
    if q is not None and q.shape[1] != heads:
        q = q.expand(-1, heads, -1, -1)
    return {**at, "heads": heads}, q, k, v


def of_one_type(*tensors: Any) -> tuple[Any, ...]:
    """Tensors in the widest of their types: learned ones may differ from the inputs. Others as they are."""
    widest = reduce(torch.promote_types, [t.dtype for t in tensors if isinstance(t, Tensor)])
    return tuple(t.to(widest) if isinstance(t, Tensor) else t for t in tensors)


def by_definition(rows: Tensor | None = None, chunk: int = 64) -> Attend:
    """The attend by its definition, every query against every key, differentiated by torch. For checks.

    Args:
        rows: compute these queries only, leaving zeros elsewhere; all if None.
        chunk: queries at a time.
    """

    def attend(
        kernel: Any, mechanism: type[Mechanism], at: dict[str, Any], q: Any, k: Any, v: Any
    ) -> tuple[Tensor, Any]:
        at, q, k, v = aligned(mechanism, at, q, k, v)
        if not isinstance(v, Tensor):  # of pairs of tokens
            k, v = k.product(), v.product()
        count = math.prod(query_extents(mechanism, at))
        out = v.new_zeros(v.shape[0], at["heads"], count, v.shape[-1])
        lse = torch.full(out.shape[:3], -torch.inf, dtype=at["real dtype"])
        for part in (torch.arange(count) if rows is None else rows).split(chunk):
            here = None if q is None else q[:, :, part]
            found, found_lse = weighted_rows(mechanism, at, part, here, k, v)
            out = out.index_copy(2, part, found.to(out.dtype))
            if found_lse is not None:
                lse = lse.index_copy(2, part, found_lse.expand(*out.shape[:2], -1))
        return out, lse

    return attend
