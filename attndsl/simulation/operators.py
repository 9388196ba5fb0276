"""Everything that is no sparse attention: the larger of arithmetic and memory traffic, and launches.

Williams, Waterman, Patterson, Roofline, 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attndsl.ir.index import Const, Expr
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend, Learn, Op
from attndsl.ir.ops.base import size
from attndsl.ir.paths import by_lines_or_pairs
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import Pairs, Relation
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import evaluate
from attndsl.simulation.cycles import Pass
from attndsl.simulation.device import DTYPE_BYTES, Device

PRODUCT_EFFICIENCY = 0.7
"""The share of the peak that library products reach; model constant, soft."""
CHUNK = 128
"""Tokens of a chunk of causal linear attention."""
BACKWARD = {"fwd": 1.0, "bwd": 2.0}
"""Work of a pass; each operand has a gradient."""


@dataclass(frozen=True)
class Work:
    """What an operator does, over the whole batch; bytes are those of its operands and result."""

    name: str
    flops: int
    bytes: int
    launches: int = 1

    def seconds(self, device: Device, dtype: str, direction: Pass) -> float:
        """The larger of arithmetic and memory, and launches."""
        rate = device.product_rate(dtype) * device.units * device.measured.clock_ghz * 1e9
        arithmetic = self.flops / (rate * PRODUCT_EFFICIENCY)
        work = BACKWARD[direction] * max(arithmetic, self.bytes / device.bandwidth)
        return work + self.launches * device.measured.launch_us * 1e-6


def operator_work(
    program: Program, value: Value[Op], sizes: Mapping[str, int], batch: int, dtype: str
) -> Work:
    """The work of one value that is no attend."""
    flops = batch * int(evaluate(value.op.flops(), sizes, EXACT))
    if not value.op.copies or held(value.type) == 0:
        return Work(value.name, flops, 0, 0)
    types = [program.value(name).type for name in value.op.tensors] + [value.type]
    moved = sum(type_bytes(type_, sizes, batch, dtype) for type_ in types)
    return Work(value.name, flops, moved)


def contracted_work(value: Value[Attend], sizes: Mapping[str, int], batch: int, dtype: str) -> Work:
    """Linear attention: a sum over keys, then a product per query; in chunks where it is causal.

    Katharopoulos et al., Transformers are RNNs, 2020; Hua et al., Transformer Quality in Linear Time, 2022.
    """
    op = value.op
    heads = count_of(op.type.heads, sizes)
    score, out = widths_of(op, sizes)
    queries, keys = op.query_tokens.count(sizes), op.key_tokens.count(sizes)
    flops = 2 * heads * score * out * (queries + keys)
    if op.causal:
        flops += 2 * heads * queries * min(CHUNK, keys) * (score + out)
    elements = heads * (queries * (score + out) + keys * (score + out))
    return Work(value.name, batch * flops, batch * elements * DTYPE_BYTES[dtype], 2)


def path_work(value: Value[Attend], sizes: Mapping[str, int], batch: int, dtype: str) -> Work:
    """Products whose weights fade along paths: line by line, or pair by pair where that is less."""
    op = value.op
    paths = op.paths or ()
    heads = count_of(op.type.heads, sizes)
    score, out = widths_of(op, sizes)
    extents = op.query_tokens.extents(sizes)
    queries = op.query_tokens.count(sizes)
    sides = tuple(Const(extent) for extent in extents)
    flops = heads * int(evaluate(by_lines_or_pairs(len(paths), sides, Const(score), Const(out)), {}, EXACT))
    elements = heads * queries * (2 * (score + out) + len(paths) * sum(extents))
    return Work(value.name, batch * flops, batch * elements * DTYPE_BYTES[dtype], 4 * len(paths))


def unfused_work(value: Value[Attend], sizes: Mapping[str, int], batch: int, dtype: str) -> Work:
    """Attention of vectors too wide for a tile, as between channels: products, and scores held in memory."""
    op = value.op
    heads = count_of(op.type.heads, sizes)
    score, out = widths_of(op, sizes)
    queries, keys = op.query_tokens.count(sizes), op.key_tokens.count(sizes)
    flops = 2 * heads * queries * keys * (score + out)
    elements = heads * (queries * (score + out) + keys * (score + out) + 4 * queries * keys)
    return Work(value.name, batch * flops, batch * elements * DTYPE_BYTES[dtype], 3)


def widths_of(op: Attend, sizes: Mapping[str, int]) -> tuple[int, int]:
    """The widths of scores and of values."""
    assert op.type.width is not None
    score = 0 if op.score_width is None else int(evaluate(op.score_width, sizes, EXACT))
    return score, int(evaluate(op.type.width, sizes, EXACT))


def type_bytes(type_: FeatureType, sizes: Mapping[str, int], batch: int, dtype: str) -> int:
    """Bytes of a tensor; labels have 4 bytes, and what is never held has none."""
    if not held(type_):
        return 0
    element = DTYPE_BYTES[dtype] if type_.kind == "real" else 4
    return int(evaluate(size(type_), sizes, EXACT)) * element * (batch if type_.batch else 1)


def held(type_: FeatureType) -> bool:
    """Whether a tensor of this type exists in memory; values on pairs do not."""
    return not isinstance(type_.tokens.origin, Pairs | Relation)


def peak_bytes(program: Program, sizes: Mapping[str, int], batch: int, dtype: str) -> int:
    """The most bytes held at once: inputs and weights always, others until they are last read."""
    last = {name: at for at, value in enumerate(program.values) for name in value.op.operands}
    last |= {name: len(program.values) for name in program.results}
    bytes_ = {v.name: type_bytes(v.type, sizes, batch, dtype) if v.op.copies else 0 for v in program.values}
    given = {value.name for value in (*program.inputs, *program.learned)}
    alive = sum(bytes_[name] for name in given)
    most = alive
    for at, value in enumerate(program.values):
        if value.name in given:
            continue
        alive += bytes_[value.name]
        most = max(most, alive)
        for name in {*value.op.operands, value.name} - given:
            if last.get(name, at) == at:
                alive -= bytes_[name]
    return most


def stays_in_dense(program: Program, value: Value[Op]) -> bool:
    """Layers of weights on every token alone, such as projections, are part of a dense layer too."""
    learned = any(isinstance(program.value(name).op, Learn) for name in value.op.tensors)
    return learned and not value.op.along_tokens and not isinstance(value.op, Attend)


def count_of(expr: Expr | None, sizes: Mapping[str, int]) -> int:
    """A number of heads; 1 where there is no head axis."""
    return 1 if expr is None else int(evaluate(expr, sizes, EXACT))
