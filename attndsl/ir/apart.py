"""Whether the heads of a program can be computed apart from each other, a few at a time.

Each head then gives the same as it does among the others: nothing is summed over heads, split from or
merged into the width, and no expression mentions the number of a head. Losses are about all heads.
"""

from __future__ import annotations

from attndsl.ir.index import TRUE
from attndsl.ir.ops import Attend, Op
from attndsl.ir.program import Program, Value
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.ir.walk import variables


def heads_apart(program: Program) -> bool:
    """Whether the heads can be computed apart."""
    if program.losses or program.updates:
        return False
    if any(program.value(name).type.heads is None for name in program.results):
        return False
    return all(_stays_in_head(program, value) for value in program.values)


def _stays_in_head(program: Program, value: Value[Op]) -> bool:
    op = value.op
    if op.mixes_heads or value.type.heads not in (None, HEADS, KV_HEADS):
        return False
    if variables(*op.expressions.values()) & {"head", HEADS.name, KV_HEADS.name}:
        return False
    return value.type.heads is not None or all(program.value(o).type.heads is None for o in op.operands)


def pays_apart(program: Program) -> bool:
    """Whether it may be faster: where what is made on the way is as large as the inputs.

    An attend whose queries see some of the keys looks after its own memory, and wants all heads at once.
    """
    attends = [value.op for value in program.attends]
    whole = all(op.contracts or op.where is TRUE for op in attends)
    on_the_way = (
        value.op.contracts if isinstance(value.op, Attend) else value.op.copies for value in program.computed
    )
    return whole and any(on_the_way)
