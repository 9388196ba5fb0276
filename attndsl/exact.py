"""The exact meaning of a program: dense, in float64, differentiable. Everything else must agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attndsl.ir.index import Expr, Var
from attndsl.ir.namespaces import Arrays
from attndsl.ir.ops import Input, OracleContext
from attndsl.ir.program import Program
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.ir.types import FeatureType, Heads
from attndsl.ir.walk import evaluate

_NAMESPACE = Arrays(torch, torch.float64)


@dataclass(frozen=True)
class Oracle:
    """A program's dense definition, called with its inputs by name.

    Tensors are `(batch, heads, *tokens, width)` as the types of the inputs say. Symbolic extents are
    read off the tensors.
    """

    program: Program

    def __call__(self, /, **tensors: torch.Tensor) -> Any:
        """The results (one tensor, or a tuple) in float64."""
        results = [output for output, _ in self.with_lse(tensors)]
        return results[0] if len(results) == 1 else tuple(results)

    def with_lse(
        self, tensors: Mapping[str, torch.Tensor], rows: torch.Tensor | None = None
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Per result the output `(batch, heads, *tokens, width)` and log-sum-exp `(batch, heads, *tokens)`.

        Args:
            tensors: the inputs by name.
            rows: compute these query tokens of the results only, as `(batch, heads, rows, ...)`.
        """
        run = _Run(self.program, tensors)
        known: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}
        finals = final_values(self.program)
        for value in self.program.values:
            match value.op:
                case Input():
                    known[value.name] = run.input(value.name), None
                case op:
                    operands = [known[name][0] for name in op.operands]
                    context = OracleContext(torch, run.pairs, rows if value.name in finals else None)
                    known[value.name] = op.oracle(context, *operands)
        found = [(known[name], self.program.value(name).type) for name in self.program.results]
        return [run.shaped(result, type_) if rows is None else result for result, type_ in found]  # type: ignore[misc]


class _Run:
    """One evaluation: sizes read off the tensors, inputs flattened over tokens."""

    def __init__(self, program: Program, tensors: Mapping[str, torch.Tensor]) -> None:
        self._program = program
        self._types = {value.name: value.type for value in program.inputs}
        missing = sorted(set(self._types) - set(tensors))
        if missing:
            raise TypeError(f"missing inputs: {', '.join(missing)}")
        types = {"real": torch.float64, "int": torch.int64, "bool": torch.bool}
        self._tensors = {name: tensors[name].to(types[type_.kind]) for name, type_ in self._types.items()}
        self.sizes = self._measure()

    def _measure(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name, type_ in self._types.items():
            shape = self._tensors[name].shape
            assert type_.tokens is not None
            start = 1 + (type_.heads is not Heads.NONE)
            for axis, extent in zip(type_.tokens.axes, shape[start:]):
                match axis.extent:
                    case Var(symbol):
                        sizes[symbol] = extent
            if type_.heads is Heads.QUERY:
                sizes["heads"] = shape[1]
            if type_.width:
                sizes[f"{name}.width"] = shape[-1]
        return sizes

    def input(self, name: str) -> torch.Tensor:
        """`(batch, heads, tokens, width)`, tokens flattened; fields `(batch, heads, tokens)`."""
        type_, tensor = self._types[name], self._tensors[name]
        assert type_.tokens is not None
        if type_.heads is Heads.NONE:
            tensor = tensor.unsqueeze(1)
        width = tensor.shape[-1:] if type_.width else ()
        return tensor.reshape(*tensor.shape[:2], type_.tokens.count(self.sizes), *width)

    def shaped(
        self, result: tuple[torch.Tensor, torch.Tensor | None], type_: FeatureType
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The result with its token axes."""
        output, lse = result
        assert type_.tokens is not None
        assert lse is not None
        extents = type_.tokens.extents(self.sizes)
        return output.unflatten(2, extents), lse.unflatten(2, extents)

    def pairs(self, query: TokenSet, key: TokenSet, rows: torch.Tensor | None = None) -> Any:
        """Evaluates pair expressions to tensors that broadcast to (batch, heads, queries, keys)."""
        values: dict[str, Any] = dict(self.sizes)
        values["head"] = torch.arange(self.sizes["heads"]).view(1, -1, 1, 1)
        for role, tokens, shape in ((QUERY, query, (1, 1, -1, 1)), (KEY, key, (1, 1, 1, -1))):
            extents = tokens.extents(self.sizes)
            grid = torch.meshgrid(*(torch.arange(extent) for extent in extents), indexing="ij")
            for axis, coordinate in zip(tokens.axis_names, grid):
                flat = coordinate.flatten() if rows is None or role == KEY else coordinate.flatten()[rows]
                values[tokens.coordinate(role, axis).name] = flat.reshape(shape)

        def evaluated(expr: Expr, visible: torch.Tensor | None = None, **extra: Any) -> Any:
            fields = [name for name, type_ in self._types.items() if type_.width is None]
            loads = {name: self._load(name, visible) for name in fields}
            return evaluate(expr, {**values, **extra}, _NAMESPACE, loads)

        return evaluated

    def _load(self, name: str, visible: torch.Tensor | None) -> Any:
        """Looks a field up at coordinates of shape (batch | 1, heads | 1, queries | 1, keys | 1)."""
        type_, field = self._types[name], self.input(name)
        assert type_.tokens is not None
        extents = type_.tokens.extents(self.sizes)

        def load(*coords: Any) -> torch.Tensor:
            index: Any = 0
            for coord, extent in zip(coords, extents):
                index = index * extent + torch.as_tensor(coord).clamp(0, extent - 1)
            batch, heads = torch.arange(field.shape[0]), torch.arange(field.shape[1])
            found = field[batch.view(-1, 1, 1, 1), heads.view(1, -1, 1, 1), index]
            if visible is None or not found.is_floating_point():
                return found
            return torch.where(visible, found, found.detach())

        return load


def final_values(program: Program) -> set[str]:
    """Results that no other value reads."""
    read = {name for value in program.values for name in value.op.operands}
    return set(program.results) - read


def oracle(program: Program) -> Oracle:
    """The dense float64 definition of a program."""
    return Oracle(program)
