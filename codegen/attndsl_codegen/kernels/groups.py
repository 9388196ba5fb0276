"""Groups of query tiles that are computed alike, and where their tokens are in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attndsl_codegen.kernels.tiles import Bricks

SHARED = 4
"""So many query tiles with one mask are computed apart from others that visit equally many key tiles."""
FULL_KEYS = 256
"""So many keys that all queries of a tile see are computed apart, without a mask, from the masked ones."""
HELD_MASK = 1 << 18
"""Unless several tiles have a mask in common that is no larger than so many scores: it stays in the cache."""
CHAIN = 4
"""So many query tiles whose keys slide are computed apart: shorter chains save little."""


@dataclass(frozen=True)
class Group:
    """Query tiles that are computed alike: they visit equally many key tiles.

    Attributes:
        batch, head: the batch element and head they belong to; None for all.
        queries: query tiles (members,).
        keys: the key tiles of each (members, visited), ascending.
        classes: the masks of the visited tiles (1 or members, visited); None where everything is visible.
        runs, query_runs: the same tiles as numbers of runs of consecutive tokens, (members, runs).
        whole: whether every query slot holds a token.
        window, query_window: first token and distance between members, where the keys (queries) of every
            member are consecutive tokens; None where they are not.
        chain, slide: in stretches of `chain` members, the key tiles of a member are those of the one before,
            without `slide` at the front and with as many new ones at the end; zero where they are not.
        adds: whether an earlier group has other keys of the same queries.
    """

    batch: int | None
    head: int | None
    queries: Tensor
    keys: Tensor
    classes: Tensor | None = None
    runs: Tensor | None = None
    query_runs: Tensor | None = None
    whole: bool = True
    window: tuple[int, int] | None = None
    query_window: tuple[int, int] | None = None
    chain: int = 0
    slide: int = 0
    adds: bool = False

    @property
    def layer(self) -> tuple[slice, slice]:
        """The batch elements and heads as slices."""
        return one_or_all(self.batch), one_or_all(self.head)

    @property
    def shares(self) -> bool:
        """Whether all members have the same masks."""
        return self.classes is not None and len(self.classes) == 1

    @property
    def key_runs(self) -> Tensor:
        """The runs of keys to gather for members of one chain: once for all of them if they slide."""
        assert self.runs is not None
        if not self.slide:
            return self.runs.flatten()
        new = self.slide * self.runs.shape[1] // self.keys.shape[1]
        return torch.cat([self.runs[0], self.runs[1:, -new:].flatten()])

    @property
    def share_gathered(self) -> float:
        """The share of all members' keys that is left to gather where they slide."""
        return 1 / self.chain + self.slide / self.keys.shape[1] if self.slide else 1.0

    def part(self, members: slice | Tensor) -> Group:
        """Some of the members; windows move on by as many as a slice leaves out."""
        shared = self.classes is None or self.shares
        return replace(
            self,
            queries=self.queries[members],
            keys=self.keys[members],
            classes=self.classes if shared else self.classes[members],  # type: ignore[index]
            runs=self.runs[members],  # type: ignore[index]
            query_runs=self.query_runs[members],  # type: ignore[index]
            window=moved(self.window, members),
            query_window=moved(self.query_window, members),
        )


def moved(window: tuple[int, int] | None, members: slice | Tensor) -> tuple[int, int] | None:
    """The window of a group without its first members."""
    if window is None or not isinstance(members, slice):
        return None
    return window[0] + members.start * window[1], window[1]


def one_or_all(index: int | None) -> slice:
    """The slice that keeps one index, or everything."""
    return slice(None) if index is None else slice(index, index + 1)


def grouped(every: Group, query: Bricks) -> list[Group]:
    """Query tiles with equally many key tiles, those at a ragged border apart.

    Args:
        every: all tile pairs, one member each.
    """
    queries, keys = every.queries, every.keys
    if not len(queries):
        return []
    order = (queries * (keys.max() + 1) + keys).argsort()
    queries, keys, classes = queries[order], keys[order], every.classes[order]  # type: ignore[index]
    tiles, row, counts = torch.unique_consecutive(queries, return_inverse=True, return_counts=True)
    whole = query.whole(tiles)
    groups: list[Group] = []
    for count, is_whole in torch.stack([counts, whole.long()], -1).unique(dim=0).tolist():
        chosen = (counts == count) & (whole == bool(is_whole))
        here = chosen[row]
        parts = tiles[chosen], keys[here].view(-1, count), classes[here].view(-1, count)
        groups.append(Group(every.batch, every.head, *parts, adds=every.adds))
    return groups


def alike(group: Group) -> list[Group]:
    """Members with the same masks, where there are several; the rest together."""
    assert group.classes is not None
    rows, number, counts = group.classes.unique(dim=0, return_inverse=True, return_counts=True)
    parts: list[Group] = []
    for which in (counts >= SHARED).nonzero().flatten().tolist():
        members = number == which
        classes = None if bool((rows[which] == 0).all()) else rows[which : which + 1]
        parts.append(
            replace(group, queries=group.queries[members], keys=group.keys[members], classes=classes)
        )
    rest = (counts < SHARED)[number]
    if bool(rest.any()):
        kept = group.classes[rest]
        masked = kept if bool(kept.any()) else None
        parts.append(replace(group, queries=group.queries[rest], keys=group.keys[rest], classes=masked))
    return parts


def full_keys_apart(groups: list[Group], query: Bricks, key: Bricks) -> list[Group]:
    """The groups; where masks are large, those of full key tiles, and ones that add the masked tiles.

    A causal mask hides pairs on its diagonal only, and most of its keys need no mask.
    """
    kept = [group for group in groups if not large_mask(group, query, key)]
    pairs = [tile_pairs(group) for group in groups if large_mask(group, query, key)]
    if not pairs:
        return groups
    queries, keys, classes = (torch.cat(parts) for parts in zip(*pairs))
    for adds, here in ((False, classes == 0), (True, classes != 0)):
        every = replace(groups[0], queries=queries[here], keys=keys[here], classes=classes[here], adds=adds)
        kept += [part for group in grouped(every, query) for part in alike(group)]
    return kept


def large_mask(group: Group, query: Bricks, key: Bricks) -> bool:
    """Whether most of a large mask hides nothing."""
    if group.classes is None:
        return False
    full = int((group.classes == 0).sum(1).min()) * key.slots
    keys = group.keys.shape[1] * key.slots
    held = group.shares and len(group.queries) >= SHARED and keys * query.slots <= HELD_MASK
    return full >= max(FULL_KEYS, keys // 2) and not held


def tile_pairs(group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and masks of all tile pairs."""
    assert group.classes is not None
    queries = group.queries.unsqueeze(1).expand_as(group.keys)
    return queries.flatten(), group.keys.flatten(), group.classes.expand_as(group.keys).flatten()


def placed(group: Group, query: Bricks, key: Bricks) -> list[Group]:
    """The group with its tiles as runs of tokens, and as windows where runs follow each other.

    Where they do not, members whose keys slide are parts of their own.
    """
    whole = bool(query.whole(group.queries).all())
    key_whole = bool(key.whole(group.keys.flatten()).all())
    query_runs = query.runs(group.queries, query.run())
    runs = key.runs(group.keys, key.run()).flatten(1)
    group = replace(
        group,
        runs=runs,
        query_runs=query_runs,
        whole=whole,
        query_window=consecutive(query_runs, query.run()) if whole else None,
        window=consecutive(runs, key.run()) if key_whole else None,
    )
    if group.window is None:
        return sliding_parts(group, query)
    slide, rest = divmod(group.window[1], key.slots)
    overlaps = rest == 0 < slide and 2 * slide <= group.keys.shape[1]
    return [replace(group, chain=len(group.queries), slide=slide) if overlaps else group]


def consecutive(runs: Tensor, length: int) -> tuple[int, int] | None:
    """First token and distance of rows of runs that are consecutive tokens; None if they are not."""
    if not bool((runs.diff(dim=1) == 1).all()):
        return None
    distances = runs[:, 0].diff()
    if len(distances) and bool((distances != distances[0]).any()):
        return None
    return int(runs[0, 0]) * length, int(distances[0]) * length if len(distances) else 0


def sliding_parts(group: Group, query: Bricks) -> list[Group]:
    """The members in chains along one axis whose keys slide, equal ones together, and the rest.

    The windows of neighbours in an image share most of their rows: a chain gathers them once.
    """
    best: tuple[Tensor, Tensor, Tensor] | None = None
    chained = 0
    for axis in range(len(query.grid)):
        inner = math.prod(query.grid[axis + 1 :])
        along = group.queries // inner % query.grid[axis]
        order = ((group.queries - along * inner) * query.grid[axis] + along).argsort()
        slides, lengths = key_chains(group.keys[order])
        held = int(lengths[lengths >= CHAIN].sum())
        if held > chained:
            best, chained = (order, slides, lengths), held
    if best is None:
        return [group]
    order, slides, lengths = best
    slides = slides[lengths.cumsum(0) - 1]
    kinds = torch.where(lengths >= CHAIN, lengths * (1 + group.keys.shape[1]) + slides, 0)
    parts: list[Group] = []
    for kind in kinds.unique().tolist():
        members = order[(kinds == kind).repeat_interleave(lengths)]
        chain, slide = divmod(kind, 1 + group.keys.shape[1])
        parts.append(replace(group.part(members), chain=chain, slide=slide))
    return parts


def key_chains(keys: Tensor) -> tuple[Tensor, Tensor]:
    """How far the keys of each member slid since the one before, and the lengths of chains that slide evenly.

    Args:
        keys: (members, visited), ascending.
    """
    before, after = keys[:-1], keys[1:]
    visited = keys.shape[1]
    slide = (before < after[:, :1]).sum(1)
    place = torch.arange(visited) + slide.unsqueeze(1)
    same = before.gather(1, place.clamp(max=visited - 1)) == after
    slides = (same | (place >= visited)).all(1) & (slide > 0) & (2 * slide <= visited)
    goes_on = slides.clone()
    goes_on[1:] &= ~slides[:-1] | (slide[1:] == slide[:-1])
    starts = torch.cat([torch.ones(1, dtype=torch.bool), ~goes_on])
    lengths = torch.cat([starts.nonzero().flatten(), torch.tensor([len(keys)])]).diff()
    return torch.cat([slide.new_zeros(1), slide]), lengths
