"""Masks of tile pairs that bounds leave open: evaluated token by token, equal ones kept once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import FieldAt
from attndsl_codegen.kernels.mechanism import Mechanism
from attndsl_codegen.kernels.tiles import Bricks

EVALUATED = 1 << 20
"""Pairs of tokens looked at in one go."""
WORD = 32
"""Truth values that are read as one number."""


def mask_classes(
    mechanism: type[Mechanism],
    tiles: tuple[Bricks, Bricks],
    pairs: Tensor,
    full: Tensor,
    at: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """The class of every tile pair (0 for full ones, -1 for empty ones), and the masks of the classes.

    Args:
        pairs: rows (batch, head, query tile, key tile).
        full: which of them are known to show every pair of tokens.

    Returns:
        Classes (pairs,), and masks (classes, query slots, key slots), the first all true.
    """
    query, key = tiles
    classes = torch.zeros(len(pairs), dtype=torch.long)
    if bool(full.all()):
        return classes, torch.ones(1, 1, 1, dtype=torch.bool)
    masks = torch.ones(1, query.slots, key.slots, dtype=torch.bool)
    for part in (~full).nonzero().flatten().split(max(1, EVALUATED // masks[0].numel())):
        # Classes of this part and those known so far are numbered together, so that equal masks meet.
        found = torch.cat([masks, tile_masks(mechanism, tiles, pairs[part], at)])
        number, first = numbered(words(found))
        masks = found[first]
        empty = ~masks.flatten(1).any(-1)
        old, new = number[: len(number) - len(part)], number[len(number) - len(part) :]
        classes = torch.where(classes >= 0, old[classes.clamp(min=0)], classes)
        classes[part] = torch.where(empty[new], -1, new)
    return classes, masks


def words(masks: Tensor) -> Tensor:
    """Masks (classes, ...) as rows of whole numbers, 32 truth values each; exact in float64."""
    bits = masks.flatten(1)
    bits = torch.nn.functional.pad(bits, (0, -bits.shape[1] % WORD)).unflatten(1, (-1, WORD))
    return bits.double() @ 2.0 ** torch.arange(WORD, dtype=torch.float64)


def numbered(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers for rows in the order in which they first appear, and where each first appears."""
    code = torch.zeros(len(rows), dtype=torch.long)
    for column in rows.unbind(1):
        values, inverse = torch.unique(column, return_inverse=True)
        if len(values) > 1:
            code = torch.unique(code * len(values) + inverse, return_inverse=True)[1]
    count = int(code.max()) + 1
    first = torch.full((count,), len(rows)).scatter_reduce(0, code, torch.arange(len(rows)), "amin")
    order = first.argsort()
    return order.argsort()[code], first[order]


def tile_masks(
    mechanism: type[Mechanism], tiles: tuple[Bricks, Bricks], pairs: Tensor, at: dict[str, Any]
) -> Tensor:
    """The masks of some tile pairs, (pairs, query slots, key slots); slots without a key are hidden."""
    query, key = tiles
    i, _ = query.coordinates(pairs[:, 2])
    j, exists = key.coordinates(pairs[:, 3])
    batch, head = (pairs[:, side].view(-1, 1, 1) for side in (0, 1))
    fields = {name: FieldAt(at[name], batch, head) for name in mechanism.mask_fields}
    here = {**at, **fields, "head": head}
    visible = mechanism.where(*(c.unsqueeze(-1) for c in i), *(c.unsqueeze(-2) for c in j), here)
    return (torch.as_tensor(visible) & exists.unsqueeze(-2)).expand(len(pairs), query.slots, key.slots)
