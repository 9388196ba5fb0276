"""Fields: tensors over tokens that masks and biases look up at run time."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Field:
    """A field of shape (batch, heads or 1, *extents), looked up at coordinates of query-key pairs."""

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self.extents = data.shape[2:]

    def __call__(self, *coords: Tensor | int) -> Any:
        """Values at coordinates ([[batch,] heads,] tiles, queries, keys), clamped: (batch, heads, ...)."""
        if vary_apart(coords):
            return self.rectangle(*coords)
        index = self.number(*coords)
        flat = self.data.flatten(2, 1 + len(self.extents))
        if index.dim() == 0:
            return flat[:, :, index.view(1, 1, 1)]
        if index.dim() < 4:
            return flat[:, :, index]
        heads = torch.arange(flat.shape[1], device=index.device).view(-1, 1, 1, 1)
        if index.dim() == 4:
            return flat[:, heads, index]
        batch = torch.arange(flat.shape[0], device=index.device).view(-1, 1, 1, 1, 1)
        return flat[batch, heads, index]

    def rectangle(self, a: Any, b: Any) -> Tensor:
        """Values at all pairs of coordinates on two axes, one by query and one by key: slices, no lookups.

        They are a copy, as those of lookups are: scores are computed in place.
        """
        found = self.data
        for axis, coord in ((2, a), (3, b)):
            index = coord.flatten().clamp(0, found.shape[axis] - 1).to(found.device)
            if not torch.equal(index, torch.arange(found.shape[axis], device=index.device)):
                found = found.index_select(axis, index)
        by_query = a.shape[-1] == b.shape[-2] == 1  # the first coordinate; a single place tells nothing
        found = found.clone() if found is self.data else found
        return (found if by_query else found.transpose(2, 3)).unsqueeze(2)

    def number(self, *coords: Tensor | int) -> Tensor:
        """Token numbers of coordinates, clamped to the field's tokens."""
        index = torch.zeros((), dtype=torch.long)
        for coord, extent in zip(coords, self.extents):
            index = index * extent + torch.as_tensor(coord).clamp(0, extent - 1)
        return index.to(self.data.device)


def vary_apart(coords: tuple[Any, ...]) -> bool:
    """Whether there are two coordinates, one the same for all keys, the other for all queries of a tile."""
    if len(coords) != 2 or not all(isinstance(c, Tensor) and 2 <= c.dim() <= 3 for c in coords):
        return False
    (rows, keys), (others, other_keys) = (coord.shape[-2:] for coord in coords)
    single = all(coord.numel() == coord.shape[-2] * coord.shape[-1] for coord in coords)
    return single and ((keys == 1 and others == 1) or (rows == 1 and other_keys == 1))


class Vectors(NamedTuple):
    """Vectors of pairs, (..., width), and the pairs through which they get a gradient (None: all)."""

    values: Tensor
    visible: Tensor | None


class VectorField(Field):
    """A feature with a width, (batch, heads or 1, *extents, width), whose vectors meet in `dot`."""

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self.extents = data.shape[2:-1]

    def __call__(self, *coords: Tensor | int) -> Any:
        """Vectors at coordinates."""
        return Vectors(super().__call__(*coords), None)


def dot(a: Vectors, b: Vectors) -> Tensor:
    """The products of vectors, one per pair; a matrix product where rows and columns vary apart."""
    x, y = (v.values.to(torch.promote_types(v.values.dtype, torch.float32)) for v in (a, b))
    if x.shape[-2] == 1 and y.shape[-3] == 1:
        found = x.squeeze(-2) @ y.squeeze(-3).transpose(-1, -2)
    else:
        found = (x * y).sum(-1)
    visible = b.visible if a.visible is None else a.visible
    return found if visible is None else torch.where(visible, found, found.detach())


class VisibleField:
    """A field that gets a gradient through visible pairs only, even where a derivative is infinite."""

    def __init__(self, field: Field, visible: Tensor) -> None:
        self.field = field
        self.visible = visible

    def __call__(self, *coords: Tensor | int) -> Any:
        """As the field's, one value (or vector) per pair."""
        values = self.field(*coords)
        if isinstance(values, Vectors):
            return values._replace(visible=self.visible)
        return torch.where(self.visible, values, values.detach())


class FieldAt:
    """A field for pairs of tiles, each of its own batch element and head, (pairs, 1, 1)."""

    def __init__(self, field: Field, batch: Tensor, head: Tensor) -> None:
        self.field = Field(field.data.to(batch.device))
        batches, heads = field.data.shape[:2]
        self.batch = batch if batches > 1 else torch.zeros_like(batch)
        self.head = head if heads > 1 else torch.zeros_like(head)

    def __call__(self, *coords: Tensor | int) -> Tensor:
        """Values at coordinates (pairs, queries, keys), clamped."""
        return self.field.data.flatten(2)[self.batch, self.head, self.field.number(*coords)]


def with_fields(mechanism: Any, at: dict[str, Any], real_fields: Any) -> dict[str, Any]:
    """`at` with the differentiable fields in place, in the accumulation type."""
    fields = {
        name: type(at[name])(data.to(at["real dtype"]))
        for name, data in zip(mechanism.real_fields, real_fields)
    }
    return {**at, **fields}


class Pyramid:
    """Minima and maxima of an integer or boolean field over cells of tokens.

    The table of levels (a, b, ...) holds the extremes of cells of 2**a x 2**b x ... tokens; tables are made
    when they are first needed.
    """

    def __init__(self, data: Tensor) -> None:
        self.dtype = torch.bool if data.dtype == torch.bool else torch.long
        values = data.to("cpu", torch.long)
        self.base: tuple[int, ...] = (0,) * (values.dim() - 2)
        self.top = torch.tensor([(extent - 1).bit_length() for extent in values.shape[2:]])
        self.least: dict[tuple[int, ...], Tensor] = {self.base: values}
        self.greatest: dict[tuple[int, ...], Tensor] = {self.base: values}

    def table(self, levels: tuple[int, ...], least: bool) -> Tensor:
        """The extremes at the given levels, halved from the next finer table."""
        tables = self.least if least else self.greatest
        if levels not in tables:
            axis = max(range(len(levels)), key=lambda at: (levels[at] > 0, at))
            finer = self.table(tuple(level - (at == axis) for at, level in enumerate(levels)), least)
            size = finer.shape[axis + 2]
            even = torch.arange(0, size, 2)
            odd = (even + 1).clamp(max=size - 1)  # a cell without a neighbour stands alone
            pair = finer.index_select(axis + 2, even), finer.index_select(axis + 2, odd)
            tables[levels] = torch.minimum(*pair) if least else torch.maximum(*pair)
        return tables[levels]


class FieldRange:
    """Extremes of a field over boxes, one per row, each row of its own batch element and head.

    At most two cells per axis, of the levels that fit the sides of a box, cover it: sound for every box,
    exact for aligned powers of two.
    """

    def __init__(self, pyramid: Pyramid, batch: Tensor, head: Tensor) -> None:
        self.pyramid = pyramid
        batches, heads, *self.extents = pyramid.least[pyramid.base].shape
        self.batch = batch if batches > 1 else torch.zeros_like(batch)
        self.head = head if heads > 1 else torch.zeros_like(head)

    def least(self, *box: Tensor) -> Tensor:
        """The smallest value over boxes `(lo..., hi...)`, bounds inclusive."""
        return torch.stack(self._cells(True, box)).amin(0).to(self.pyramid.dtype)

    def greatest(self, *box: Tensor) -> Tensor:
        """The largest value over boxes."""
        return torch.stack(self._cells(False, box)).amax(0).to(self.pyramid.dtype)

    def _cells(self, least: bool, box: tuple[Tensor, ...]) -> list[Tensor]:
        """The values of the cells that cover each box."""
        axes = len(self.extents)
        bounds = torch.broadcast_tensors(self.batch, *(torch.as_tensor(bound) for bound in box))[1:]
        limit = torch.tensor(self.extents) - 1
        lo = torch.stack(bounds[:axes], -1).clamp(min=0).minimum(limit)
        hi = torch.stack(bounds[axes:], -1).clamp(min=0).minimum(limit)
        levels = torch.ceil(torch.log2((hi - lo).clamp(min=1).double())).long().minimum(self.pyramid.top)
        cells = [torch.empty_like(self.batch) for _ in range(2**axes)]
        for level in levels.unique(dim=0):
            here = (levels == level).all(-1)
            values = self.pyramid.table(tuple(level.tolist()), least)
            corners = lo[here] >> level, hi[here] >> level
            for cell, ends in zip(cells, itertools.product((0, 1), repeat=axes)):
                at = (corners[end][:, axis] for axis, end in enumerate(ends))
                cell[here] = values[(self.batch[here], self.head[here], *at)]
        return cells
