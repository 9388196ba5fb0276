"""A picture as JSON data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attndsl.picture.model import HeadPicture, MaskPicture

MOST_KEYS = 1 << 16
"""Keys that are listed; further ones are only counted."""


def to_dict(picture: MaskPicture, files: Sequence[str] = ()) -> dict[str, object]:
    """The document of `show --json`. Counts are for one head; at the top, those of the first class shown."""
    classes = [_class(heads) for heads in picture.classes]
    first = picture.classes[0]
    layouts = first.layouts
    return {
        "attention": picture.attention,
        "parameters": dict(picture.parameters),
        "shape": {name: dict(axes) for name, axes in picture.shape.items()},
        "attend": picture.attend,
        "other_attends": list(picture.others),
        "tokens": {"q": picture.query_set.count, "k": picture.key_set.count},
        "tiles": {"q": list(layouts[0].tile), "k": list(layouts[1].tile), "layout": layouts[0].name},
        "counts": classes[0]["counts"],
        "query": {"axes": list(picture.query_set.axes), "at": list(first.query), **_keys(first)},
        "heads": classes,
        "sampled": list(picture.sampled),
        "files": list(files),
    }


def _class(heads: HeadPicture) -> dict[str, object]:
    counts = heads.tiles.counts.to_dict()
    return {"heads": list(heads.heads), "counts": counts, "query_keys": heads.keys.count}


def _keys(heads: HeadPicture) -> dict[str, object]:
    found = np.argwhere(heads.keys.visible)
    listed: dict[str, object] = {"count": len(found), "keys": found[:MOST_KEYS].tolist()}
    return listed if len(found) <= MOST_KEYS else {**listed, "truncated": True}
