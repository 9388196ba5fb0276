"""Sums of numbers that belong together, always in the same order: gathers and row sums, level by level.

Gradients of fields are such sums: many pairs of a query and a key look up one entry. Adding with atomics
would give other bits in every run.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MOST_SIDE_BY_SIDE = 256
"""So many numbers are added up in one row."""


def summation_tables(bins: Tensor, count: int) -> list[Tensor]:
    """What to add up: each table says which results of the one before make up the rows of its own.

    Args:
        bins: (numbers,), where each number belongs, -1 for nowhere.
        count: of bins; the last table has a row for each.

    Returns:
        Tables (rows, width) of positions; the position after the last number stands for zero.
    """
    tables: list[Tensor] = []
    while not tables or len(tables[-1]) > count:
        table, bins = one_table(bins, count)
        tables.append(table)
    return tables


def one_table(bins: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows of at most `MOST_SIDE_BY_SIDE` numbers of one bin, and the bin of each row, ascending."""
    order = bins.argsort(stable=True)[int((bins < 0).sum()) :]
    sizes = torch.bincount(bins[order], minlength=count)
    typical = len(order) // max(1, int((sizes > 0).sum()))
    width = min(MOST_SIDE_BY_SIDE, 1 << max(2, typical.bit_length()))
    rows = ((sizes + width - 1) // width).clamp(min=1)
    table = torch.full((int(rows.sum()), width), len(bins), dtype=torch.int32)
    rank = torch.arange(len(order)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    first = (rows.cumsum(0) - rows).repeat_interleave(sizes)
    table[first + rank // width, rank % width] = order.int()
    return table, torch.arange(count).repeat_interleave(rows)


def sums_by_table(numbers: Tensor, tables: list[Tensor]) -> Tensor:
    """(layers, bins) from (layers, numbers + 1), whose last column is zero."""
    for at, table in enumerate(tables):
        columns = functional.pad(numbers, (0, 1)) if at else numbers
        numbers = columns.index_select(1, table.flatten()).unflatten(1, table.shape).sum(-1)
    return numbers


def sums_by_entry(numbers: Tensor, entries: Tensor, count: int) -> Tensor:
    """(layers, bins) from (layers, numbers + 1), where only the device knows the bin of each number.

    On a GPU `index_put_` sorts, and elsewhere `index_add_` goes one by one: in the same order every time.
    """
    total = numbers.new_zeros(count, len(numbers))
    values = numbers[:, :-1].T
    if total.is_cuda:
        total.index_put_((entries,), values, accumulate=True)
    else:
        total.index_add_(0, entries, values)
    return total.T
