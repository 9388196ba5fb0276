"""Prints the mechanism of one attend: its mask, the mask's bounds, bias, score and scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from attndsl.ir.bounds import GREATEST, LEAST, Bounds, BoundsOfAnyFields
from attndsl.ir.index import TRUE, Expr, Var
from attndsl.ir.labels import same_labels
from attndsl.ir.ops import Attend
from attndsl.ir.program import Program
from attndsl.ir.tokens import KEY, QUERY
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import fields, variables
from attndsl.planning.gpu_tiles import GpuTiles
from attndsl.planning.residues import split_attend
from attndsl_codegen.names import TokenNames, function_name, spelled, unused
from attndsl_codegen.printers.body import Body, signature
from attndsl_codegen.printers.python import TorchPrinter, identifier
from attndsl_codegen.triton_hooks import ON_GPU, ON_GPU_WITHOUT_HOOKS, TritonHookPrinter

LO, HI = ".lo", ".hi"
GO_BACK = ("tiled", "all_keys")
"""Kernels whose backward pass goes on from the output; the others compute that again."""


@dataclass(frozen=True)
class Tiles:
    """The tile shapes of one attend: on a CPU, and what is known of those on a GPU."""

    query: tuple[int, ...]
    key: tuple[int, ...]
    query_steps: tuple[int, ...] = ()
    key_steps: tuple[int, ...] = ()
    backward_query: tuple[int, ...] | None = None
    origin: tuple[int, ...] = ()
    gpu: GpuTiles | None = None


@dataclass(frozen=True)
class HookPrinter:
    """Prints the class of hooks of one attend."""

    program: Program
    name: str
    op: Attend
    tiles: Tiles | None
    sets: TokenNames
    class_name: str

    def lines(self) -> list[str]:
        """The class definition; before it, the functions that Triton kernels and paths need."""
        functions = [*self.triton.functions(), *self.triton.entries()] if self.on_gpu else []
        functions += [step for number in range(len(self.op.paths or ())) for step in self._steps(number)]
        return [
            *(line for function in functions for line in [*function, "", ""]),
            f"class {self.class_name}:",
            *_indent([f'"""{self._summary()}"""', "", *self._settings()]),
            *_indent(line for hook in self._hooks() for line in ["", *hook]),
        ]

    @cached_property
    def triton(self) -> TritonHookPrinter:
        """The same mechanism for GPUs."""
        boxes = self.tiles.gpu if self.tiles else None
        split = any(self.steps)
        return TritonHookPrinter(self.name, self.op, self.program.labels, boxes, split)

    @property
    def on_gpu(self) -> bool:
        """Whether Triton kernels run it where there is a GPU."""
        return self.triton.printable

    @property
    def runs(self) -> str:
        """The function that runs it: a torch kernel, or what chooses between that and a Triton kernel."""
        kernel = self.op.kernel
        if self.on_gpu:
            return ON_GPU[kernel]
        if kernel == "contracted" and not self.op.causal:
            return kernel  # products of matrices, and nothing else
        return ON_GPU_WITHOUT_HOOKS.get(kernel, kernel)

    @property
    def has_bounds(self) -> bool:
        """Whether something plans with the bounds of the mask."""
        return self.tiles is not None or self.on_gpu

    @property
    def steps(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Into how many residue classes the axes of queries and of keys are split; empty where none is."""
        return ((), ()) if self.tiles is None else (self.tiles.query_steps, self.tiles.key_steps)

    @cached_property
    def mask_fields(self) -> tuple[str, ...]:
        """The fields that the mask looks up."""
        return tuple(sorted(fields(self.op.where)))

    @cached_property
    def real_fields(self) -> tuple[str, ...]:
        """The fields that bias, score or factor look up, with gradient."""
        return tuple(sorted(name for name in fields(*self._scoring) if self._types[name].kind == "real"))

    @cached_property
    def same_labels(self) -> tuple[str, str] | None:
        """Fields that must be equal at a query and at the keys that it sees; those of a tiled attend."""
        return None if self.tiles is None else same_labels(self.op)

    @cached_property
    def varies_by_head(self) -> bool:
        """Whether heads differ in what is visible."""
        return "head" in variables(self.op.where) or any(
            self._types[name].heads is not None for name in self.mask_fields
        )

    def registration(self) -> list[str]:
        """The line that makes operators of it; plain products over all keys can be traced."""
        kernel = self.op.kernel
        if kernel == "contracted" and not self.op.causal:
            return []
        parts = [f'f"{{NAMESPACE}}::{function_name(self.name)}"', self.class_name, self.runs]
        if kernel in GO_BACK:
            parts.append(f"backward={self.runs}_backward")
        if self.runs != kernel:
            parts.append("backend=asked_backend")
        if self.on_gpu:
            parts.append(f"count={'all_pairs' if self.op.where is TRUE else 'kept_pairs'}")
        elif self.runs in ON_GPU_WITHOUT_HOOKS.values():
            parts += ["count=all_queries", "running=True"]
        if kernel == "paired":
            parts.append("pairs=Factors")
        vectors = [
            f'"{name}": VectorField' for name in self.real_fields if self._types[name].width is not None
        ]
        if vectors:
            parts.append(f"kinds={{{', '.join(vectors)}}}")
        labels = sorted(fields(*self._scoring) - set(self.real_fields) - set(self.mask_fields))
        if labels:
            parts.append(f"labels={tuple(labels)}".replace("'", '"'))
        return [f"register({', '.join(parts)})"]

    @property
    def _types(self) -> dict[str, FeatureType]:
        return {value.name: value.type for value in self.program.values}

    @property
    def _scoring(self) -> list[Expr]:
        """Bias, score and `times`."""
        return [expr for expr in (self.op.bias, self.op.score, self.op.times) if expr is not None]

    def _summary(self) -> str:
        visible = "every key" if self.op.where is TRUE else "the keys that `where` admits"
        query, key = self.op.query_tokens.name, self.op.key_tokens.name
        return f"`{self.name}`: each query of {query} attends to {visible} of {key}."

    def _settings(self) -> list[str]:
        lines = [
            f'operands = "{self.op.q or ""}", "{self.op.k or ""}"',
            f"query, key = {self.sets.of(self.op.query_tokens)}, {self.sets.of(self.op.key_tokens)}",
        ]
        if self.tiles is not None:
            lines.append(f"query_tile, key_tile = {self.tiles.query}, {self.tiles.key}")
            lines.append(f"backward_query_tile = {self.tiles.backward_query}")
            lines.append(f"tile_origin = {self.tiles.origin}")
        if self.has_bounds:
            lines += [
                f"query_steps, key_steps = {self.steps[0]}, {self.steps[1]}",
                f"varies_by_batch, varies_by_head = {bool(self.mask_fields)}, {self.varies_by_head}",
            ]
        lines.append(f"mask_fields, real_fields = {self.mask_fields}, {self.real_fields}".replace("'", '"'))
        if self.has_bounds:
            lines.append(f"same_labels = {self.same_labels}".replace("'", '"'))
        lines.append(f"separable_bias = {self.op.separable_bias}")
        lines.append(f"bias_by_distance = {self.op.bias_by_distance}")
        if self.op.contracts:
            lines.append(f"causal = {self.op.causal}")
            if self.op.decay is None:
                lines.append("decay = None")
        if self.op.paths is not None:
            orders = (path.order for path in self.op.paths)
            listed = (f"({order}, {', '.join(self._step_names(at))})," for at, order in enumerate(orders))
            lines += ["paths = (", *_indent(listed), ")"]
        lines.append(f'normalize = "{self.op.normalize}"')
        if self.on_gpu:
            lines += self.triton.setting()
        absent = [name for name in ("score", "bias", "times") if getattr(self.op, name) is None]
        return [*lines, *([" = ".join([*absent, "None"])] if absent else [])]

    def _hooks(self) -> list[list[str]]:
        hooks = [self._where(), *([self._bounds()] if self.has_bounds else [])]
        if self.on_gpu and self.mask_fields:
            hooks.append(self._possible())
        if self.op.score is not None:
            hooks.append(self._real("score", self.op.score, ["s"]))
        if self.op.bias is not None:
            hooks.append(self._real("bias", self.op.bias, []))
        if self.op.times is not None:
            hooks.append(self._real("times", self.op.times, []))
        if self.op.decay is not None:
            hooks.append(self._decay(self.op.decay))
        hooks.append(self._scale())
        return hooks

    @property
    def coordinates(self) -> list[str]:
        """The coordinate parameters of a hook, e.g. `i_h, i_w, j_h, j_w`; `i, j` on a single axis."""
        return [
            *spelled(QUERY, self.op.query_tokens).values(),
            *spelled(KEY, self.op.key_tokens).values(),
        ]

    def _spelling(self) -> dict[str, str]:
        return {**spelled(QUERY, self.op.query_tokens), **spelled(KEY, self.op.key_tokens)}

    def _where(self) -> list[str]:
        doc = "Whether the key is visible to the query."
        return self._function("where", [self.op.where], self._spelling(), doc, self.program.labels, [], "Any")

    def _real(self, name: str, expr: Expr, first: list[str]) -> list[str]:
        doc = {
            "score": "The score in place of `s`.",
            "bias": "What is added to the score.",
            "times": "A factor of the normalised weight.",
        }[name]
        return self._function(name, [expr], self._spelling(), doc, self.program.labels, first, "Tensor")

    def _decay(self, expr: Expr) -> list[str]:
        spelling = spelled(QUERY, self.op.query_tokens)
        doc = "The weight of a key is multiplied by exp(decay(query) - decay(key))."
        names = list(spelling.values())
        return self._function(
            "decay", [expr], spelling, doc, self.program.labels, [], "Tensor", coordinates=names
        )

    def _steps(self, number: int) -> list[list[str]]:
        """The functions of the two steps of a path."""
        path = (self.op.paths or ())[number]
        axes = [self.op.query_tokens.axes[axis].name for axis in path.order]
        names = self._step_names(number)
        docs = (f"What is left of a key on its way along {axis}." for axis in axes)
        return [
            self._function(name, [expr], self._spelling(), doc, self.program.labels, [], "Any")[1:]
            for name, expr, doc in zip(names, (path.first, path.second), docs)
        ]

    def _step_names(self, number: int) -> tuple[str, str]:
        which = f"_{number + 1}" if len(self.op.paths or ()) > 1 else ""
        return f"{function_name(self.name)}_first{which}", f"{function_name(self.name)}_second{which}"

    def _bounds(self) -> list[str]:
        """The mask's bounds: `i.h` becomes `i_h.lo` and `i_h.hi`, a split axis its phase and its round."""
        op, spelling, ends = self._boxes()
        bounds = Bounds({name: (Var(name + LO), Var(name + HI)) for name in spelling})
        labels: dict[Expr, str] = {}
        for expr, label in self.program.labels.items():
            lo, hi = bounds.interval(expr)
            suffixes = ("must", "may") if expr.kind == "bool" else ("lo", "hi")
            labels |= (
                {lo: f"{label}_{suffixes[0]}", hi: f"{label}_{suffixes[1]}"} if lo is not hi else {lo: label}
            )
        doc = "Whether every pair of the boxes must be visible, and whether any pair may be."
        results = list(bounds.interval(op.where))
        names = list(spelling.values())
        return self._function("bounds", results, ends, doc, labels, [], "tuple[Any, Any]", "Range", names)

    def _possible(self) -> list[str]:
        """What bounds leave where nothing is known of the fields: kernels plan with it beforehand."""
        op, spelling, ends = self._boxes()
        bounds = BoundsOfAnyFields({name: (Var(name + LO), Var(name + HI)) for name in spelling})
        doc = "Whether any pair of the boxes may be visible, whatever the fields hold."
        results, names = [bounds.may(op.where)], list(spelling.values())
        return self._function("possible", results, ends, doc, {}, [], "Any", "Range", names)

    def _boxes(self) -> tuple[Attend, dict[str, str], dict[str, str]]:
        """The attend on split axes, and how coordinates, and the ends of boxes of them, are spelled."""
        op = self.op
        if self.tiles is not None and self.tiles.query_steps:
            op = split_attend(op, self.tiles.query_steps, self.tiles.key_steps)
        spelling = {**spelled(QUERY, op.query_tokens), **spelled(KEY, op.key_tokens)}
        return op, spelling, {name + end: text + end for name, text in spelling.items() for end in (LO, HI)}

    def _scale(self) -> list[str]:
        doc = "The factor of the dot product."
        return self._function("scale", [self.op.scale], {}, doc, {}, [], "float")

    def _function(
        self,
        name: str,
        results: list[Expr],
        spelling: Mapping[str, str],
        doc: str,
        labels: Mapping[Expr, str],
        first: list[str],
        returns: str,
        coordinate_type: str = "Tensor",
        coordinates: list[str] | None = None,
    ) -> list[str]:
        if coordinates is None:
            coordinates = [] if name == "scale" else self.coordinates
        parameters = [f"{p}: {coordinate_type}" for p in [*first, *coordinates]]
        outside = sorted(variables(*results) - set(spelling) - {"s"})
        looked_up = sorted({field.removesuffix(LEAST).removesuffix(GREATEST) for field in fields(*results)})
        taken = {*first, *coordinates, "at"}
        locals_ = {variable: unused(identifier(variable), taken) for variable in (*outside, *looked_up)}
        printer = TorchPrinter({*spelling, "s", "head"}, variables={**locals_, **spelling})
        several = max(len(self.op.query_tokens.axes), len(self.op.key_tokens.axes)) > 1
        body = Body(printer, labels, taken, result_names=("must", "may"), several_axes=several)
        body.print(results)
        loads = [f'{local} = at["{variable}"]' for variable, local in locals_.items()]
        return [
            "@staticmethod",
            *signature(name, [*parameters, "at: dict[str, Any]"], returns),
            *_indent([f'"""{doc}"""', *loads, *body.lines]),
        ]


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
