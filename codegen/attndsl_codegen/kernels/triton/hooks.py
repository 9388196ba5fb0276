"""What the Triton kernels know of one attend."""

from __future__ import annotations

from typing import Any, NamedTuple


class TritonHooks(NamedTuple):
    """The mechanism as Triton functions of coordinates, batch element, head and `env`.

    Attributes:
        sizes, fields: what `env` holds: sizes by name, then fields by name.
        where: whether a key is visible.
        shape: the score with its bias in place of the raw one, or None.
        slope: how that changes with the raw score, or None.
        times: a factor of the weight, or None.
        lookups: where bias, score and factor look up real fields, for the gradients of these.
        keys_seen, queries_seen: the ends of what tiles of queries, and of keys, see; None where masks show no
            ranges, and schedules say which tiles are visited.
        last_first: whether later tiles of queries, and of keys, see more.
        query_boxes, key_boxes: the sides of tiles by their slots; None for the most even ones.
    """

    sizes: tuple[str, ...]
    fields: tuple[str, ...]
    where: Any
    shape: Any = None
    slope: Any = None
    times: Any = None
    lookups: tuple[Any, ...] = ()
    keys_seen: Any = None
    queries_seen: Any = None
    last_first: tuple[bool, bool] = (False, False)
    query_boxes: dict[int, tuple[int, ...]] | None = None
    key_boxes: dict[int, tuple[int, ...]] | None = None
