"""How many pairs of tokens an attend keeps, and what running sums take, for `torch.utils.flop_counter`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from attndsl_codegen.kernels.fields import Pyramid
from attndsl_codegen.kernels.masks import EVALUATED, tile_masks
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.plan import visible_tiles
from attndsl_codegen.kernels.tiles import Bricks
from attndsl_codegen.kernels.triton.configurations import brick
from attndsl_codegen.kernels.triton.labels import possible_pairs
from attndsl_codegen.kernels.triton.schedule import bricks, layers_of

COUNTED_SLOTS = 64
"""Tokens of the tiles by which pairs are counted."""
MOST_PAIRED = 1 << 20
"""Pairs of tokens that are looked at one by one where labels are not known."""


def all_pairs(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor) -> int:
    """Every query with every key, over batch and heads."""
    return math.prod(q.shape[:3]) * math.prod(mechanism.key.extents(at))


def all_queries(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor) -> int:
    """Every query, over batch and heads."""
    return math.prod(q.shape[:3])


def kept_pairs(mechanism: type[Mechanism], at: dict[str, Any], q: Tensor) -> int:
    """The pairs that the mask admits, exactly, over batch and heads; visited tiles have more.

    Labels of FakeTensors have no values. Then it is an upper bound: the pairs that some labels would admit,
    and where there are many of those, all pairs of tiles that hold one.
    """
    batch, heads = q.shape[:2]
    batches, classes = layers_of(mechanism, (batch, heads))
    axes = len(mechanism.query.axes), len(mechanism.key.axes)
    with _disable_current_modes():  # plans are made of plain tensors
        tiles = bricks(mechanism, at, (brick(COUNTED_SLOTS, axes[0]), brick(COUNTED_SLOTS, axes[1])))
        if mechanism.mask_fields and any(without_values(at[name].data) for name in mechanism.mask_fields):
            return batch * heads // classes * possible_count(mechanism, at, tiles, classes)
        pairs, full = visible_by_tiles(mechanism, at, tiles, (batches, classes))
        count = pairs_of_tiles(tiles, pairs[full])
        for part in pairs[~full].split(max(1, EVALUATED // (tiles[0].slots * tiles[1].slots))):
            exists = tiles[0].coordinates(part[:, 2])[1].unsqueeze(-1)
            count += int((tile_masks(mechanism, tiles, part, at) & exists).sum())
    return batch // batches * (heads // classes) * count


def without_values(labels: Tensor) -> bool:
    """Whether nobody can know what a tensor holds."""
    return isinstance(labels, FakeTensor) or labels.is_meta


def visible_by_tiles(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[Bricks, Bricks], layers: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Pairs of tiles as rows (batch element, head, query tile, key tile), and which of them are full."""
    pyramids = {name: Pyramid(at[name].data) for name in mechanism.mask_fields}
    every = torch.cartesian_prod(*(torch.arange(count) for count in layers))
    return visible_tiles(mechanism, tiles[0], tiles[1], every, {**at, **pyramids})


def possible_count(
    mechanism: type[Mechanism], at: dict[str, Any], tiles: tuple[Bricks, Bricks], heads: int
) -> int:
    """The pairs that sizes alone admit, over heads; of whole tiles where there are many tokens."""
    if heads * math.prod(tiles[0].extents) * math.prod(tiles[1].extents) <= MOST_PAIRED:
        single = ((1,) * len(side.extents) for side in tiles)
        return len(possible_pairs(mechanism, at, bricks(mechanism, at, (next(single), next(single))), heads))
    return pairs_of_tiles(tiles, possible_pairs(mechanism, at, tiles, heads))


def pairs_of_tiles(tiles: tuple[Bricks, Bricks], pairs: Tensor) -> int:
    """All pairs of tokens of some pairs of tiles, which are the last two columns."""
    held = [side.coordinates(torch.arange(side.count))[1].sum(-1) for side in tiles]
    return int((held[0][pairs[:, -2]] * held[1][pairs[:, -1]]).sum())
