"""Bricks are read in place: the coordinates and the token of every slot of a tile, computed in the kernel."""

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def slot_places(tile, slot, extents, TILE: tl.constexpr, STEP: tl.constexpr):
    """Coordinates per axis, token numbers, and which slots hold a token; tiles are boxes, row-major.

    Args:
        tile: the number of the tile.
        slot: numbers of slots, in any shape, which the results have too.
        extents: of the token set, one to three, each as for `plain`.
        TILE: the sides of a tile.
        STEP: into how many residue classes a single axis is split; a tile then lies in one of them, and
            has two sides, phases (one) and rounds.
    """
    sides = [plain(extent) for extent in extents]
    # Triton decides these branches when it compiles, and only so long as they exclude each other.
    if STEP > 1:
        across = ((sides[0] + STEP - 1) // STEP + TILE[1] - 1) // TILE[1]
        a = (tile % across * TILE[1] + slot) * STEP + tile // across
        return (a,), a, a < sides[0]
    elif len(TILE) == 1:  # noqa: RET505  # type: ignore[arg-type]
        a = tile * TILE[0] + slot
        return (a,), a, a < sides[0]
    elif len(TILE) == 2:  # type: ignore[arg-type]
        across = (sides[1] + TILE[1] - 1) // TILE[1]
        a = tile // across * TILE[0] + slot // TILE[1]
        b = tile % across * TILE[1] + slot % TILE[1]
        return (a, b), a * sides[1] + b, (a < sides[0]) & (b < sides[1])
    else:
        across = (sides[2] + TILE[2] - 1) // TILE[2]
        down = (sides[1] + TILE[1] - 1) // TILE[1]
        a = tile // across // down * TILE[0] + slot // (TILE[1] * TILE[2])
        b = tile // across % down * TILE[1] + slot // TILE[2] % TILE[1]
        c = tile % across * TILE[2] + slot % TILE[2]
        exists = (a < sides[0]) & (b < sides[1]) & (c < sides[2])
        return (a, b, c), (a * sides[1] + b) * sides[2] + c, exists


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
