"""The cases of a prepared folder: generated modules, inputs, FlexAttention's modifiers. Needs torch only."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

TOLERANCE = {"bfloat16": 2e-2, "float16": 5e-3, "float32": 1e-4}
"""Largest error, relative to the largest exact value."""


@dataclass(frozen=True)
class Case:
    """One attention at one size and width.

    Attributes:
        record: its entry of `index.json`.
    """

    folder: Path
    record: Mapping[str, Any]
    device: torch.device

    @property
    def key(self) -> str:
        """Its name among all cases."""
        return f"{self.name}, width {self.width}{'' if self.record['size'] == 'full' else ', small'}"

    @property
    def name(self) -> str:
        """The attention's name."""
        return str(self.record["name"])

    @property
    def width(self) -> int:
        """Of a head."""
        return int(self.record["width"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the tokens."""
        return tuple(self.record["shape"])

    @property
    def tokens(self) -> int:
        """Queries, and keys."""
        return prod(self.shape)

    @property
    def batch(self) -> int:
        """Batch elements."""
        return int(self.record["batch"])

    @property
    def heads(self) -> int:
        """Heads of queries, keys and values."""
        return int(self.record["heads"])

    @property
    def dtype(self) -> torch.dtype:
        """The type of features."""
        return getattr(torch, self.record["dtype"])

    @property
    def tolerance(self) -> float:
        """Largest error."""
        return TOLERANCE[self.record["dtype"]]

    @property
    def pairs(self) -> int:
        """Visible pairs over batch elements and heads."""
        return int(self.data["maps"]["raster"]["pairs"]) * self.batch

    def flops(self, backward: bool) -> float:
        """Operations on visible pairs: two products forward, five backward."""
        return self.pairs * 2.0 * self.width * (5 if backward else 2)

    def dense_flops(self, backward: bool) -> float:
        """As many on all pairs, half of them where dense kernels know the causal mask."""
        share = 0.5 if self.record["causal"] else 1.0
        return share * self.batch * self.heads * self.tokens**2 * 2.0 * self.width * (5 if backward else 2)

    @cached_property
    def module(self) -> ModuleType:
        """The generated file."""
        return load_module(self.folder / f"{self.record['stem']}.py")

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Tile maps and labels."""
        return torch.load(self.folder / f"{self.record['stem']}.pt", weights_only=True)

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The arguments of the generated function by name, on the device."""
        generator = torch.Generator(self.device).manual_seed(0)
        found: dict[str, Tensor] = {}
        shape = (self.batch, self.heads, *self.shape, self.width)
        for argument in self.record["arguments"]:
            name = argument["name"]
            if argument["kind"] == "feature":
                found[name] = self._normal(shape, generator).to(self.dtype)
            elif argument["kind"] == "label":
                label = self.data["labels"][name]
                found[name] = label.expand(self.batch, *label.shape[1:]).contiguous().to(self.device)
            else:
                found[name] = 0.3 * self._normal(tuple(argument["shape"]), generator)
        return found

    @property
    def features(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, heads, tokens, width)."""
        names = [a["name"] for a in self.record["arguments"] if a["kind"] == "feature"]
        q, k, v = (self.inputs[name].flatten(2, -2) for name in names)
        return q, k, v

    @cached_property
    def upstream(self) -> Tensor:
        """A gradient of the output, (batch, heads, tokens, width)."""
        generator = torch.Generator(self.device).manual_seed(1)
        shape = (self.batch, self.heads, self.tokens, self.width)
        return self._normal(shape, generator).to(self.dtype)

    def _normal(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, device=self.device)

    @cached_property
    def modifiers(self) -> ModuleType:
        """The mask and the score as functions of numbers of tokens; labels are those of one batch element."""
        module = load_module(self.folder / f"{self.record['stem']}_modifiers.py")
        for argument in self.record["arguments"]:
            if argument["kind"] != "feature":
                value = self.inputs[argument["name"]]
                vars(module)[argument["name"]] = value[0] if argument["kind"] == "label" else value
        return module

    def run(self, arguments: Mapping[str, Tensor], lse: bool = False) -> Any:
        """The output of the generated function, or with `lse` the log-sum-exp as well."""
        return getattr(self.module, self.record["function"])(*arguments.values(), return_lse=lse)

    def forget(self) -> None:
        """Frees what it holds: tensors of all cases together would not fit a GPU."""
        for name in ("module", "data", "inputs", "upstream", "modifiers"):
            self.__dict__.pop(name, None)


def load_module(path: Path) -> ModuleType:
    """Imports a file; Triton reads the text of kernels from it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # data classes look their module up
    spec.loader.exec_module(module)
    return module


def load_cases(folder: Path, device: torch.device) -> tuple[list[Case], str]:
    """The cases of a folder, and the device that the simulator's predictions are for."""
    found = json.loads((folder / "index.json").read_text())
    return [Case(folder, record, device) for record in found["cases"]], str(found["device"])
