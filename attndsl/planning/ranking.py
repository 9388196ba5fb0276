"""Ranks tile shapes of an attend by cycles: exact where its mask falls apart by axes, else from a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from attndsl.analysis.attention import head_classes
from attndsl.analysis.layout import Brick, Layout, make_layout, tile_count
from attndsl.analysis.refine import sampled_visits
from attndsl.analysis.separable import Separated
from attndsl.diagnostics import AttnError
from attndsl.ir.ops import Attend
from attndsl.ir.walk import variables
from attndsl.simulation.counts import Fields
from attndsl.simulation.cycles import tile_cycles
from attndsl.simulation.operators import count_of
from attndsl.simulation.setting import Setting
from attndsl.simulation.slots import mask_slots
from attndsl.simulation.tiles import occupancy
from attndsl.simulation.tiling import Tile, Tiling, tile_kind

SAMPLES = 6
"""Query tiles looked at where there are too many pairs to look at all."""
MOST_AXES = 3
"""Boxes of more axes have too many shapes to try all."""


@dataclass(frozen=True)
class Ranking:
    """Compares tile shapes at given sizes.

    Attributes:
        fields: values of the run-time fields, of one batch element.
    """

    sizes: Mapping[str, int]
    setting: Setting
    fields: Fields
    _known: dict[int, tuple[Attend, list[tuple[int, Separated]]]] = field(default_factory=dict)

    def cycles(self, found: Tiling) -> float:
        """Cycles of all query tiles of a head; infinite where the tile does not fit the device."""
        attend, kernel = found.attend, self.setting.kernel
        kind = tile_kind(attend, self.sizes, self.setting, prod(found.query), prod(found.key))
        device = self.setting.device
        try:
            fits = occupancy(device, kernel, kind.queries, kind.keys, kind.widths, self.setting.dtype)
        except AttnError:
            return float("inf")
        query = make_layout(attend.query_tokens.extents(self.sizes), found.query)
        key = make_layout(attend.key_tokens.extents(self.sizes), found.key)
        share = kernel.unoverlapped(fits.blocks)
        plain = tile_cycles(kind, device, kernel, 0.0).time(share)
        total, heads = 0.0, 0
        for count, mask in self.masks(attend):
            masked = tile_cycles(kind, device, kernel, mask_slots(mask.predicate.condition)).time(share)
            full, visited = _visits(mask, query, key)
            cost = masked if kernel.mask == "all" and visited > full else plain
            total += count * (full * cost + (visited - full) * masked)
            heads += count
        return total / heads + tile_count(query) * device.measured.prologue_cycles / fits.blocks

    def masks(self, attend: Attend) -> list[tuple[int, Separated]]:
        """The masks of an attend, and how many heads have each."""
        if id(attend) not in self._known:
            varies = "head" in variables(attend.where)
            heads = count_of(attend.type.heads, self.sizes) if varies else 1
            found = head_classes(attend, {**self.sizes, "heads": heads}, self.fields)
            self._known[id(attend)] = attend, [(len(p.heads), Separated(p.predicate)) for p in found]
        return self._known[id(attend)][1]

    def exact(self, attend: Attend) -> bool:
        """Whether a shape costs so little to look at that all boxes can be tried."""
        axes = [len(tokens.axes) for tokens in (attend.query_tokens, attend.key_tokens)]
        return 1 < max(axes) <= MOST_AXES and all(mask.small for _, mask in self.masks(attend))


def _visits(mask: Separated, query: Layout, key: Layout) -> tuple[float, float]:
    """Full and visited pairs of tiles."""
    if isinstance(query, Brick) and isinstance(key, Brick) and mask.small:
        return mask.totals(query, key)
    full, open_ = sampled_visits(mask.predicate, query, key, SAMPLES)
    return full * tile_count(query), (full + open_) * tile_count(query)


def bricks(extents: tuple[int, ...], slots: int) -> list[Tile]:
    """All boxes of so many slots with powers of two as sides, the most even first.

    No side is longer than it takes to hold its axis; where few tokens fit into one box, there is only that.
    """
    longest = [1 << (extent - 1).bit_length() for extent in extents]
    slots = min(slots, prod(longest))
    return sorted(_boxes(longest, slots), key=lambda tile: (max(tile), tile))


def _boxes(longest: list[int], slots: int) -> Iterator[Tile]:
    if not longest:
        if slots == 1:
            yield ()
        return
    side = 1
    while side <= min(longest[0], slots):
        yield from ((side, *rest) for rest in _boxes(longest[1:], slots // side))
        side *= 2
