"""Prints what a user calls: one function on tensors, one module."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cached_property

from attndsl.ir.apart import heads_apart, pays_apart
from attndsl.ir.incremental import incremental, why_not_incremental
from attndsl.ir.program import Program, Value
from attndsl.ir.types import KV_HEADS
from attndsl.ir.walk import variables
from attndsl_codegen.names import TokenNames, attribute, class_name, function_name, safe
from attndsl_codegen.printers.body import signature

DOCSTRING_WIDTH = 90
"""Longer docstrings get several lines."""


@dataclass(frozen=True)
class Front:
    """The function and the module of one program."""

    program: Program
    sets: TokenNames

    def blocks(self) -> list[list[str]]:
        """Their definitions."""
        return [self._compute(), self._function(), self._module()]

    @property
    def _names(self) -> list[str]:
        return [safe(value.name) for value in self.program.inputs]

    @property
    def _weights(self) -> list[str]:
        return [safe(value.name) for value in self.program.learned]

    @cached_property
    def _decodes(self) -> bool:
        return why_not_incremental(self.program) is None

    @property
    def _options(self) -> list[str]:
        offset = ["offset: int | None = None"] if self._decodes else []
        return ["*", "grid: Grid = None", "return_lse: bool = False", *offset]

    @property
    def _passed(self) -> list[str]:
        """The options that `compute` takes."""
        return ["grid", "return_lse", *(["offset"] if self._decodes else [])]

    @property
    def _results(self) -> str:
        """The call of the program, up to its arguments."""
        apart = heads_apart(self.program) and pays_apart(self.program)
        return "by_portions(results, " if apart else "results("

    def _compute(self) -> list[str]:
        """What function and module share."""
        tensors = ", ".join(f'"{value.name}": {safe(value.name)}' for value in self.program.inputs)
        flat = ", ".join(f'flat["{value.name}"]' for value in self.program.inputs)
        parameters = [*(f"{name}: Tensor" for name in (*self._names, *self._weights))]
        simple = all(value.type.partial for value in self.program.computed)
        parameters += ["grid: Grid", "return_lse: bool", *(self._options[3:])]
        offset = ", offset" if self._decodes else ""
        lines = [
            *signature("compute", parameters, "tuple[Any, dict[str, Tensor], Any]"),
            '    """Checks the arguments; the results, the losses, the state after a step of training."""',
            f"    at, flat, is_flat = read_arguments(ARGUMENTS, {{{tensors}}}, grid{offset})",
        ]
        if not simple:
            lines.append("    flat = in_accumulation_type(flat, at)")
        weights = ""
        if self._weights:
            given = f"({', '.join(self._weights)}{',' if len(self._weights) == 1 else ''})"
            lines.append(f"    weights = [learned_tensor(t, data, at) for t, data in zip(LEARNED, {given})]")
            weights = ", *weights"
        first = safe(self.program.inputs[0].name)
        return [
            *lines,
            f"    with torch.autocast({first}.device.type, enabled=False):  # types are settled",
            f"        found, losses, state = {self._results}at, by_kernel, {flat}{weights})",
            "    return shaped(found, RESULTS, at, is_flat, return_lse), losses, state",
        ]

    def _function(self) -> list[str]:
        name = function_name(self.program.name)
        returns = "Tensor" if len(self.program.results) == 1 else "tuple[Tensor, ...]"
        parameters = [f"{n}: Tensor" for n in (*self._names, *self._weights)]
        learned = [
            f"        {safe(v.name)}: {'state' if v.op.state else 'learned'}, {v.type.shape_words}."
            for v in self.program.learned
        ]
        losses = ["return_losses: bool = False"] if self.program.losses else []
        call = ", ".join([*self._names, *self._weights, *self._passed])
        kept = "losses" if self.program.losses else "_"
        result = "(outputs, losses) if return_losses else outputs" if self.program.losses else "outputs"
        return [
            *signature(name, [*parameters, *self._options, *losses], "Any"),
            f'    """{self._what()}',
            "",
            "    Args:",
            *(f"        {safe(value.name)}: {_describe(value)}" for value in self.program.inputs),
            *learned,
            "        grid: the extents, where several token axes are passed as one and are not fixed.",
            "        return_lse: also return the natural log-sum-exp of the scores.",
            *self._offset_words(),
            *(["        return_losses: also return the auxiliary losses by name."] if losses else []),
            "",
            "    Returns:",
            f"        {returns}, or with `return_lse` a pair (output, log-sum-exp) for each.",
            "",
            "    Raises:",
            "        TypeError, ValueError: an argument has the wrong type or shape; the message names it.",
            '    """',
            f"    outputs, {kept}, _ = compute({call})",
            f"    return {result}",
        ]

    def _offset_words(self) -> list[str]:
        if not self._decodes:
            return []
        names = ", ".join(safe(name) for name in self._decoded)
        has = "has" if len(self._decoded) == 1 else "have"
        return [
            f"        offset: to decode: the position of the first query; {names} {has} the queries only.",
        ]

    @property
    def _decoded(self) -> list[str]:
        """The inputs that a decoding step passes for its queries only."""
        queries = incremental(self.program).queries
        return [value.name for value in self.program.inputs if value.name in queries]

    def _what(self) -> str:
        names = ", ".join(value.name for value in self.program.attends)
        return f"The attention `{self.program.name}` on torch tensors ({names})."

    def _module(self) -> list[str]:
        name = class_name(self.program.name)
        learned = [value.name for value in self.program.learned if not value.op.state]
        what = f"It learns {', '.join(learned)}." if learned else "It has nothing to learn."
        forward = [f"{n}: Tensor" for n in self._names]
        return [
            f"class {name}(nn.Module):",
            *_docstring(f"The attention `{self.program.name}` as a module.", what),
            "",
            *self._constructor(),
            "",
            *(f"    {line}" for line in signature("forward", ["self", *forward, *self._options], "Any")),
            f'        """See `{function_name(self.program.name)}`.{self._kept_words()}"""',
            *self._forward_body(),
            "",
            "    def extra_repr(self) -> str:",
            '        """The parameters in force."""',
            '        return ", ".join(f"{name}={value}" for name, value in PARAMETERS.items())',
        ]

    def _kept_words(self) -> str:
        return " Auxiliary losses are left in `losses`." if self.program.losses else ""

    def _forward_body(self) -> list[str]:
        weights = [f"self.{attribute(value.name)}" for value in self.program.learned]
        call = ", ".join([*self._names, *weights, *self._passed])
        losses = "self.losses" if self.program.losses else "_"
        state = "state" if self.program.updates else "_"
        lines = [f"        outputs, {losses}, {state} = compute({call})"]
        updated = [name for value in self.program.updates for name in value.op.updates]
        if updated:
            lines.append("        if self.training:")
        for name in updated:
            # A new tensor: the old one may be needed by the backward pass.
            own = f"self.{attribute(name)}"
            lines.append(f'            {own} = state["{name}"].view_as({own}).to({own}.dtype)')
        return [*lines, "        return outputs"]

    def _constructor(self) -> list[str]:
        program = self.program
        shapes = [value.type.heads for value in program.learned if value.type.heads is not None]
        grouped = any(KV_HEADS.name in variables(heads) for heads in shapes)
        parameters = ["heads: int | None = None"]
        parameters += ["kv_heads: int | None = None"] if grouped else []
        kind = "int | dict[str, int] | None" if program.learned else "int | None"
        parameters += [f"dim: {kind} = None", "device: Any = None", "dtype: Any = None"]
        lines = ["def __init__(", "    self,", *(f"    {p}," for p in parameters), ") -> None:"]
        if program.learned:
            lines += [
                '    """Args:',
                "    heads: how many query heads there are, where the inputs have heads.",
                *(["    kv_heads: how many key/value heads; as many by default."] if grouped else []),
                "    dim: the width of the inputs, or one per input by name.",
                '    """',
            ]
        lines.append("    super().__init__()")
        if program.losses:
            lines.append("    self.losses: dict[str, Tensor] = {}")
        if program.learned:
            widths = tuple(value.name for value in program.inputs if value.type.width is not None)
            names = repr(widths).replace("'", '"')
            kv = "kv_heads" if grouped else "None"
            own = ", ".join(attribute_pair(value, at) for at, value in enumerate(program.learned))
            lines += [
                f"    sizes = module_sizes({names}, heads, {kv}, dim)",
                f"    add_parameters(self, {{{own}}}, sizes, device, dtype)",
            ]
        return [f"    {line}" if line else "" for line in lines]


def _docstring(first: str, second: str) -> list[str]:
    """A docstring of two sentences, on one line if they fit."""
    if len(first) + len(second) <= DOCSTRING_WIDTH:
        return [f'    """{first} {second}"""']
    return [
        f'    """{first}',
        "",
        *textwrap.wrap(second, DOCSTRING_WIDTH, initial_indent="    ", subsequent_indent="    "),
        '    """',
    ]


def attribute_pair(value: Value, at: int) -> str:
    """The attribute of a learned tensor, with its declaration."""
    return f'"{attribute(value.name)}": LEARNED[{at}]'


def _describe(value: Value) -> str:
    kind = {"real": "", "int": ", integers", "bool": ", booleans"}[value.type.kind]
    grouped = "; kv heads divide the query heads" if value.type.heads is KV_HEADS else ""
    return f"{value.type.shape_words}{kind}{grouped}."
