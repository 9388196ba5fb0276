"""What every example's paper or official code says, in plain Python: the keys of one query.

Written from the sources, in another form than the specs: caches that roll, windows that are cut, lists
of residues. One function per example, `name(i, at, **parameters)`; `i` and the keys are integers where a
token set has one axis, else tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

import numpy as np


@dataclass(frozen=True)
class At:
    """Where a query looks: the extents of its own set and of the key set, the head, labels by token."""

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    head: int = 0
    fields: Mapping[str, np.ndarray] = field(default_factory=dict)

    def every_key(self) -> Iterator[Any]:
        """All keys: integers on one axis, else tuples."""
        if len(self.keys) == 1:
            return iter(range(self.keys[0]))
        return product(*map(range, self.keys))


Definition = Callable[..., Iterable[Any]]
DEFINITIONS: dict[str, Definition] = {}


def define(definition: Definition) -> Definition:
    """Enters a definition under the name of its example."""
    assert definition.__name__ not in DEFINITIONS
    DEFINITIONS[definition.__name__] = definition
    return definition


# --- One axis -----------------------------------------------------------------------------------------


@define
def dense(i, at):
    return at.every_key()


@define
def cross(i, at):
    return at.every_key()


@define
def causal(i, at):
    return range(i + 1)


@define
def alibi(i, at):
    return range(i + 1)


@define
def softcap(i, at, cap):
    return range(i + 1)


@define
def sliding(i, at, radius):
    """Longformer's band matrix: diagonals -radius .. radius, cut off at the ends."""
    return [j for j in range(i - radius, i + radius + 1) if 0 <= j < at.keys[0]]


@define
def longformer(i, at, radius, anchors):
    """The band, a full row for each global token and a full column for each."""
    if i < anchors:
        return at.every_key()
    return {*range(anchors), *sliding(i, at, radius)}


@define
def dilated(i, at, radius, step):
    """Longformer's TVM kernel: key i + step * (r - radius) for r in 0 .. 2 * radius."""
    reach = (i + step * (r - radius) for r in range(2 * radius + 1))
    return [j for j in reach if 0 <= j < at.keys[0]]


@define
def streaming_llm(i, at, sink, recent):
    """StartRecentKVCache: feed token by token; afterwards keep the first `sink` and the last `recent`."""
    cache: list[int] = []
    for token in range(i + 1):
        seen = [*cache, token]
        cache = seen if len(seen) <= sink + recent else seen[:sink] + seen[len(seen) - recent :]
    return seen


@define
def packed(i, at):
    doc = at.fields["doc"]
    return [j for j in range(i + 1) if doc[j] == doc[i]]


@define
def prefix_lm(i, at):
    prefix = at.fields["prefix"]
    return {*range(i + 1), *np.flatnonzero(prefix).tolist()}


@define
def transfusion(i, at):
    """Causal; inside one image also what comes later."""
    image = at.fields["image"]
    same = np.flatnonzero(image == image[i]).tolist() if image[i] != 0 else []
    return {*range(i + 1), *same}


@define
def power_attention(i, at, size, near, sink):
    """Algorithm 1, with its bit trick, block by block; the sink is counted in blocks."""
    block, found = i // size, []
    for other in range(block + 1):
        distance = block - other
        if other < sink or distance < near or distance & (distance - 1) == 0:
            found += range(other * size, min((other + 1) * size, i + 1))
    return found


@define
def head_mixture(i, at, size):
    """A window of w keys ends at the query."""
    width = {0: size // 4, 1: size // 2, 2: size, 3: 2 * size}[at.head % 4]
    return range(max(0, i - width + 1), i + 1)


@define
def pooled_causal(i, at, group):
    """Summary c is visible once the last token it stands for is not in the future."""
    return [c for c in range(at.keys[0]) if max(range(c * group, (c + 1) * group)) <= i]


# --- Neighbourhoods: FNA's definition, with a centre that is clamped -------------------------------------


def neighbours(i: int, extent: int, size: int, stride: int = 1) -> range:
    """Exactly `size` keys: left and right of the centre, the leader clamped so that both sides fit."""
    leader = min(i // stride * stride + stride // 2, extent - 1)
    left = size // 2
    right = left - (size % 2 == 0)
    centre = max(left, min(leader, extent - 1 - right))
    return range(centre - left, centre + right + 1)


def causal_neighbours(i: int, extent: int, size: int, stride: int = 1) -> range:
    """NATTEN's causal axis: from the leader's window, the last of its stride group, up to the query."""
    leader = min(i // stride * stride + stride - 1, extent - 1)
    return range(max(leader - size + 1, 0), i + 1)


def dilated_neighbours(i: int, extent: int, size: int, dilation: int) -> list[int]:
    """The neighbourhood inside the list of tokens of the same residue."""
    members = list(range(i % dilation, extent, dilation))
    return [members[at] for at in neighbours(members.index(i), len(members), size)]


def box(i, at, size, stride, one_axis=neighbours):
    return product(*(one_axis(*axis) for axis in zip(i, at.keys, size, stride)))


@define
def neighborhood1d(i, at, size, stride):
    return neighbours(i, at.keys[0], size, stride)


@define
def neighborhood2d(i, at, size, stride):
    return box(i, at, size, stride)


@define
def neighborhood3d(i, at, size, stride):
    return box(i, at, size, stride)


@define
def hunyuan_gna(i, at, size, stride):
    return box(i, at, size, stride)


@define
def flux_gna(i, at, size, stride):
    return box(i, at, size, stride)


@define
def causal_neighborhood(i, at, size, stride):
    past, *near = zip(i, at.keys, size, stride)
    return product(causal_neighbours(*past), *(neighbours(*axis) for axis in near))


@define
def dinat(i, at, size, dilation):
    return box(i, at, (size, size), (dilation, dilation), dilated_neighbours)


# --- Windows and grids of images -------------------------------------------------------------------------


def pieces(extent: int, size: int, shift: int = 0) -> list[range]:
    """An axis cut at shift, shift + size, ...: the first and last piece may be shorter."""
    cuts = sorted({0, extent, *range(shift % size, extent, size)})
    return [range(a, b) for a, b in pairwise(cuts)]


def own(i: int, parts: Iterable[Iterable[int]]) -> Iterable[int]:
    (part,) = (part for part in parts if i in part)
    return part


@define
def swin(i, at, size, shift):
    return product(*(own(x, pieces(extent, size, shift)) for x, extent in zip(i, at.keys)))


@define
def maxvit_block(i, at, size):
    return product(*(own(x, pieces(extent, size)) for x, extent in zip(i, at.keys)))


@define
def maxvit_grid(i, at, size):
    """The official partition: an axis of H tokens as (size, H // size), a group for each column."""
    groups = (np.arange(extent).reshape(size, extent // size).T.tolist() for extent in at.keys)
    return product(*(own(x, parts) for x, parts in zip(i, groups)))


@define
def axial_rows(i, at):
    return [(i[0], w) for w in range(at.keys[1])]


@define
def axial_columns(i, at):
    return [(h, i[1]) for h in range(at.keys[0])]


@define
def criss_cross(i, at):
    """CCNet: the column without the pixel itself, then the row."""
    return [(h, i[1]) for h in range(at.keys[0]) if h != i[0]] + axial_rows(i, at)


@define
def region_isolation(i, at):
    """Two tokens are apart if two different subjects' masks hold one each."""
    region = at.fields["region"]
    subjects = sorted(set(region.ravel().tolist()) - {0})
    masks = {subject: region == subject for subject in subjects}
    apart = [(a, b) for a in subjects for b in subjects if a != b]
    return [j for j in at.every_key() if not any(masks[a][i] and masks[b][j] for a, b in apart)]


# --- Scores ------------------------------------------------------------------------------------------------


def alibi_slope(head: int, heads: int) -> float:
    """The official code for powers of two: a geometric sequence that starts at its own ratio."""
    start = 2 ** (-(2 ** -(np.log2(heads) - 3)))
    return start * start**head


def final_scores(
    name: str, scores: np.ndarray, head: int, heads: int, params: Mapping[str, Any]
) -> np.ndarray:
    """Scaled scores (queries, keys) as they enter the softmax."""
    match name:
        case "alibi":
            distance = np.subtract.outer(np.arange(scores.shape[0]), np.arange(scores.shape[1]))
            return scores - alibi_slope(head, heads) * distance
        case "softcap":
            return params["cap"] * np.tanh(scores / params["cap"])
    return scores
