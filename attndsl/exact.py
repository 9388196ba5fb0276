"""The exact meaning of a program: dense, in float64, differentiable. Everything else must agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from attndsl.ir.incremental import incremental
from attndsl.ir.index import Expr, Var
from attndsl.ir.namespaces import EXACT, Arrays
from attndsl.ir.ops import Attend, PairValues
from attndsl.ir.program import Program
from attndsl.ir.tokens import KEY, QUERY, SINGLE, Relation, TokenSet
from attndsl.ir.types import HEADS, KV_HEADS, FeatureType
from attndsl.ir.walk import evaluate

_NAMESPACE = Arrays(torch, torch.float64)
_DTYPES = {"real": torch.float64, "int": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class Meaning:
    """What a program computes.

    Attributes:
        results: per result its value `(batch, heads, *tokens, width)`, and its log-sum-exp or None.
        losses: the auxiliary losses by name.
        state: the state after a step of training, by name.
        values: every value on the way by name, as `(batch, heads, tokens, width)`.
        regrets: how much worse each choice given from outside is than the best one.
    """

    results: list[tuple[Tensor, Tensor | None]]
    losses: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    regrets: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Oracle:
    """A program's dense definition, called with its inputs by name.

    Tensors are `(batch, heads, *tokens, width)` as the types of the inputs say. Symbolic extents are
    read off the tensors.
    """

    program: Program

    def __call__(
        self,
        /,
        *,
        params: Mapping[str, Tensor] | None = None,
        state: Mapping[str, Tensor] | None = None,
        choices: Mapping[str, Tensor] | None = None,
        offset: int | None = None,
        **tensors: Tensor,
    ) -> Any:
        """The results (one tensor, or a tuple) in float64.

        Args:
            params, state: learned tensors and buffers by name, as the module's `state_dict` has them.
            choices: discrete decisions (codes) made elsewhere, by the name of the value; the oracle decides
                the others itself.
            offset: the position of the first query of a decoding step.
            tensors: the inputs; in a decoding step those of the queries have the step's positions only.
        """
        found = self.run(tensors, {**(params or {}), **(state or {})}, choices, offset=offset)
        results = [output for output, _ in found.results]
        return results[0] if len(results) == 1 else tuple(results)

    def run(
        self,
        tensors: Mapping[str, Tensor],
        learned: Mapping[str, Tensor] | None = None,
        choices: Mapping[str, Tensor] | None = None,
        rows: Tensor | None = None,
        offset: int | None = None,
    ) -> Meaning:
        """Everything that the program computes.

        Args:
            rows: compute these query tokens of the results only, as `(batch, heads, rows, ...)`.
            offset: compute a decoding step: the results of the queries from here on that are given.

        Raises:
            NotIncremental: there is an offset, but the program cannot decode.
        """
        if offset is not None:
            return self._decoded(tensors, learned, choices, offset)
        return _Run(self.program, {**tensors, **(learned or {})}, choices or {}, rows).run()

    def _decoded(
        self,
        tensors: Mapping[str, Tensor],
        learned: Mapping[str, Tensor] | None,
        choices: Mapping[str, Tensor] | None,
        offset: int,
    ) -> Meaning:
        """A decoding step is a part of the whole run: what the other queries hold does not matter."""
        how = incremental(self.program)
        inputs = {value.name: value.type for value in self.program.inputs if value.type.tokens == how.tokens}
        lengths = {name: tensors[name].shape[1 + (type_.heads is not None)] for name, type_ in inputs.items()}
        total = next(length for name, length in lengths.items() if name not in how.queries)
        count = next(length for name, length in lengths.items() if name in how.queries)
        if offset < 0 or offset + count > total:
            raise ValueError(f"{count} queries at offset {offset}, but there are keys for {total} positions")
        here = (torch.arange(total) - offset).clamp(0, count - 1)
        whole = {
            name: tensors[name].index_select(1 + (type_.heads is not None), here)
            for name, type_ in inputs.items()
            if name in how.queries
        }
        meaning = self.run({**tensors, **whole}, learned, choices)
        results = []
        for name, (out, lse) in zip(self.program.results, meaning.results):
            axis = 1 + (self.program.value(name).type.heads is not None)
            part = None if lse is None else lse.narrow(axis, offset, count)
            results.append((out.narrow(axis, offset, count), part))
        return replace(meaning, results=results)

    def with_lse(
        self, tensors: Mapping[str, Tensor], rows: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Per result the output and log-sum-exp, of a program without learned tensors."""
        return self.run(tensors, rows=rows).results


class _Run:
    """One evaluation; the context in which operators are evaluated."""

    xp = torch
    training = False

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, Tensor],
        choices: Mapping[str, Tensor],
        rows: Tensor | None,
    ) -> None:
        self._program = program
        self._choices = choices
        self._sampled = rows
        given = (*program.inputs, *program.learned)
        missing = sorted({value.name for value in given} - set(tensors))
        if missing:
            raise TypeError(f"missing inputs: {', '.join(missing)}")
        types = {value.name: value.type for value in given}
        cast = {name: tensors[name].to(_DTYPES[type_.kind]) for name, type_ in types.items()}
        self.sizes = _measure(program, cast)
        self.known = {name: self._canonical(cast[name], type_) for name, type_ in types.items()}
        self.lses: dict[str, Tensor] = {}
        self.state: dict[str, Tensor] = {}
        self.regrets: dict[str, float] = {}
        self.rows: Tensor | None = None

    def run(self) -> Meaning:
        """Evaluates the values in order."""
        finals = final_values(self._program)
        for value in self._program.computed:
            if value.name in self._choices:
                tensors = (self.known[name] for name in value.op.tensors)
                self.known[value.name] = self._choices[value.name]
                self.regrets[value.name] = value.op.regret(self, self.known[value.name], *tensors)
                continue
            self.rows = self._sampled if value.name in finals and isinstance(value.op, Attend) else None
            found = value.op.oracle(self, *(self.known[name] for name in value.op.tensors))
            if value.op.updates:
                self.state |= dict(zip(value.op.updates, found))
            elif value.type.partial:
                self.known[value.name], self.lses[value.name] = found
            else:
                self.known[value.name] = found
        results = [self._result(name) for name in self._program.results]
        losses = {name: self.known[value].mean() for name, value in self._program.losses.items()}
        return Meaning(results, losses, self._shaped_state(), self.known, self.regrets)

    def _canonical(self, tensor: Tensor, type_: FeatureType) -> Tensor:
        """`(batch, heads, tokens, width)`, 1 for absent axes; bounded learned tensors cut to their tokens."""
        if not type_.batch:
            tensor = tensor.unsqueeze(0)
        if type_.heads is None:
            tensor = tensor.unsqueeze(1)
        if type_.width is None:
            tensor = tensor.unsqueeze(-1)
        if type_.tokens == SINGLE:
            tensor = tensor.unsqueeze(2)
        extents = self.extents(type_.tokens)
        if tensor.dim() == 4 and len(extents) > 1:
            return tensor
        for axis, extent in enumerate(extents):
            tensor = tensor.narrow(2 + axis, 0, extent)
        return tensor.flatten(2, -2)

    def _result(self, name: str) -> tuple[Tensor, Tensor | None]:
        output, type_ = self.known[name], self._program.value(name).type
        lse = self.lses.get(name)
        extents = self.extents(type_.tokens) if self._sampled is None else None
        return _shaped(output, type_, extents), None if lse is None else _shaped(lse, type_, extents, True)

    def _shaped_state(self) -> dict[str, Tensor]:
        types = {value.name: value.type for value in self._program.learned}
        found = {}
        for name, tensor in self.state.items():
            found[name] = _shaped(tensor, types[name], self.extents(types[name].tokens)).squeeze(0)
        return found

    # --- what operators ask for -----------------------------------------------------------------

    def size(self, expr: Expr) -> Any:
        """The value of an expression of sizes."""
        return evaluate(expr, self.sizes, EXACT)

    def extents(self, tokens: TokenSet) -> tuple[int, ...]:
        """The extents of a token set."""
        return tokens.extents(self.sizes)

    def lse(self, name: str) -> Tensor:
        """The log-sum-exp of a partial, (batch, heads, tokens)."""
        return self.lses[name]

    def elementwise(self, expr: Expr) -> Any:
        """The value of arithmetic between whole tensors."""
        loads = {name: lambda tensor=tensor: tensor for name, tensor in self.known.items()}
        return torch.as_tensor(evaluate(expr, self.sizes, _NAMESPACE, loads))

    def places(self, tokens: TokenSet, coords: tuple[Expr, ...]) -> tuple[Tensor, ...]:
        """Coordinates for every token, each broadcastable to (batch, heads, tokens)."""
        match tokens.origin:
            case Relation(query, key):
                pairs = self.pairs(query, key, self.sizes.get("heads", 1), all_rows=True)
                all_pairs = torch.empty(1, 1, query.count(self.sizes), key.count(self.sizes))
                found = (torch.as_tensor(pairs(coord)) for coord in coords)
                return tuple(torch.broadcast_tensors(place, all_pairs)[0].flatten(2) for place in found)
        pairs = self.pairs(tokens, SINGLE, self.sizes.get("heads", 1), all_rows=True)
        found = (torch.as_tensor(pairs(coord)) for coord in coords)
        return tuple(
            place.expand(torch.broadcast_shapes(place.shape, (1, 1, 1, 1)))[..., 0] for place in found
        )

    def pairs(self, query: TokenSet, key: TokenSet, heads: int, all_rows: bool = False) -> PairValues:
        """Evaluates pair expressions to tensors that broadcast to (batch, heads, queries, keys)."""
        rows = None if all_rows else self.rows
        values: dict[str, Any] = {**self.sizes, "heads": heads}
        values["head"] = torch.arange(heads).view(1, -1, 1, 1)
        for role, tokens, shape in ((QUERY, query, (1, 1, -1, 1)), (KEY, key, (1, 1, 1, -1))):
            grid = torch.meshgrid(*(torch.arange(extent) for extent in self.extents(tokens)), indexing="ij")
            for axis, coordinate in zip(tokens.axis_names, grid):
                flat = coordinate.flatten() if rows is None or role == KEY else coordinate.flatten()[rows]
                values[tokens.coordinate(role, axis).name] = flat.reshape(shape)

        def evaluated(expr: Expr, visible: Any = None, **extra: Any) -> Any:
            loads = {name: self._load(name, visible) for name in self.known}
            return evaluate(expr, {**values, **extra}, _NAMESPACE, loads)

        return evaluated

    def _load(self, name: str, visible: Tensor | None) -> Any:
        """Looks a field up at coordinates of shape (batch | 1, heads | 1, queries | 1, keys | 1).

        Vectors (the arguments of `dot`) have their width behind these axes.
        """

        def load(*coords: Any) -> Tensor:
            type_ = self._program.value(name).type
            data = self.known[name] if type_.width is not None else self.known[name][..., 0]
            index: Any = 0
            for coord, extent in zip(coords, self.extents(type_.tokens)):
                index = index * extent + torch.as_tensor(coord).clamp(0, extent - 1)
            batch, heads = torch.arange(data.shape[0]), torch.arange(data.shape[1])
            found = data[batch.view(-1, 1, 1, 1), heads.view(1, -1, 1, 1), index]
            if visible is None or not found.is_floating_point():
                return found
            shown = visible if type_.width is None else visible.unsqueeze(-1)
            return torch.where(shown, found, found.detach())

        return load


def _measure(program: Program, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Extents, heads and widths, read off the inputs."""
    sizes: dict[str, int] = {}
    for value in program.inputs:
        type_, shape = value.type, tensors[value.name].shape
        start = 1 + (type_.heads is not None)
        for axis, extent in zip(type_.tokens.axes, shape[start:]):
            match axis.extent:
                case Var(symbol):
                    sizes[symbol] = extent
        if type_.heads is HEADS or type_.heads is KV_HEADS:
            sizes[type_.heads.name] = shape[1]  # type: ignore[union-attr]
        if type_.width is not None:
            sizes[f"{value.name}.width"] = shape[-1]
    return sizes


def _shaped(tensor: Tensor, type_: FeatureType, extents: tuple[int, ...] | None, lse: bool = False) -> Tensor:
    """A value with the axes of its type: token axes apart, absent axes left out."""
    if type_.width is None and not lse:
        tensor = tensor.squeeze(-1)
    if type_.tokens == SINGLE:
        tensor = tensor.squeeze(2)
    elif extents is not None:
        tensor = tensor.unflatten(2, extents)
    return tensor.squeeze(1) if type_.heads is None else tensor


def final_values(program: Program) -> set[str]:
    """Results that no other value reads."""
    read = {name for value in program.values for name in value.op.operands}
    return set(program.results) - read


def oracle(program: Program) -> Oracle:
    """The dense float64 definition of a program."""
    return Oracle(program)
