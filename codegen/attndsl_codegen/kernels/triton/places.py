"""Bricks are read in place: the coordinates and the token of every slot of a tile, computed in the kernel."""

# Triton takes defaults for constants.
# pyright: reportArgumentType=false, reportOptionalSubscript=false

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def slot_places(
    tile,
    slot,
    extents,
    TILE: tl.constexpr,
    STEPS: tl.constexpr,
    orders=None,
    batch=0,
    head=0,
    SIDE: tl.constexpr = 0,
    ORDERED: tl.constexpr = None,
):
    """Coordinates per axis, token numbers, and which slots hold a token; tiles are boxes, row-major.

    Args:
        tile: the number of the tile.
        slot: numbers of slots, in any shape, which the results have too.
        extents: of the token set, one to three; behind a single one the coordinate of the first token, if
            that is not zero: the queries of a decoding step. Each is as for `plain`.
        TILE: the sides of a tile.
        STEPS: into how many residue classes each axis is split, or None; a tile then lies in one of them.
        orders: where tiles are of tokens in an order (ORDERED), the orders of queries and of keys, and behind
            one more entry the steps of layers; SIDE is 0 for queries and 1 for keys.
    """
    sides = [plain(extent) for extent in extents]
    # Triton decides these branches when it compiles, and only so long as they exclude each other.
    if ORDERED:
        return ordered_places(tile, slot, extents, orders[SIDE], orders[3], batch, head, TILE)
    elif len(TILE) == 1 and len(sides) == 2:  # noqa: RET505  # type: ignore[arg-type]
        a = tile * TILE[0] + slot
        return (a + sides[1],), a, a < sides[0]
    elif len(TILE) == 1:  # type: ignore[arg-type]
        a = on_side(tile, slot, sides[0], TILE[0], STEPS, 0)
        return (a,), a, a < sides[0]
    elif len(TILE) == 2:  # type: ignore[arg-type]
        across = tiles_along(sides[1], TILE[1], STEPS, 1)
        a = on_side(tile // across, slot // TILE[1], sides[0], TILE[0], STEPS, 0)
        b = on_side(tile % across, slot % TILE[1], sides[1], TILE[1], STEPS, 1)
        return (a, b), a * sides[1] + b, (a < sides[0]) & (b < sides[1])
    else:
        across = tiles_along(sides[2], TILE[2], STEPS, 2)
        down = tiles_along(sides[1], TILE[1], STEPS, 1)
        a = on_side(tile // across // down, slot // (TILE[1] * TILE[2]), sides[0], TILE[0], STEPS, 0)
        b = on_side(tile // across % down, slot // TILE[2] % TILE[1], sides[1], TILE[1], STEPS, 1)
        c = on_side(tile % across, slot % TILE[2], sides[2], TILE[2], STEPS, 2)
        exists = (a < sides[0]) & (b < sides[1]) & (c < sides[2])
        return (a, b, c), (a * sides[1] + b) * sides[2] + c, exists


@jit
def ordered_places(tile, slot, extents, order, steps, batch, head, TILE: tl.constexpr):
    """As `slot_places`, of tiles of as many tokens in an order that is read from memory.

    Args:
        order: the tokens in their order, (layers, tokens).
        steps: of layers by batch element and head, as for `plain`.
    """
    sides = [plain(extent) for extent in extents]
    layer = batch.to(tl.int64) * plain(steps[0]) + head * plain(steps[1])
    if len(sides) == 1:  # type: ignore[arg-type]
        place = tile * TILE[0] + slot
        exists = place < sides[0]
        token = tl.load(order + layer * sides[0] + place, mask=exists, other=0)
        return (token,), token, exists
    elif len(sides) == 2:  # noqa: RET505  # type: ignore[arg-type]
        place = tile * (TILE[0] * TILE[1]) + slot
        count = sides[0] * sides[1]
        exists = place < count
        token = tl.load(order + layer * count + place, mask=exists, other=0)
        return (token // sides[1], token % sides[1]), token, exists
    else:
        place = tile * (TILE[0] * TILE[1] * TILE[2]) + slot
        count = sides[0] * sides[1] * sides[2]
        exists = place < count
        token = tl.load(order + layer * count + place, mask=exists, other=0)
        row = token // sides[2]
        return (row // sides[1], row % sides[1], token % sides[2]), token, exists


@jit
def tiles_along(extent, SIDE: tl.constexpr, STEPS: tl.constexpr, AXIS: tl.constexpr):
    """The tiles along one axis, all its residue classes together."""
    if STEPS is None:
        return (extent + SIDE - 1) // SIDE
    else:  # noqa: RET505
        return STEPS[AXIS] * (((extent + STEPS[AXIS] - 1) // STEPS[AXIS] + SIDE - 1) // SIDE)


@jit
def on_side(tile, slot, extent, SIDE: tl.constexpr, STEPS: tl.constexpr, AXIS: tl.constexpr):
    """The coordinate of a slot on one axis; a tile of a residue class holds every `STEPS[AXIS]`-th place."""
    if STEPS is None:
        return tile * SIDE + slot
    else:  # noqa: RET505
        across = ((extent + STEPS[AXIS] - 1) // STEPS[AXIS] + SIDE - 1) // SIDE
        return (tile % across * SIDE + slot) * STEPS[AXIS] + tile // across


@jit
def rows_at(tensor, steps, batch, head, token, channel):
    """Addresses of channels of tokens; offsets of whole tensors exceed 32 bits.

    Args:
        steps: strides of batch, head and token; if there is a fourth entry, as for `plain`.
    """
    if len(steps) == 3:
        base = tensor + batch.to(tl.int64) * steps[0] + head.to(tl.int64) * steps[1]
        return base + token.to(tl.int64) * steps[2] + channel
    else:  # noqa: RET505
        base = tensor + batch.to(tl.int64) * plain(steps[0]) + head.to(tl.int64) * plain(steps[1])
        return base + token.to(tl.int64) * plain(steps[2]) + channel


@jit
def read_rows(tensor, steps, batch, head, token, exists, channel, WIDTH: tl.constexpr):
    """Channels of tokens, zero where there are none; shaped as `token` and `channel` together."""
    address = rows_at(tensor, steps, batch, head, token, channel)
    return tl.load(address, mask=exists & (channel < WIDTH), other=0.0)


@jit
def write_rows(values, tensor, steps, batch, head, token, exists, channel, WIDTH: tl.constexpr):
    """Writes channels of tokens, in the type of the tensor."""
    address = rows_at(tensor, steps, batch, head, token, channel)
    tl.store(address, values.to(tensor.dtype.element_ty), mask=exists & (channel < WIDTH))
