"""Bricks are read in place: the coordinates and the token of every slot of a tile, computed in the kernel."""

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def turn_of(turns, sizes):
    """Which tile of which head and batch element a program computes.

    Args:
        turns: the tiles in the order in which programs take them.
        sizes: the number of tiles, as for `plain`, two places before the number of heads.
    """
    program, tiles = tl.program_id(0), plain(sizes[0])
    tile = tl.load(turns + program % tiles)
    return tile, program // tiles % sizes[2], program // tiles // sizes[2]


@jit
def slot_places(tile, slot, extents, TILE: tl.constexpr, STEP: tl.constexpr):
    """Coordinates per axis, token numbers, and which slots hold a token; tiles are boxes, row-major.

    Args:
        tile: the number of the tile.
        slot: numbers of slots, in any shape, which the results have too.
        extents: of the token set, one to three; behind a single one the coordinate of the first token, if
            that is not zero: the queries of a decoding step. Each is as for `plain`.
        TILE: the sides of a tile.
        STEP: into how many residue classes each axis is split; a tile then lies in one of them.
    """
    sides = [plain(extent) for extent in extents]
    # Triton decides these branches when it compiles, and only so long as they exclude each other.
    if len(TILE) == 1 and len(sides) == 2:  # type: ignore[arg-type]
        a = tile * TILE[0] + slot
        return (a + sides[1],), a, a < sides[0]
    elif len(TILE) == 1:  # noqa: RET505  # type: ignore[arg-type]
        a = on_side(tile, slot, sides[0], TILE[0], STEP[0])
        return (a,), a, a < sides[0]
    elif len(TILE) == 2:  # type: ignore[arg-type]
        across = tiles_along(sides[1], TILE[1], STEP[1])
        a = on_side(tile // across, slot // TILE[1], sides[0], TILE[0], STEP[0])
        b = on_side(tile % across, slot % TILE[1], sides[1], TILE[1], STEP[1])
        return (a, b), a * sides[1] + b, (a < sides[0]) & (b < sides[1])
    else:
        across = tiles_along(sides[2], TILE[2], STEP[2])
        down = tiles_along(sides[1], TILE[1], STEP[1])
        a = on_side(tile // across // down, slot // (TILE[1] * TILE[2]), sides[0], TILE[0], STEP[0])
        b = on_side(tile // across % down, slot // TILE[2] % TILE[1], sides[1], TILE[1], STEP[1])
        c = on_side(tile % across, slot % TILE[2], sides[2], TILE[2], STEP[2])
        exists = (a < sides[0]) & (b < sides[1]) & (c < sides[2])
        return (a, b, c), (a * sides[1] + b) * sides[2] + c, exists


@jit
def ordered_places(tile, slot, extents, order, steps, batch, head, SLOTS: tl.constexpr):
    """As `slot_places`, of tiles of `SLOTS` tokens in an order that is read from memory.

    Args:
        order: the tokens in their order, (layers, tokens).
        steps: of layers by batch element and head, as for `plain`.
    """
    sides = [plain(extent) for extent in extents]
    layer = batch.to(tl.int64) * plain(steps[0]) + head * plain(steps[1])
    place = tile * SLOTS + slot
    if len(sides) == 1:  # type: ignore[arg-type]
        exists = place < sides[0]
        token = tl.load(order + layer * sides[0] + place, mask=exists, other=0)
        return (token,), token, exists
    elif len(sides) == 2:  # noqa: RET505  # type: ignore[arg-type]
        count = sides[0] * sides[1]
        exists = place < count
        token = tl.load(order + layer * count + place, mask=exists, other=0)
        return (token // sides[1], token % sides[1]), token, exists
    else:
        count = sides[0] * sides[1] * sides[2]
        exists = place < count
        token = tl.load(order + layer * count + place, mask=exists, other=0)
        row = token // sides[2]
        return (row // sides[1], row % sides[1], token % sides[2]), token, exists


@jit
def tiles_along(extent, SIDE: tl.constexpr, STEP: tl.constexpr):
    """The tiles along one axis, all its residue classes together."""
    if STEP == 1:
        return (extent + SIDE - 1) // SIDE
    else:  # noqa: RET505
        return STEP * (((extent + STEP - 1) // STEP + SIDE - 1) // SIDE)


@jit
def on_side(tile, slot, extent, SIDE: tl.constexpr, STEP: tl.constexpr):
    """The coordinate of a slot on one axis: in its residue class a tile holds every `STEP`-th place."""
    if STEP == 1:
        return tile * SIDE + slot
    else:  # noqa: RET505
        across = ((extent + STEP - 1) // STEP + SIDE - 1) // SIDE
        return (tile % across * SIDE + slot) * STEP + tile // across


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
def first_tile(runs, run):
    """The first tile of a run of tiles, and the length of the run."""
    return tl.load(runs + 2 * run), tl.load(runs + 2 * run + 1)


@jit
def next_tile(runs, run, tile, left):
    """The run, the tile, and what is left of the run, one tile on."""
    ends = left == 1
    run = tl.where(ends, run + 1, run)
    start, length = first_tile(runs, run)
    return run, tl.where(ends, start, tile + 1), tl.where(ends, length, left - 1)
