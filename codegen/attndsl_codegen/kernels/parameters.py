"""The learned tensors of a module: how they are made and how they start."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from attndsl_codegen.kernels.arguments import Learned


def module_sizes(names: tuple[str, ...], heads: int | None, kv_heads: int | None, dim: Any) -> dict[str, Any]:
    """What shapes of learned tensors depend on.

    Args:
        names: the inputs that have a width.
        dim: their width, one number for all or one per name.
    """
    widths = {name: dim.get(name) if isinstance(dim, dict) else dim for name in names}
    sizes = {"heads": heads, "kv heads": kv_heads if kv_heads is not None else heads}
    return {**sizes, **{f"{name}.width": width for name, width in widths.items()}}


def add_parameters(
    module: nn.Module, learned: dict[str, Learned], sizes: dict[str, Any], device: Any, dtype: Any
) -> None:
    """Registers parameters and buffers and gives them their first values.

    Raises:
        TypeError: heads or dim are needed and not given.
    """
    for attribute, tensor in learned.items():
        try:
            shape = tensor.shape(sizes)
            fan_in = 1 if tensor.fan_in is None else tensor.fan_in(sizes)
        except TypeError:
            shape, fan_in = (), None
        if fan_in is None or any(not isinstance(extent, int) for extent in shape):
            raise TypeError(f"{type(module).__name__} learns {tensor.name!r}: pass heads=... and dim=...")
        data = torch.empty(shape, device=device, dtype=dtype)
        if tensor.init == "normal":
            nn.init.normal_(data, std=0.02 if not tensor.state else 1.0)
        elif tensor.init == "uniform":
            nn.init.uniform_(data, -(fan_in**-0.5), fan_in**-0.5)
        else:
            data.fill_(1.0 if tensor.init == "ones" else 0.0)
        if tensor.state:
            module.register_buffer(attribute, data)
        else:
            module.register_parameter(attribute, nn.Parameter(data))
