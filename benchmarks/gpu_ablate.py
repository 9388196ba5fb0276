"""Our forward kernel in other configurations, boxes and limits of registers, beside the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from gpu_cases import Case
from gpu_reference import error
from gpu_stages import Session, configuration_of, each, words_of
from gpu_timing import interleaved

CHOICES = {
    64: (
        (128, 64, 8, 3),
        (128, 64, 8, 2),
        (128, 64, 4, 2),
        (128, 128, 8, 2),
        (64, 64, 4, 3),
        (64, 128, 4, 2),
    ),
    128: (
        (128, 64, 8, 3),
        (128, 64, 8, 2),
        (128, 128, 8, 2),
        (64, 64, 4, 2),
        (64, 128, 4, 2),
        (128, 32, 8, 3),
    ),
}
"""Queries, keys, warps and stages; all compile for sm_90 (some spill or wait, and are here to show it)."""
SMALL_CHOICES = ((64, 64, 4, 1),)
TWO_BLOCKS = 128
"""Registers per thread with which two blocks of eight warps sit on a unit."""


def ablate(session: Session, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Times of variants as multiples of the time of the chosen configuration."""
    yield from each(session, cases, _ablate)


def _ablate(session: Session, case: Case) -> dict[str, Any]:
    expected = case.run(case.inputs)
    found: dict[str, Any] = {}
    for name, variant in variants(case):
        try:
            with variant(case):
                difference = error(case.run(case.inputs), expected)
            calls = {name: _within(case, variant)}
            seconds = session.seconds / 8
            times, ratios = interleaved(session.timer, lambda: case.run(case.inputs), calls, 8, seconds)
            ratio = sorted(ratios[name].seconds)[len(ratios[name].seconds) // 2]
            wrong = not difference <= 2 * case.tolerance
            found[name] = {**times[name].to_dict(), "ratio": ratio, "difference": difference, "wrong": wrong}
        except Exception as problem:  # some do not fit
            found[name] = {"failed": words_of(problem)}
    wrong = any(record.get("wrong", False) for record in found.values())
    return {
        "case": case.key,
        "chosen": configuration_of(case, backward=False),
        "variants": found,
        "wrong": wrong,
    }


Variant = Callable[[Case], Any]


def variants(case: Case) -> Iterator[tuple[str, Variant]]:
    """What is tried, by name."""
    small = case.record["size"] == "small"
    for numbers in SMALL_CHOICES if small else CHOICES[case.width]:
        queries, keys, warps, stages = numbers
        name = f"{queries}x{keys}, {warps} warps, {stages} stages"
        yield name, lambda c, numbers=numbers: configured(c, numbers)
    if len(case.shape) > 1:
        yield "most even boxes", lambda c: boxed(c, even=True)
    if small:  # in the interpreter, where registers mean nothing and rows take long
        return
    yield f"at most {TWO_BLOCKS} registers", lambda c: limited(c, TWO_BLOCKS)
    if len(case.shape) > 1:
        yield "rows of the last axis", lambda c: boxed(c, even=False)


@contextmanager
def configured(case: Case, numbers: tuple[int, int, int, int]) -> Iterator[None]:
    """Another configuration for every kernel."""
    module = case.module
    chosen = module.Configuration(*numbers)
    with patch.object(module, "configuration", lambda *_, **__: chosen):
        yield


@contextmanager
def limited(case: Case, registers: int) -> Iterator[None]:
    """Kernels compiled for so many registers."""
    original = case.module.Call.constants

    def constants(call: Any, chosen: Any) -> dict[str, Any]:
        return {**original(call, chosen), "maxnreg": registers}

    with patch.object(case.module.Call, "constants", constants):
        yield


@contextmanager
def boxed(case: Case, even: bool) -> Iterator[None]:
    """Boxes of other sides: the most even ones, or stretches of the last axis."""
    original = case.module.brick

    def brick(slots: int, axes: int, *_: Any, **__: Any) -> tuple[int, ...]:
        return original(slots, axes) if even else (*(1,) * (axes - 1), slots)

    with ExitStack() as stack:
        stack.enter_context(patch.object(case.module, "brick", brick))
        yield


def _within(case: Case, variant: Variant) -> Callable[[], object]:
    def call() -> object:
        with variant(case):
            return case.run(case.inputs)

    return call
