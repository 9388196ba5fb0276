"""The plan in steps: a few query tiles at a time, as views or as rows copied into a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from attndsl_codegen.kernels.groups import Group
from attndsl_codegen.kernels.plan import Plan
from attndsl_codegen.kernels.rows import Rows, rows_of, windows

WORKSPACE = 1 << 21
"""Bytes of keys that a step gathers: what stays in the cache, and in memory that is mapped already."""
WORKSPACE_BACKWARD = 1 << 22
"""The same for the backward pass, whose steps cost more to begin."""

KEPT = 1 << 24
"""Bytes of row numbers and masks up to which a plan keeps its steps from call to call."""

LAYOUTS = 8
"""Layouts of tensors in memory for which a step keeps row numbers."""

SCORES = 1 << 22
"""Scores held at a time where they are computed in torch."""


class Masked(NamedTuple):
    """The hidden pairs of some queries.

    Attributes:
        keys: the key slots from the first that is hidden from some query to the last.
        pairs: which of these keys are hidden, (1 or tiles, queries, keys).
    """

    keys: slice
    pairs: Tensor

    def fill_(self, s: Tensor, value: float) -> Tensor:
        """`s` (..., tiles, queries, keys) with a value in place of those of hidden pairs."""
        s[..., self.keys].masked_fill_(self.pairs, value)
        return s


class Step:
    """A few query tiles of one group, for the batch elements and heads of their layer.

    Args:
        keeps: whether its masks stay from call to call.
        first: a step of the same group whose masks this one shares, or None.
    """

    def __init__(
        self,
        plan: Plan,
        group: Group,
        layers: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
        keeps: bool,
        first: Step | None,
    ) -> None:
        self.plan, self.group, self.device, self.dtype = plan, group, device, dtype
        self.keeps, self.first = keeps, first
        self.numbers: dict[tuple[bool, tuple[int, ...]], Tensor] = {}
        self.layer = group.layer
        self.layers = (
            layers[0] if group.batch is None else 1,
            layers[1] if group.head is None else 1,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Tiles, query slots, key slots."""
        visited = self.group.keys.shape[1]
        return len(self.group.queries), self.plan.query.slots, visited * self.plan.key.slots

    @cached_property
    def exists(self) -> Tensor | None:
        """Which query slots hold a token, (tiles, slots); None if all do."""
        if self.group.whole:
            return None
        return self.plan.query.coordinates(self.group.queries)[1].to(self.device)

    @cached_property
    def i(self) -> list[Tensor]:
        """Coordinates of the queries per axis, (tiles, queries, 1)."""
        coords = self.plan.query.coordinates(self.group.queries)[0]
        return [coord.unsqueeze(-1).to(self.device) for coord in coords]

    @cached_property
    def j(self) -> list[Tensor]:
        """Coordinates of the keys per axis, (tiles, 1, keys)."""
        coords = self.plan.key.coordinates(self.group.keys)[0]
        return [coord.flatten(1).unsqueeze(-2).to(self.device) for coord in coords]

    def release(self) -> None:
        """Forgets what is large and of use to this step alone."""
        for name in ("i", "j") if self.keeps else ("i", "j", "masked", "hidden"):
            self.__dict__.pop(name, None)

    @cached_property
    def masked(self) -> Masked | None:
        """The hidden pairs; None if there are none."""
        if self.first is not None:
            return self.first.masked
        classes = self.group.classes
        if classes is None:
            return None
        found = self.partial.tolist()
        if not found:
            return None
        start, stop = found[0], found[-1] + 1
        classes, slots = classes[:, start:stop], self.plan.key.slots
        hidden = ~self.plan.masks.index_select(0, classes.flatten()).unflatten(0, classes.shape)
        pairs = hidden.transpose(1, 2).flatten(2).to(self.device)
        return Masked(slice(start * slots, stop * slots), pairs)

    @cached_property
    def hidden(self) -> Tensor | None:
        """Minus infinity for pairs that are not visible, else zero, (1, 1 or tiles, queries, keys)."""
        if self.first is not None:
            return self.first.hidden
        classes = self.group.classes
        if classes is None:
            return None
        queries, keys = self.plan.query.slots, self.plan.key.slots
        shape = (len(classes), queries, classes.shape[1], keys)
        mask = torch.zeros(shape, dtype=self.dtype, device=self.device)
        partial = self.partial.to(self.device)
        hidden = ~self.plan.masks[classes[:, self.partial]].transpose(1, 2).to(self.device)
        mask[:, :, partial] = mask.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
        return mask.flatten(2).unsqueeze(0)

    @property
    def partial(self) -> Tensor:
        """Which of the visited key tiles are masked in some query tile; long rows have few."""
        assert self.group.classes is not None
        return (self.group.classes != 0).any(0).nonzero().flatten()

    def query_parts(self) -> list[slice]:
        """The query slots in pieces whose scores fit into memory that is at hand."""
        tiles, queries, keys = self.shape
        rows = max(1, SCORES // max(1, self.layers[0] * self.layers[1] * tiles * keys))
        return [slice(start, start + rows) for start in range(0, queries, rows)]

    def slots_of(self, part: slice) -> tuple[list[Tensor], Masked | None]:
        """Coordinates of some of the query slots, and which of their pairs are hidden."""
        masked = self.masked and Masked(self.masked.keys, self.masked.pairs[:, part])
        return [coord[:, part] for coord in self.i], masked


class Operand:
    """A tensor (batch, heads, tokens, width) as steps read and write it.

    Args:
        side: whether its tokens are the `query` or the `key` ones.
        heads: the number of query heads.
    """

    def __init__(self, tensor: Tensor, plan: Plan, side: str, heads: int) -> None:
        self.query = side == "query"
        self.bricks = plan.query if self.query else plan.key
        self.run = self.bricks.run()
        rows = rows_of(tensor, self.run, heads)
        if rows is None:
            self.run = 1
            rows = rows_of(tensor, 1, heads)
        if rows is None:  # strides that rows cannot follow
            tensor = tensor.contiguous()
            rows = rows_of(tensor, 1, heads)
        assert rows is not None
        self.tensor = tensor
        self.rows: Rows = rows
        self.shares_heads = tensor.shape[1] != heads
        self.space: Tensor | None = None

    def numbers(self, step: Step) -> Tensor:
        """The rows of a step, computed once for all tensors of one layout."""
        key = self.query, self.rows.layout
        known = step.numbers.get(key)
        if known is None:
            if len(step.numbers) >= LAYOUTS:
                step.numbers.clear()
            known = step.numbers[key] = self._numbers(step)
        return known

    def _numbers(self, step: Step) -> Tensor:
        runs = step.group.query_runs if self.query else step.group.key_runs
        assert runs is not None
        if self.run < self.bricks.run():
            runs = runs.unsqueeze(-1) * self.bricks.run() + torch.arange(self.bricks.run())
        return self.rows.numbers(step.layer, runs.to(step.device))

    def view(self, step: Step) -> Tensor | None:
        """The tiles of a step without a copy, where its tokens are consecutive."""
        place = step.group.query_window if self.query else step.group.window
        if place is None or self.shares_heads:
            return None
        tiles, queries, keys = step.shape
        return windows(self.tensor[step.layer], *place, (tiles, queries if self.query else keys))

    def workspace(self, rows: int) -> Tensor:
        """Memory for so many rows, the same from step to step."""
        if self.space is None or len(self.space) < rows:
            self.space = self.rows.table.new_empty(rows, self.rows.table.shape[1])
        return self.space[:rows]


def steps(plan: Plan, q: Tensor, v: Tensor, dtype: torch.dtype, backward: bool = False) -> Iterator[Step]:
    """The plan in pieces whose keys fit the workspace; masks are of type `dtype`.

    Making a step takes as long as running a small one: a plan keeps them, unless they are large.

    Args:
        backward: whether every key slot gets a gradient, also of keys that are read where they are.
    """
    if not q.numel():
        return
    kind = ((q.shape[0], q.shape[1]), max(q.shape[-1], v.shape[-1]), q.device, dtype, backward)
    known = plan.made.get(kind)
    if known is None and kept_bytes(plan, kind[0], backward) <= KEPT:
        while len(plan.made) > 1:  # one kind of call, forward and backward
            plan.made.pop(next(iter(plan.made)))
        keeps = keeps_masks(plan, kept_bytes(plan, kind[0], backward))
        known = plan.made[kind] = list(made_steps(plan, *kind, keeps))
    for step in made_steps(plan, *kind) if known is None else known:
        yield step
        step.release()


def kept_bytes(plan: Plan, layers: tuple[int, int], backward: bool) -> int:
    """What steps hold from call to call: row numbers of queries and keys, and masks that groups share.

    Gradients of keys are added to rows, also of keys that are read where they are.
    """
    total = 0
    shared: set[bytes] = set()
    for group in plan.groups:
        assert group.runs is not None
        assert group.query_runs is not None
        runs = group.query_runs.numel() if group.query_window is None else 0
        if backward:
            runs += group.runs.numel()
        elif group.window is None:
            runs += int(group.share_gathered * group.runs.numel())
        total += 8 * layer_count(group, layers) * runs
        if group.shares and mask_key(group) not in shared:
            shared.add(mask_key(group))
            total += 5 * plan.query.slots * plan.key.slots * group.keys.shape[1]
    return total


def keeps_masks(plan: Plan, kept: int) -> bool:
    """Whether masks that groups do not share stay, too: not those of fields, whose values change.

    Args:
        kept: bytes that are held anyway.
    """
    own = [group for group in plan.groups if group.classes is not None and not group.shares]
    pairs = sum(group.classes.numel() for group in own if group.classes is not None)
    fits = kept + 5 * plan.query.slots * plan.key.slots * pairs <= KEPT
    return fits and all(group.batch is None for group in own)


def layer_count(group: Group, layers: tuple[int, int]) -> int:
    """The number of batch elements and heads that a group serves."""
    return (layers[0] if group.batch is None else 1) * (layers[1] if group.head is None else 1)


def made_steps(
    plan: Plan,
    layers: tuple[int, int],
    width: int,
    device: torch.device,
    dtype: torch.dtype,
    backward: bool,
    keeps: bool = False,
) -> Iterator[Step]:
    """The steps of all groups, made now.

    Args:
        keeps: whether masks that no others share stay too.
    """
    firsts: dict[bytes, Step] = {}
    for group in plan.groups:
        token = layer_count(group, layers) * width * 4
        for members in step_members(plan, group, token, backward):
            part = group.part(members)
            if backward:  # gradients of keys are added up tile by tile: each has its keys apart
                part = replace(part, slide=0)
            if not group.shares:
                yield Step(plan, part, layers, device, dtype, keeps, None)
                continue
            step = Step(plan, part, layers, device, dtype, True, firsts.get(mask_key(group)))
            firsts.setdefault(mask_key(group), step)
            yield step


def step_members(plan: Plan, group: Group, token: int, backward: bool) -> Iterator[slice]:
    """The members of a group in equal parts, as many of them as the workspace allows.

    Args:
        token: bytes of a token of all layers.
    """
    room = (WORKSPACE_BACKWARD if backward else WORKSPACE) // max(1, token)
    keys = plan.key.slots * group.keys.shape[1]
    stretch, most = len(group.queries), room // keys
    if not backward and group.window is not None:
        most = room // plan.query.slots
    elif not backward and group.slide:
        stretch, most = group.chain, 1 + (room - keys) // (plan.key.slots * group.slide)
    parts = -(-stretch // max(1, most))
    size = -(-stretch // parts)
    for start in range(0, len(group.queries), stretch):
        for first in range(start, start + stretch, size):
            yield slice(first, min(first + size, start + stretch))


def mask_key(group: Group) -> bytes:
    """Equal for groups whose members all have the same masks."""
    assert group.classes is not None
    return group.classes.numpy().tobytes()


def tiles_of(operand: Operand, step: Step) -> Tensor:
    """The tokens of a step, (batch * heads, tiles, tokens, width)."""
    view = operand.view(step)
    if view is not None:
        return view
    numbers = operand.numbers(step)
    space = operand.workspace(len(numbers))
    torch.index_select(operand.rows.table, 0, numbers, out=space)
    space = space.view(step.layers[0] * step.layers[1], 1, -1, operand.tensor.shape[-1])
    tiles, _, keys = step.shape
    if operand.query or not step.group.slide:
        return space.view(len(space), tiles, -1, space.shape[-1])
    found = windows(space, 0, step.group.slide * step.plan.key.slots, (tiles, keys))
    assert found is not None
    return found


def write(operand: Operand, step: Step, part: Tensor) -> None:
    """Writes the rows of a step's queries; every token has one slot."""
    view = operand.view(step)
    if view is not None:
        view.copy_(part)
        return
    if step.exists is None:
        table = operand.rows.table
        rows = part.to(table.dtype).reshape(-1, table.shape[1])
        table.index_copy_(0, operand.numbers(step), rows)
        return
    numbers = single_rows(operand, step)
    exists = step.exists.flatten().repeat(step.layers[0] * step.layers[1])
    width = operand.tensor.shape[-1]
    table = operand.rows.table.view(-1, width) if operand.run > 1 else operand.rows.table
    table.index_copy_(0, numbers[exists], part.to(table.dtype).reshape(-1, width)[exists])


def single_rows(operand: Operand, step: Step) -> Tensor:
    """The rows of single tokens of a step's queries, where runs would hold slots without a token."""
    runs = operand.numbers(step).unsqueeze(-1) * operand.run
    return (runs + torch.arange(operand.run, device=step.device)).flatten()


def add_rows(operand: Operand, step: Step, part: Tensor) -> None:
    """Adds to the tokens of a step's keys; a key may be in many tiles, and hidden slots add zeros."""
    table = operand.rows.table
    table.index_add_(0, operand.numbers(step), part.to(table.dtype).reshape(-1, table.shape[1]))
