"""How a program grows with its extents: operations as a formula, and where it overtakes dense attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import lcm

from attndsl.analysis.layout import Brick, balanced
from attndsl.diagnostics import AttnError
from attndsl.ir.index import TRUE, Apply, Const, Expr, Var
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ops import Attend
from attndsl.ir.paths import by_lines_or_pairs
from attndsl.ir.program import Program
from attndsl.ir.tokens import Axis, Pairs
from attndsl.ir.walk import evaluate, fields, postorder, substitute, variables
from attndsl.planning.plan import sample_fields, sizes_near
from attndsl.planning.sizes import check_sizes
from attndsl.simulation.complexity import fitted_pairs
from attndsl.simulation.counts import count_tiles
from attndsl.simulation.program import pass_factor, simulate_program
from attndsl.simulation.report import Report
from attndsl.simulation.setting import Setting
from attndsl.simulation.tiling import counted

LARGEST_STEP, LEAST_STEP = 8192, 16
"""Extents are tried in steps between these; masks with larger constants get no formula."""
MOST_TOKENS = 1 << 16
"""Tokens up to which visible pairs are counted for a formula, and dense attention is overtaken."""
COUNTED_SLOTS = 128
COARSER = (1, 16)
"""Factors of the step that are tried: masks may hide large constants in small ones."""
FAR = (1, 1 << 15, 192)
"""Extents at which a formula must hold, by the number of symbols."""
BISECTIONS = 4
"""Steps of bisection: the crossover is known to about a sixteenth."""


@dataclass(frozen=True)
class Complexity:
    """Operations per batch element as formulas: all of them, and the term that grows fastest."""

    total: Expr
    leading: Expr


def complexity(program: Program) -> Complexity:
    """The operations of a program; `pairs` stands for visible pairs that follow no polynomial.

    Formulas hold at extents that are multiples of what the masks divide coordinates by.
    """
    formulas = [
        _attend_flops(program, value.op) if isinstance(value.op, Attend) else value.op.flops()
        for value in program.computed
    ]
    total = sum(formulas, Const(0))
    most = max((_degree(formula, program) for formula in formulas), default=0)
    largest = [formula for formula in formulas if _degree(formula, program) == most]
    leading = sum((_leading(formula, program) for formula in largest), Const(0))
    widths = {f"{v.name}.width": Var("d") for v in program.inputs if v.type.heads is not None}
    return Complexity(substitute(total, widths), substitute(leading, widths))


def formula_error(formula: Expr, program: Program, extents: Mapping[str, int], report: Report) -> float:
    """By how much the formula is off the operations that were counted; 0 where it says nothing about them.

    It is exact where what the masks divide coordinates by divides the extents.
    """
    setting = report.setting
    known = {**setting.sizes(program, extents), "d": setting.dim}
    tiled = all(attend.part is not None or attend.tiling.attend.untiled for attend in report.attends)
    counted = report.flops / (setting.batch * pass_factor(setting))
    if not tiled or not counted or setting.queries is not None or not variables(formula) <= known.keys():
        return 0.0
    error = int(evaluate(formula, known, EXACT)) / counted - 1
    return error if abs(error) > 1e-6 else 0.0


def _attend_flops(program: Program, op: Attend) -> Expr:
    if op.contracts and op.type.width is not None and op.score_width is not None:
        heads = Const(1) if op.type.heads is None else op.type.heads
        queries, keys = (_tokens(tokens.axes) for tokens in (op.query_tokens, op.key_tokens))
        return 2 * heads * op.score_width * op.type.width * (queries + keys)
    if op.paths is not None:
        return path_flops(op)
    match _pairs(program, op):
        case None:
            return op.flops()
        case Apply("//", (twice, Const(2))):  # flops are twice the pairs
            return twice * _half_of_pair(op)
        case pairs:
            return substitute(op.flops(), {"pairs": pairs})


def path_flops(op: Attend) -> Expr:
    """Operations of an attend whose weights fade along paths, over all heads."""
    heads = Const(1) if op.type.heads is None else op.type.heads
    assert op.score_width is not None
    assert op.type.width is not None
    extents = tuple(axis.extent for axis in op.query_tokens.axes)
    return heads * by_lines_or_pairs(len(op.paths or ()), extents, op.score_width, op.type.width)


def _half_of_pair(op: Attend) -> Expr:
    """Half the operations of a visible pair, over all heads."""
    heads = Const(1) if op.type.heads is None else op.type.heads
    widths = [width for width in (op.score_width, op.type.width) if width is not None]
    return heads * sum(widths, Const(0))


def _tokens(axes: tuple[Axis, ...]) -> Expr:
    total: Expr = Const(1)
    for axis in axes:
        total = total * axis.extent
    return total


def _pairs(program: Program, op: Attend) -> Expr | None:
    """Visible pairs of a head as a polynomial in the extents; None where they are none or differ by head."""
    if op.where is TRUE:
        return _tokens(op.query_tokens.axes) * _tokens(op.key_tokens.axes)
    hidden = fields(op.where) or "head" in variables(op.where) or isinstance(op.key_tokens.origin, Pairs)
    symbols = op.query_tokens.symbols | op.key_tokens.symbols
    own = [symbol for symbol in program.symbols if symbol in symbols]
    if hidden or len(own) > 2:
        return None

    def count(sizes: Mapping[str, int]) -> int:
        check_sizes(program, {**dict.fromkeys(program.symbols, FAR[1]), **sizes, "heads": 1})
        every = {**sizes, "heads": 1}
        query, key = (
            Brick(extents, balanced(extents, COUNTED_SLOTS))
            for extents in (op.query_tokens.extents(sizes), op.key_tokens.extents(sizes))
        )
        return count_tiles(op, every, query, key, 1, {}).pairs

    for step in (_step(op.where) * factor for factor in COARSER):
        if own and (7 * step) ** len(own) > MOST_TOKENS:
            break
        try:
            found = fitted_pairs(count, dict.fromkeys(own, step), FAR[len(own)])
        except AttnError:
            return None
        if found is not None:
            return found
    return None


def _step(where: Expr) -> int:
    """A multiple of all divisors in a mask, such that four of it are longer than its constants."""
    divisors, largest = 1, 1
    for node in postorder([where]):
        match node:
            case Apply("//" | "%", (_, Const(int() as value))) if value > 0:
                divisors = min(lcm(divisors, value), LARGEST_STEP)
            case Const(int() as value):
                largest = max(largest, min(abs(value), LARGEST_STEP))
    return divisors * -(-max(LEAST_STEP, largest // 2) // divisors)


def _degree(formula: Expr, program: Program) -> int:
    """How often extents are multiplied in the term with most of them."""
    return max((_extents(term, program) for term in _terms(formula)), default=0)


def _terms(formula: Expr) -> tuple[Expr, ...]:
    """The terms of a formula that is a product with at most one sum."""
    match formula:
        case Apply("+", terms):
            return tuple(inner for term in terms for inner in _terms(term))
        case Apply("min", (first, *_)):  # the others grow faster
            return _terms(first)
        case Apply("//", (inner, Const() as below)):
            return tuple(term // below for term in _terms(inner))
        case Apply("*", factors):
            found: tuple[Expr, ...] = (Const(1),)
            for factor in factors:
                found = tuple(left * right for left in found for right in _terms(factor))
            return found
    return (formula,)


def _extents(term: Expr, program: Program) -> int:
    match term:
        case Var("pairs"):
            return 2
        case Var(name):
            return int(name in program.symbols)
        case Apply("*", factors):
            return sum(_extents(factor, program) for factor in factors)
        case Apply("//", (inner, _)):
            return _extents(inner, program)
    return 0


def _leading(formula: Expr, program: Program) -> Expr:
    terms = _terms(formula)
    most = max(_extents(term, program) for term in terms)
    total: Expr = Const(0)
    for term in terms:
        if _extents(term, program) == most:
            total = total + term
    return total


def crossover_tokens(
    program: Program, extents: Mapping[str, int], setting: Setting, report: Report
) -> int | None:
    """The least number of queries at which the program is faster than dense attention, nearly.

    Extents grow together; tiles are those of the report. None where extents are fixed or it is never faster.

    Args:
        extents: those of the report.
    """
    paired = any(isinstance(value.op.key_tokens.origin, Pairs) for value in program.attends)
    if not program.symbols or setting.queries is not None or paired:
        return None
    tilings = {attend.name: attend.tiling for attend in report.attends}
    result = program.value(program.results[0]).type.tokens
    own = tuple(extents[symbol] for symbol in program.symbols)
    count = result.count(setting.sizes(program, extents))
    tried = {own: (count, report.seconds < report.dense_seconds)}

    def faster(tokens: int) -> tuple[int, bool]:
        target = {axes: max(1, round(tokens ** (1 / axes))) for axes in (1, 2, 3)}
        near = sizes_near(program, target, heads=setting.heads)
        key = tuple(near[symbol] for symbol in program.symbols)
        if key not in tried:
            sizes = setting.sizes(program, near)
            sampled = sample_fields(program, sizes, heads=setting.heads)
            planned = {name: counted(tiles, sizes, setting, sampled) for name, tiles in tilings.items()}
            found = simulate_program(program, sizes, setting, planned, sampled)
            tried[key] = result.count(sizes), found.seconds < found.dense_seconds
        return tried[key]

    try:
        return _first(faster)
    except AttnError:
        return None


def _first(faster: Callable[[int], tuple[int, bool]]) -> int | None:
    low, high = 0, 64
    while not faster(high)[1]:
        low, high = high, 4 * high
        if high > MOST_TOKENS:
            return None
    for _ in range(BISECTIONS):
        middle = (low + high) // 2
        low, high = (low, middle) if faster(max(1, middle))[1] else (middle, high)
    return faster(high)[0]
