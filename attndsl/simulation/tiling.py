"""An attend with the tiles it is cut into, and the work that makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from attndsl.analysis.layout import make_layout
from attndsl.ir.index import Expr, Load
from attndsl.ir.ops import Attend
from attndsl.ir.walk import postorder
from attndsl.simulation.attention import AttendWork
from attndsl.simulation.compiled import CompiledAttend
from attndsl.simulation.counts import Fields, count_tiles
from attndsl.simulation.cycles import TileKind
from attndsl.simulation.host import READ_IN_PLACE, Access
from attndsl.simulation.operators import count_of, widths_of
from attndsl.simulation.setting import Setting
from attndsl.simulation.slots import score_cost
from attndsl.simulation.tiles import Widths

Tile = tuple[int, ...]
WHOLE_LAYOUT = "whole"
"""The layout of one tile that holds everything, whatever the extents."""


@dataclass(frozen=True)
class Tiling:
    """Tile shapes of one attend.

    Attributes:
        attend: over the axes that are cut: the spec's, or phases and rounds of residue classes.
        query, key: one size per axis, or one for stretches in row-major order.
        layout: its name.
        why: why it was chosen.
        access: how a CPU finds the keys of a query tile.
        compiled: what is known of the compiled kernels, if they were read.
    """

    attend: Attend
    query: Tile
    key: Tile
    layout: str
    why: str = ""
    access: Access = READ_IN_PLACE
    compiled: CompiledAttend | None = None

    @property
    def permuted(self) -> bool:
        """Whether tiles are not stretches of tokens in row-major order."""
        return self.layout not in ("raster", WHOLE_LAYOUT)


@dataclass(frozen=True)
class Planned:
    """Tile shapes with the work they make; no work where an attend does not go tile by tile."""

    tiling: Tiling
    work: AttendWork | None


def tiling(attend: Attend, query: Tile, key: Tile, why: str = "") -> Tiling:
    """Tile shapes of an attend as it stands."""
    boxes = (len(query) > 1 and len(attend.query_tokens.axes) > 1) or len(key) > 1
    return Tiling(attend, query, key, "brick" if boxes else "raster", why)


def tiled_work(found: Tiling, sizes: Mapping[str, int], setting: Setting, fields: Fields) -> AttendWork:
    """The exact work of an attend at its tile shapes."""
    attend = found.attend
    extents = attend.query_tokens.extents(sizes), attend.key_tokens.extents(sizes)
    tiles = extents if found.layout == WHOLE_LAYOUT else (found.query, found.key)
    query, key = (make_layout(*side) for side in zip(extents, tiles))
    heads = count_of(attend.type.heads, sizes)
    counts = count_tiles(attend, sizes, query, key, heads, fields)
    kind = tile_kind(attend, sizes, setting, prod(tiles[0]), prod(tiles[1]))
    kind = replace(kind, compiled=found.compiled)
    return AttendWork(counts, kind, setting.batch, min(setting.kv_heads, heads), found.permuted, found.access)


def counted(found: Tiling, sizes: Mapping[str, int], setting: Setting, fields: Fields) -> Planned:
    """Tile shapes with their exact work."""
    return Planned(found, tiled_work(found, sizes, setting, fields) if found.query else None)


def _scoring(attend: Attend) -> list[Expr]:
    """What makes scores of products."""
    return [expr for expr in (attend.bias, attend.score, attend.times) if expr is not None]


def tile_kind(
    attend: Attend, sizes: Mapping[str, int], setting: Setting, queries: int, keys: int
) -> TileKind:
    """One pair of tiles of an attend."""
    widths = Widths(*widths_of(attend, sizes))
    real = any(isinstance(node, Load) and node.kind == "real" for node in postorder(_scoring(attend)))
    held = attend.score is not None or widths.score != widths.value or (real and attend.kernel == "tiled")
    row_bias = attend.separable_bias and attend.kernel == "tiled"
    return TileKind(queries, keys, widths, score_cost(attend), setting.dtype, held=held, row_bias=row_bias)
