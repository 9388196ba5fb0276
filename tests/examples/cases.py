"""Small settings for every example: parameters, extents, labels; and its definition at such a setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

import attndsl
from attndsl.examples import example_files
from attndsl.ir.program import Program
from attndsl.language import load_text
from tests.examples.definitions import DEFINITIONS, At

FIXED = ("hunyuan_gna", "flux_gna")
"""Examples for one published size, too large for brute force: tested with smaller extents put in."""


@dataclass(frozen=True)
class Case:
    """An example at a small size. `labels` are the largest values of its int and bool inputs."""

    name: str
    sizes: dict[str, int]
    params: dict[str, Any] = field(default_factory=dict)
    heads: int = 1
    labels: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = {**self.sizes, **self.params}
        return "-".join([self.name, *(f"{key}={value}".replace(" ", "") for key, value in settings.items())])

    @cached_property
    def program(self) -> Program:
        if self.name not in FIXED:
            return attndsl.load(self.name, **self.params)
        text = example_files()[self.name].read_text()
        axes = ", ".join(f"{axis} = {extent}" for axis, extent in self.sizes.items())
        text, count = re.subn(r"tokens x\[.*\]", f"tokens x[{axes}]", text)
        assert count == 1
        return load_text(text, given=self.params)

    @cached_property
    def free_sizes(self) -> dict[str, int]:
        return {} if self.name in FIXED else self.sizes

    @cached_property
    def extents(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The extents of queries and keys."""
        op = self.program.attends[-1].op
        return op.query_tokens.extents(self.free_sizes), op.key_tokens.extents(self.free_sizes)

    @cached_property
    def fields(self) -> dict[str, np.ndarray]:
        """Labels of two sequences, in stretches; a bool field is true on a prefix."""
        rng = np.random.default_rng(0)
        found: dict[str, np.ndarray] = {}
        for value in self.program.inputs:
            if value.name not in self.labels:
                continue
            shape = (2, *self.extents[0])
            if value.type.kind == "bool":
                lengths = rng.integers(0, shape[1] + 1, (2, 1))
                found[value.name] = np.arange(shape[1]) < lengths
            else:
                stretches = rng.integers(0, self.labels[value.name] + 1, (2, shape[1]))
                found[value.name] = np.resize(np.repeat(stretches, 3, axis=1), shape)
        return found

    def at(self, batch: int = 0, head: int = 0) -> At:
        queries, keys = self.extents
        return At(queries, keys, head, {name: values[batch] for name, values in self.fields.items()})

    def definition(self, batch: int = 0, head: int = 0) -> np.ndarray:
        """The defined mask of one sequence and head: (queries, keys)."""
        return defined_mask(self.name, self.at(batch, head), self.program.parameters)

    def expected(self) -> np.ndarray:
        """The defined mask: (batch | 1, heads, queries, keys)."""
        batches = range(2 if self.fields else 1)
        return np.array([[self.definition(b, h) for h in range(self.heads)] for b in batches])

    def mask(self) -> np.ndarray:
        """What attndsl says: (batch | 1, heads | 1, queries, keys)."""
        found = attndsl.mask(self.program, heads=self.heads, fields=self.fields, **self.free_sizes)
        return found if found.ndim == 4 else found[None, None]


def defined_mask(name: str, at: At, params: Mapping[str, Any]) -> np.ndarray:
    """The mask of one sequence and head, query by query."""
    mask = np.zeros((int(np.prod(at.queries)), int(np.prod(at.keys))), dtype=bool)
    for row, query in enumerate(product(*map(range, at.queries))):
        mask[row, defined_row(name, query, at, params)] = True
    return mask


def defined_row(name: str, query: tuple[int, ...], at: At, params: Mapping[str, Any]) -> np.ndarray:
    """The keys of one query as token numbers, each once."""
    found = list(DEFINITIONS[name](query if len(query) > 1 else query[0], at, **params))
    if not found:
        return np.zeros(0, dtype=np.int64)
    points = np.array(found, dtype=np.int64).reshape(len(found), len(at.keys))
    assert len(np.unique(points, axis=0)) == len(points), "a key is listed twice"
    return np.ravel_multi_index(tuple(points.T), at.keys)


def n(extent: int) -> dict[str, int]:
    return {"n": extent}


def hw(h: int, w: int) -> dict[str, int]:
    return {"h": h, "w": w}


def thw(t: int, h: int, w: int) -> dict[str, int]:
    return {"t": t, "h": h, "w": w}


CASES = [
    *(Case("dense", n(extent)) for extent in (1, 13)),
    *(Case("causal", n(extent)) for extent in (1, 13)),
    Case("cross", {"n": 5, "m": 11}),
    Case("cross", {"n": 9, "m": 1}),
    Case("sliding", n(13), {"radius": 3}),
    Case("sliding", n(5), {"radius": 0}),
    Case("sliding", n(9), {"radius": 20}),
    Case("longformer", n(17), {"radius": 2, "anchors": 3}),
    Case("longformer", n(11), {"radius": 1, "anchors": 0}),
    Case("longformer", n(7), {"radius": 4, "anchors": 1}),
    Case("dilated", n(29), {"radius": 3, "step": 3}),
    Case("dilated", n(13), {"radius": 2, "step": 1}),
    Case("dilated", n(11), {"radius": 5, "step": 4}),
    Case("streaming_llm", n(31), {"sink": 3, "recent": 7}),
    Case("streaming_llm", n(11), {"sink": 0, "recent": 4}),
    Case("streaming_llm", n(9), {"sink": 4, "recent": 10}),
    Case("neighborhood1d", n(13), {"size": 5}),
    Case("neighborhood1d", n(13), {"size": 4, "stride": 3}),
    Case("neighborhood1d", n(11), {"size": 4, "stride": 4}),
    Case("neighborhood2d", hw(7, 9), {"size": (3, 5)}),
    Case("neighborhood2d", hw(9, 7), {"size": (4, 7), "stride": (3, 2)}),
    Case("neighborhood2d", hw(13, 15)),
    Case("neighborhood3d", thw(5, 7, 6), {"size": (3, 4, 5)}),
    Case("neighborhood3d", thw(3, 5, 9), {"size": (3, 4, 4), "stride": (1, 2, 4)}),
    Case("hunyuan_gna", thw(5, 7, 9), {"size": (3, 4, 6), "stride": (2, 3, 4)}),
    Case("hunyuan_gna", thw(4, 6, 8), {"size": (2, 3, 4), "stride": (2, 3, 4)}),
    Case("flux_gna", hw(11, 13), {"size": (5, 6), "stride": (3, 4)}),
    Case("flux_gna", hw(12, 9), {"size": (4, 3), "stride": (4, 3)}),
    Case("causal_neighborhood", thw(5, 5, 7), {"size": (2, 3, 4)}),
    Case("causal_neighborhood", thw(7, 3, 5), {"size": (4, 3, 2), "stride": (3, 2, 1)}),
    Case("dinat", hw(13, 11), {"size": 3, "dilation": 3}),
    Case("dinat", hw(10, 15), {"size": 5, "dilation": 2}),
    Case("dinat", hw(9, 8), {"size": 7, "dilation": 1}),
    Case("swin", hw(14, 21)),
    Case("swin", hw(11, 9), {"size": 4, "shift": 2}),
    Case("swin", hw(5, 12), {"size": 5, "shift": 0}),
    Case("maxvit_block", hw(9, 6), {"size": 3}),
    Case("maxvit_block", hw(14, 7)),
    Case("maxvit_grid", hw(9, 6), {"size": 3}),
    Case("maxvit_grid", hw(14, 21)),
    Case("maxvit_grid", hw(5, 15), {"size": 5}),
    *(Case(name, hw(5, 7)) for name in ("axial_rows", "axial_columns", "criss_cross")),
    *(Case(name, hw(1, 9)) for name in ("axial_rows", "axial_columns", "criss_cross")),
    Case("packed", n(19), labels={"doc": 3}),
    Case("packed", n(7), labels={"doc": 0}),
    Case("prefix_lm", n(19), labels={"prefix": 1}),
    Case("prefix_lm", n(5), labels={"prefix": 1}),
    Case("transfusion", n(23), labels={"image": 2}),
    Case("transfusion", n(7), labels={"image": 0}),
    Case("region_isolation", hw(5, 7), labels={"region": 3}),
    Case("region_isolation", hw(3, 9), labels={"region": 0}),
    *(Case("alibi", n(13), heads=heads) for heads in (1, 4)),
    Case("softcap", n(13)),
    Case("softcap", n(9), {"cap": 2}),
    Case("power_attention", n(37), {"size": 3, "near": 2}),
    Case("power_attention", n(40), {"size": 1, "near": 0, "sink": 0}),
    Case("power_attention", n(33), {"size": 4, "near": 1, "sink": 2}),
    Case("head_mixture", n(23), {"size": 8}, heads=5),
    Case("head_mixture", n(9), {"size": 5}, heads=4),
    Case("pooled_causal", n(17)),
    Case("pooled_causal", n(15), {"group": 5}),
    Case("pooled_causal", n(4)),
]
