"""What ours is timed beside: compiled FlexAttention in four forms, and PyTorch's dense attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu_cases import Case
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

MODES = {"default": None, "max-autotune": "max-autotune-no-cudagraphs"}
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


@dataclass(frozen=True)
class Peer:
    """One way to compute the same, or dense attention.

    Attributes:
        configuration: how it is compiled, or which backend runs.
        attend: of q, k and v in its own order of tokens, (batch, heads, tokens, width).
        order: the tokens in that order; None for row-major order.
        same: whether it computes what ours does.
    """

    name: str
    configuration: str
    attend: Callable[[Tensor, Tensor, Tensor], Tensor]
    order: Tensor | None = None
    same: bool = True

    def reordered(self, tensor: Tensor) -> Tensor:
        """A tensor in its order of tokens."""
        return tensor if self.order is None else tensor[:, :, self.order].contiguous()

    def in_rows(self, tensor: Tensor) -> Tensor:
        """A tensor of its own back in row-major order."""
        return tensor if self.order is None else tensor[:, :, torch.argsort(self.order)]

    def permutation(self, case: Case) -> Callable[[], object]:
        """What reordering costs: q, k and v there, the output back."""
        features, back = case.features, case.features[0]

        def call() -> None:
            for tensor in features:
                self.reordered(tensor)
            self.in_rows(back)

        return call


def peers_of(case: Case, modes: Sequence[str]) -> Iterator[Peer]:
    """FlexAttention on rows of tokens and hand-tiled, each compiled in some modes; dense attention.

    Args:
        modes: of `MODES`; without any, FlexAttention is not compiled: it then computes all pairs, and serves
            to try the scripts.
    """
    forms = ["raster", *(["hand-tiled"] if case.record["hand"] else [])]
    for form in forms:
        for mode in modes or ["default"]:
            yield flex_peer(case, form, mode, compiled=bool(modes))
    for name in ("flash", "cuDNN") if case.device.type == "cuda" else ("math",):
        attend = partial(_dense, backend=BACKENDS[name], causal=case.record["causal"])
        yield Peer(f"SDPA {name}", name, attend, same=case.record["causal"])


def flex_peer(case: Case, form: str, mode: str, compiled: bool) -> Peer:
    """FlexAttention with the block mask of one form."""
    tiled = form == "hand-tiled"
    prefix = "tiled_" if tiled else ""
    mask = getattr(case.modifiers, f"{prefix}mask_mod")
    score = getattr(case.modifiers, f"{prefix}score_mod")
    found = case.data["maps"][form]
    order = tile_order(case.shape, tuple(found["tile"])).to(case.device) if tiled else None
    tiles = found["tiles"].to(case.device)
    blocks = block_mask(tiles, int(found["slots"]), case.tokens, mask)
    attend: Callable[..., Any] = flex_attention
    if compiled:
        attend = torch.compile(flex_attention, mode=MODES[mode], dynamic=False)
    call = partial(_flex, attend, score, blocks, float(case.record["scale"]))
    tile = "x".join(map(str, found["tile"]))
    return Peer(f"FlexAttention {form}, {mode}", f"{mode}, blocks of {tile}", call, order)


def _flex(
    attend: Callable[..., Any], score: Any, blocks: BlockMask, scale: float, q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    found: Tensor = attend(q, k, v, score_mod=score, block_mask=blocks, scale=scale)
    return found


def _dense(q: Tensor, k: Tensor, v: Tensor, backend: SDPBackend, causal: bool) -> Tensor:
    with sdpa_kernel(backend):
        return scaled_dot_product_attention(q, k, v, is_causal=causal)


def block_mask(tiles: Tensor, slots: int, tokens: int, mask_mod: Any) -> BlockMask:
    """FlexAttention's block mask from a tile map (heads or 1, blocks, blocks): 1 partial, 2 full.

    `create_block_mask` would look at every pair: 4 * 10**9 of them at 65,536 tokens.
    """
    partial_ones, full_ones = (indices(tiles == kind) for kind in (1, 2))
    return BlockMask.from_kv_blocks(
        *partial_ones, *full_ones, BLOCK_SIZE=(slots, slots), mask_mod=mask_mod, seq_lengths=(tokens, tokens)
    )


def indices(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Counts and column numbers of the chosen blocks of each row, those first: (1, heads or 1, ...)."""
    order = torch.argsort((~chosen).to(torch.int8), dim=-1, stable=True)
    return chosen.sum(-1).int()[None], order.int()[None].contiguous()


def tile_order(shape: tuple[int, ...], tile: tuple[int, ...]) -> Tensor:
    """The tokens tile by tile, each tile in row-major order; tiles divide the extents."""
    numbers = torch.arange(torch.Size(shape).numel()).view(shape)
    split = [part for extent, side in zip(shape, tile) for part in (extent // side, side)]
    axes = len(shape)
    return numbers.view(split).permute([*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)]).flatten()
