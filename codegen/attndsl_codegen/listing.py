"""Reads listings of machine code: SASS, or PTX where no disassembler is there; finds their inner loops.

A loop is a natural one: an edge back to a block that dominates where it comes from, and all blocks on the
way. Blocks that wait for memory may stand at the end of a listing and jump back into a loop; these jumps
alone do not make a loop of what lies between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

SASS = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+(.*?)\s*;", re.MULTILINE)
SASS_BRANCH = re.compile(r"\bBRA(?:\.\w+)*\s.*?0x([0-9a-f]+)")
SASS_ALWAYS = re.compile(r"(?:BRA(?:\.\w+)*\s+0x[0-9a-f]+|EXIT|RET\b.*|BRX\b.*)")
PTX_LABEL = re.compile(r"^(\$\w+):")
PTX_BRANCH = re.compile(r"\bbra(?:\.uni)?\s+(\$\w+)\s*;")
TENSOR_CORES = re.compile(r"\b(HGMMA|HMMA|UTCHMMA|UTCMMA\w*)\b|\b(wgmma\.mma_async|mma\.sync|tcgen05\.mma)\b")
EXPONENTIALS = re.compile(r"\bMUFU\.EX2\b|\bex2\.approx\b")
SPECIAL = re.compile(r"\bMUFU\.|\b(?:ex2|lg2|rcp|rsqrt|sqrt|sin|cos|tanh)\.approx\b")
SPILLS = re.compile(r"\b(LDL|STL)\b")
WARP_PRODUCTS = {"16816": (16, 8, 16), "1688": (16, 8, 8), "1684": (16, 8, 4)}
"""Rows, columns and depth of the products that one warp makes, by the shape in the name of `HMMA`."""
HMMA = re.compile(r"\bHMMA\.(\d+)\.|\bmma\.sync\.aligned\.m(\d+)n(\d+)k(\d+)\.")
HGMMA = re.compile(r"\bHGMMA\.(\d+)x(\d+)x(\d+)\.|\bwgmma\.mma_async\.\S*?\.m(\d+)n(\d+)k(\d+)\.")
WARPS_OF_GROUP = 4
"""Warps that issue one `HGMMA` together."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of a listing.

    Attributes:
        text: with its operands.
        target: where it jumps to, as an index of instructions; None if it is no jump, or to somewhere else.
        falls: whether the next instruction may follow.
    """

    text: str
    target: int | None = None
    falls: bool = True


@dataclass(frozen=True)
class Loop:
    """What one warp issues in one turn of a loop; branches that are seldom taken count as well.

    Attributes:
        instructions: issue slots.
        tensor: tensor-core instructions.
        tensor_flops: their operations, the share of one warp; None where their names do not tell.
        special: special functions, exponentials among them, per thread.
        spills: registers moved to local memory or back.
    """

    instructions: int
    tensor: int
    tensor_flops: float | None
    special: int
    spills: int


def read_sass(listing: str) -> list[Instruction]:
    """The instructions of `cuobjdump -sass` output of one kernel, jumps resolved."""
    found = SASS.findall(listing)
    index = {int(address, 16): at for at, (address, _) in enumerate(found)}
    code: list[Instruction] = []
    for _, text in found:
        branch = SASS_BRANCH.search(text)
        target = index.get(int(branch[1], 16)) if branch else None
        code.append(Instruction(text, target, SASS_ALWAYS.fullmatch(text) is None))
    return code


def read_ptx(text: str) -> list[Instruction]:
    """The instructions of PTX, one statement a line, jumps resolved."""
    labels: dict[str, int] = {}
    lines: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        label = PTX_LABEL.match(line)
        if label:
            labels[label[1]] = len(lines)
        elif re.match(r"@|[a-z]", line) and line.endswith(";"):
            lines.append(line)
    code: list[Instruction] = []
    for line in lines:
        branch = PTX_BRANCH.search(line)
        leaves = branch is not None or re.match(r"ret|exit|trap", line) is not None
        target = labels.get(branch[1]) if branch else None
        code.append(Instruction(line, target, line.startswith("@") or not leaves))
    return code


def inner_loops(code: Sequence[Instruction]) -> list[Loop]:
    """The innermost loops that multiply on tensor cores (else: that take exponentials), in their order."""
    works = _works(code)
    loops = [body for body in natural_loops(code) if any(works(code[at].text) for at in body)]
    inner = [body for body in loops if not any(other < body for other in loops)]
    return [_summary([code[at].text for at in sorted(body)]) for body in sorted(inner, key=min)]


def _works(code: Sequence[Instruction]) -> Callable[[str], object]:
    """Kernels in plain float32 use no tensor cores."""
    return TENSOR_CORES.search if any(TENSOR_CORES.search(i.text) for i in code) else EXPONENTIALS.search


def natural_loops(code: Sequence[Instruction]) -> list[frozenset[int]]:
    """The bodies of all loops, as indices of instructions; loops with the same head are one."""
    blocks = _blocks(code)
    first = {block.start: at for at, block in enumerate(blocks)}
    after = [[first[to] for to in _followers(code, block.stop - 1)] for block in blocks]
    dominators = _dominators(after)
    bodies: dict[int, set[int]] = {}
    for tail, heads in enumerate(after):
        for head in heads:
            if tail in dominators and head in dominators[tail]:
                bodies.setdefault(head, {head}).update(_reaching(tail, head, after))
    return [frozenset(at for block in body for at in blocks[block]) for body in bodies.values()]


def _blocks(code: Sequence[Instruction]) -> list[range]:
    """Basic blocks: stretches that are entered at the start and left at the end only."""
    starts = {0, *(i.target for i in code if i.target is not None)}
    starts |= {at + 1 for at, i in enumerate(code) if i.target is not None or not i.falls}
    cuts = [*sorted(at for at in starts if at < len(code)), len(code)]
    return [range(start, stop) for start, stop in pairwise(cuts)]


def _followers(code: Sequence[Instruction], at: int) -> Iterator[int]:
    target = code[at].target
    if code[at].falls and at + 1 < len(code):
        yield at + 1
    if target is not None and target != at + 1:
        yield target


def _dominators(after: Sequence[Sequence[int]]) -> dict[int, set[int]]:
    """For every block that can be reached, the blocks that every way to it goes through."""
    order = _reached(after)
    before: dict[int, list[int]] = {block: [] for block in order}
    for block in order:
        for to in after[block]:
            before[to].append(block)
    found = {block: set(order) for block in order}
    found[0] = {0}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            common = set.intersection(*(found[other] for other in before[block])) | {block}
            changed |= common != found[block]
            found[block] = common
    return found


def _reached(after: Sequence[Sequence[int]]) -> list[int]:
    """The blocks that can be reached from the first one, that one first."""
    order, waiting = [0], [0]
    while waiting:
        for to in after[waiting.pop()]:
            if to not in order:
                order.append(to)
                waiting.append(to)
    return order


def _reaching(tail: int, head: int, after: Sequence[Sequence[int]]) -> set[int]:
    """The blocks from which the tail is reached without passing the head."""
    before: dict[int, list[int]] = {}
    for block, following in enumerate(after):
        for to in following:
            before.setdefault(to, []).append(block)
    found, waiting = {head}, [tail]
    while waiting:
        block = waiting.pop()
        if block not in found:
            found.add(block)
            waiting += before.get(block, [])
    return found


def _summary(lines: Sequence[str]) -> Loop:
    flops = [product_flops(line) for line in lines if TENSOR_CORES.search(line)]
    return Loop(
        instructions=len(lines),
        tensor=len(flops),
        tensor_flops=None if None in flops else sum(f for f in flops if f is not None),
        special=sum(SPECIAL.search(line) is not None for line in lines),
        spills=sum(SPILLS.search(line) is not None for line in lines),
    )


def product_flops(line: str) -> float | None:
    """Operations of a tensor-core instruction, the share of one warp; None where the name does not tell.

    HMMA.16816.F32.BF16              2 * 16 * 8 * 16
    HGMMA.64x128x16.F32.BF16         2 * 64 * 128 * 16 / 4, as four warps issue it together
    """
    if group := HGMMA.search(line):
        rows, columns, depth = (int(n) for n in group.groups() if n is not None)
        return 2 * rows * columns * depth / WARPS_OF_GROUP
    if warp := HMMA.search(line):
        if warp[1] is not None and warp[1] not in WARP_PRODUCTS:
            return None
        sides = WARP_PRODUCTS[warp[1]] if warp[1] else tuple(int(n) for n in warp.groups()[1:])
        rows, columns, depth = sides
        return 2.0 * rows * columns * depth
    return None
