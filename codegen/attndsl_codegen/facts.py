"""What is known about a program when it is compiled, as values of expressions that the kernels spell out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attndsl.ir.incremental import why_not_incremental
from attndsl.ir.program import Program
from attndsl.ir.tokens import SINGLE
from attndsl_codegen.folding.known import SOMETHING, Values
from attndsl_codegen.hooks import HookPrinter
from attndsl_codegen.seen import Seen

UNORDERED: dict[str, list[Any]] = {
    "candidates.ordered": [False],
    "orders": [None],
    "ORDERED": [None],
    "schedule.order": [None],
    "run.token_orders": [None],
    "run.rounds": [(None,)],
}
"""Where no tokens go by labels."""


def facts(program: Program, hooks: Iterable[HookPrinter]) -> dict[str, Values]:
    """The facts: possible values by expression."""
    found = {**_arguments(program), **_results(program)}
    attends = list(hooks)
    if attends:
        found |= {name: _distinct(values) for name, values in _mechanisms(program, attends).items()}
    if why_not_incremental(program) is not None:
        found |= {'"queries" in at': (False,), '"offset" in at': (False,), 'at.get("offset", 0)': (0,)}
    return found


def _distinct(values: Iterable[Any]) -> Values:
    return tuple(dict.fromkeys(values))


def _present(value: Any) -> Any:
    return None if value is None else SOMETHING


def _mechanisms(program: Program, attends: list[HookPrinter]) -> Mapping[str, list[Any]]:
    """What the hooks of attends have in common."""
    known: dict[str, list[Any]] = {
        "mechanism.score": [_present(hook.op.score) for hook in attends],
        "mechanism.bias": [_present(hook.op.bias) for hook in attends],
        "mechanism.separable_bias": [hook.op.separable_bias for hook in attends],
        "mechanism.bias_by_distance": [hook.op.bias_by_distance for hook in attends],
        "mechanism.times": [_present(hook.op.times) for hook in attends],
        "mechanism.decay": [_present(hook.op.decay) for hook in attends],
        "mechanism.normalize": [hook.op.normalize for hook in attends],
        "mechanism.mask_fields": [hook.mask_fields for hook in attends],
        "mechanism.real_fields": [hook.real_fields for hook in attends],
        "isinstance(v, Tensor)": [hook.op.kernel != "paired" for hook in attends],
    }
    if not any(known["mechanism.real_fields"]):
        known["real_fields"] = [()]
    if all(hook.op.q and hook.op.k for hook in attends):
        known |= {"q is None": [False], "k is None": [False]}
    planned = [hook for hook in attends if hook.has_bounds]
    if planned:
        known |= {
            "mechanism.backward_query_tile": [
                _present(hook.tiles and hook.tiles.backward_query) for hook in planned
            ],
            "mechanism.query_steps": [hook.steps[0] for hook in planned],
            "mechanism.key_steps": [hook.steps[1] for hook in planned],
            "mechanism.tile_origin": [hook.tiles.origin if hook.tiles else () for hook in planned],
            "mechanism.same_labels": [_present(hook.same_labels) for hook in planned],
            "mechanism.varies_by_batch": [bool(hook.mask_fields) for hook in planned],
            "mechanism.varies_by_head": [hook.varies_by_head for hook in planned],
        }
    if all(hook.op.normalize != "linear" for hook in attends if hook.op.contracts):
        known["SUMS"] = [False]
    return {**known, **_on_gpu([hook for hook in attends if hook.on_gpu])}


def _on_gpu(attends: list[HookPrinter]) -> dict[str, list[Any]]:
    """What Triton kernels are compiled for."""
    if not attends:
        return {}
    axes = [(len(hook.op.query_tokens.axes), len(hook.op.key_tokens.axes)) for hook in attends]
    roles = [hook.triton.roles for hook in attends]
    boxes = [_present((hook.triton.boxes and hook.triton.boxes.query) or None) for hook in attends]
    slopes = [
        _present(role.get(lookup.slope_role))
        for hook, role in zip(attends, roles)
        for lookup in hook.triton.lookups
    ]
    return {
        "SHAPE": [_present(role.get("shape")) for role in roles],
        "TIMES": [_present(role.get("times")) for role in roles],
        "NORMALIZE": [hook.op.normalize for hook in attends],
        "SLOPE": [_present(role.get("slope")) for role in roles] + slopes,
        "OF_FACTOR": [lookup.of_factor for hook in attends for lookup in hook.triton.lookups],
        "QUERY_STEP": [hook.steps[0] or None for hook in attends],
        "KEY_STEP": [hook.steps[1] or None for hook in attends],
        "STEPS": [steps or None for hook in attends for steps in hook.steps],
        "gpu.query_boxes": boxes,
        "gpu.key_boxes": boxes,
        **_seen([hook.triton.seen for hook in attends]),
        "len(TILE)": sorted({count for pair in axes for count in pair}),
        **({} if any(hook.same_labels for hook in attends) else UNORDERED),
    }


def _seen(attends: list[tuple[Seen, Seen] | None]) -> dict[str, list[Any]]:
    """Whether tiles see ranges, or what schedules say."""
    ranges = [_present(seen) for seen in attends]
    last_first = [side.last_first for seen in attends for side in seen or ()]
    return {
        "gpu.keys_seen": ranges,
        "SEEN": ranges,
        "LAST_FIRST": last_first or [False],
        **({} if None in ranges else {"run.tables": [None], "visits": [None]}),
        **({} if any(ranges) else {"gpu.last_first": [(False, False)]}),
    }


def _arguments(program: Program) -> dict[str, Values]:
    """What the inputs and the learned tensors have in common."""
    inputs, learned = [v.type for v in program.inputs], program.learned
    found: dict[str, Values] = {
        "argument.kind": _distinct(type_.kind for type_ in inputs),
        "argument.heads": _distinct(_present(type_.heads) for type_ in inputs),
        "argument.width": _distinct(type_.width is not None for type_ in inputs),
        "len(argument.tokens.axes)": _distinct(len(type_.tokens.axes) for type_ in inputs),
    }
    if learned:
        found |= {
            "learned.heads": _distinct(value.type.heads is not None for value in learned),
            "learned.width": _distinct(value.type.width is not None for value in learned),
        }
    return found


def _results(program: Program) -> dict[str, Values]:
    types = [program.value(name).type for name in program.results]
    return {
        "result.heads": _distinct(type_.heads is not None for type_ in types),
        "result.width": _distinct(type_.width is not None for type_ in types),
        "result.single": _distinct(type_.tokens == SINGLE for type_ in types),
        "len(result.tokens.axes)": _distinct(len(type_.tokens.axes) for type_ in types),
    }
