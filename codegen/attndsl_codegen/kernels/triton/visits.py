"""Which tile a program computes, and the tiles of the other side that this one visits, one after the other.

Where a tile sees one range of the other side, its ends are computed from the number of the tile: no table
is read, and none is made. Elsewhere `visits` are the tables of a schedule: (rows, runs, turns, and the steps
of rows by batch element and head, as for `plain`).
"""

# Triton takes defaults for constants.
# pyright: reportArgumentType=false

from __future__ import annotations

from attndsl_codegen.kernels.triton.numbers import plain
from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def turn_of(visits, sizes, SEEN: tl.constexpr = None, LAST_FIRST: tl.constexpr = False):
    """Which tile of which head and batch element a program computes; those that visit most come first.

    Args:
        sizes: the number of tiles, as for `plain`, two places before the number of heads.
        SEEN: the range that a tile sees, None where `visits` says which tiles it does.
        LAST_FIRST: whether later tiles see more.
    """
    program, tiles = tl.program_id(0), plain(sizes[0])
    tile = program % tiles
    if SEEN is None:
        tile = tl.load(visits[2] + tile)
    elif LAST_FIRST:
        tile = tiles - 1 - tile
    return tile, program // tiles % sizes[2], program // tiles // sizes[2]


@jit
def row_of(tile, batch, head, visits):
    """The row of a tile in the tables of a schedule."""
    return visits[0] + 4 * (batch * plain(visits[3]) + head * plain(visits[4]) + tile)


@jit
def tiles_seen(tile, head, own, other, env, SEEN: tl.constexpr, SLOTS: tl.constexpr, OTHERS: tl.constexpr):
    """The tiles that some token of a tile sees, and among them those that all of its tokens see.

    Args:
        own, other: the extents of its own side and of the one that it sees, as `slot_places` takes them.
        SEEN: the ends of what it sees, in coordinates.
        SLOTS, OTHERS: the slots of a tile of each side.

    Returns:
        The first tile, the first full one, the one behind the full ones, the one behind all.
    """
    begin, start, count = first_coordinate(own), first_coordinate(other), plain(other[0])
    lo, hi = tile * SLOTS, tl.minimum(tile * SLOTS + SLOTS, plain(own[0])) - 1
    some_lo, some_hi, all_lo, all_hi = SEEN(begin + lo, begin + hi, start + count - 1, head, env)
    end = (tl.maximum(tl.minimum(some_hi + 1 - start, count), 0) + OTHERS - 1) // OTHERS
    first = tl.minimum(tl.maximum(some_lo - start, 0) // OTHERS, end)
    full = (tl.maximum(all_lo - start, 0) + OTHERS - 1) // OTHERS
    full = tl.minimum(tl.maximum(full, first), end)
    behind = tl.maximum(tl.minimum(all_hi + 1 - start, count), 0) // OTHERS
    return first, full, tl.minimum(tl.maximum(behind, full), end), end


@jit
def first_coordinate(extents):
    """Where the tokens of a side begin: not at zero for the queries of a decoding step."""
    if len(extents) == 1:
        return 0
    else:  # noqa: RET505
        return plain(extents[1])


@jit
def first_tile(visited, visits, MASKED: tl.constexpr, SEEN: tl.constexpr = None):
    """The number of full (MASKED: of partial) tiles, the first one, what is left of its run, and the run.

    Runs are of neighbouring tiles; `run` is the number of one, where a range is seen the tile that begins the
    second one: the full tiles lie between two runs of partial ones.
    """
    if SEEN is None:
        run = tl.load(visited + 2 * MASKED)
        count = tl.load(visited + 2 * MASKED + 1)
        return count, tl.load(visits[1] + 2 * run), tl.load(visits[1] + 2 * run + 1), run
    else:  # noqa: RET505
        first, full, behind, end = visited
        if MASKED:
            before = full - first
            return before + end - behind, tl.where(before > 0, first, behind), before, behind
        else:  # noqa: RET505
            return behind - full, full, 0, behind


@jit
def next_tile(tile, left, run, visits, SEEN: tl.constexpr = None):
    """The tile, what is left of its run, and the run, one tile on."""
    ends = left == 1
    if SEEN is None:
        run = tl.where(ends, run + 1, run)
        start, length = tl.load(visits[1] + 2 * run), tl.load(visits[1] + 2 * run + 1)
        return tl.where(ends, start, tile + 1), tl.where(ends, length, left - 1), run
    else:  # noqa: RET505
        return tl.where(ends, run, tile + 1), left - 1, run
