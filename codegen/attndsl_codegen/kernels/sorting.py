"""Tokens in the order of their labels, for masks that show a query only keys of its own label.

Labels that come as they may, such as clusters of tokens, spread what a query sees over all tiles. In tiles of
tokens of one label only those of the same label are left to visit. Nothing is permuted: steps gather the
tokens of a tile from where they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attndsl_codegen.kernels.fields import Field
from attndsl_codegen.kernels.tiles import Bricks

SORTED_QUERIES = 64
"""Tokens of a query tile in the order of labels."""
SORTED_KEYS = 16
"""Tokens of a key tile in the order of labels."""
SORTING_GAIN = 2
"""Sorted tiles are taken where others would visit more than so many times the pairs."""
SAMPLED_TILES = 16
"""Query tiles by which what others would visit is estimated."""


class Sorted(Bricks):
    """Tiles of tokens that follow each other in the order of their labels.

    Tiles are numbered over all layers (batch elements and heads): those of layer `l` begin at `l * count`.

    Args:
        labels: (layers, *extents).
        slots: tokens of a tile.
    """

    def __init__(self, labels: Tensor, slots: int) -> None:
        self.labels, self.order = labels.flatten(1).sort(dim=1, stable=True)
        super().__init__((self.labels.shape[1],), (slots,))
        self.extents = tuple(labels.shape[1:])

    def coordinates(self, tiles: Tensor) -> tuple[list[Tensor], Tensor]:
        """The coordinates of every slot, per axis (*tiles, slots), and which slots hold a token."""
        (place,), exists = super().coordinates(tiles % self.count)
        token = self.order[(tiles // self.count).unsqueeze(-1), place]
        coords: list[Tensor] = []
        for extent in reversed(self.extents):
            coords.insert(0, token % extent)
            token = token // extent
        return coords, exists

    def run(self) -> int:
        """Neighbours in a tile are no neighbours in memory."""
        return 1

    def ends(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest label of every tile, (layers, tiles)."""
        starts = torch.arange(self.count) * self.slots
        last = (starts + self.slots - 1).clamp(max=self.labels.shape[1] - 1)
        return self.labels[:, starts], self.labels[:, last]


def sorted_tiles(labels: tuple[str, str], layers: Tensor, at: dict[str, Any]) -> tuple[Sorted, Sorted] | None:
    """Queries and keys in the order of their labels; None where labels follow the tokens already.

    Args:
        labels: the fields of queries and of keys.
        layers: rows (batch element, head) that have a plan of their own.
    """
    fields = [at[name] for name in labels]
    if "offset" in at or all(in_stretches(field) for field in fields):
        return None
    query, key = (layer_labels(field, layers) for field in fields)
    return Sorted(query, SORTED_QUERIES), Sorted(key, SORTED_KEYS)


def in_stretches(field: Field) -> bool:
    """Whether labels along the tokens never decrease: tiles of neighbours are then as good as sorted ones."""
    return not bool((field.data.flatten(2).diff() < 0).any())


def layer_labels(field: Field, layers: Tensor) -> Tensor:
    """The labels of every layer, (layers, *extents)."""
    data = field.data.to(layers.device, torch.long)
    batch, head = (layers[:, side] if data.shape[side] > 1 else 0 * layers[:, side] for side in (0, 1))
    return data[batch, head]


def same_label_tiles(query: Sorted, key: Sorted, layers: Tensor) -> Tensor:
    """Tile pairs whose labels may meet, as rows (batch element, head, query tile, key tile)."""
    lo, hi = query.ends()
    first = torch.searchsorted(key.labels, lo.contiguous()) // key.slots
    stop = -(-torch.searchsorted(key.labels, hi.contiguous(), right=True) // key.slots)
    counts = (stop - first).clamp(min=0).flatten()
    row = torch.repeat_interleave(counts)
    inside = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    layer = row // query.count
    keys = layer * key.count + first.flatten()[row] + inside
    return torch.cat([layers[layer], torch.stack([row, keys], -1)], -1)


def some_tiles(query: Bricks, key: Bricks) -> tuple[Tensor, Tensor]:
    """Ranges (lo, hi) over the grids of tiles: single query tiles, spread evenly, with all key tiles."""
    number = torch.linspace(0, query.count - 1, min(query.count, SAMPLED_TILES)).long()
    place: list[Tensor] = []
    for cells in reversed(query.grid):
        place.insert(0, number % cells)
        number = number // cells
    queries = torch.stack(place, -1)
    keys = torch.tensor(key.grid).expand(len(queries), -1) - 1
    return torch.cat([queries, torch.zeros_like(keys)], -1), torch.cat([queries, keys], -1)
