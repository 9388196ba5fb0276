"""Sizes for a program: from `--shape`, checked against its requirements, or found by searching small ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import ClassVar

from attndsl.diagnostics import AttnError, Diagnostic, Note, fail
from attndsl.ir.index import Apply, ArithmeticProblem, Const, Expr, Var
from attndsl.ir.namespaces import EXACT
from attndsl.ir.problem import Problem
from attndsl.ir.program import Program
from attndsl.ir.tokens import MAX_EXTENT, BadExtent, TokenSet
from attndsl.ir.walk import evaluate, variables
from attndsl.planning.problems import BadShape

Sizes = dict[str, int]


EXAMPLE_HEADS, EXAMPLE_WIDTH = 4, 64
"""Where nothing is said about heads and widths."""


def completed(program: Program, sizes: Mapping[str, int]) -> Sizes:
    """Sizes with heads and widths for what has no value yet: sets of channels are as large as these."""
    heads = sizes.get("heads", EXAMPLE_HEADS)
    widths = {
        f"{value.name}.width": EXAMPLE_WIDTH for value in program.inputs if value.type.width is not None
    }
    return {**widths, "heads": heads, "kv heads": heads, **sizes}


def read_shape(program: Program, given: Sequence[str]) -> Sizes:
    """Symbols from options such as `x=30x48x80` or `n=4096`.

    Raises:
        AttnError: the text is malformed, or does not fit the token sets.
    """
    sizes: Sizes = {}
    derived: list[tuple[str, TokenSet, tuple[int, ...]]] = []
    for text in (part for option in given for part in option.split(",")):
        name, equals, values = text.partition("=")
        name = name.strip()
        if not equals or not re.fullmatch(r"\s*[0-9]{1,13}(\s*x\s*[0-9]{1,13})*\s*", values):
            raise fail(BadShape(text, "it is not of the form name=extent", "write n=4096 or x=30x48x80"))
        extents = [int(value) for value in values.split("x")]
        derived += [(text, tokens, tuple(extents)) for tokens in program.token_sets if tokens.name == name]
        for symbol, extent in _assigned(program, text, name, extents):
            if not 1 <= extent <= MAX_EXTENT:
                raise fail(BadExtent("the shape", symbol, str(extent)))
            if sizes.setdefault(symbol, extent) != extent:
                raise fail(BadShape(text, f"{symbol} is {sizes[symbol]} already", "give each extent once"))
    missing = [symbol for symbol in program.symbols if symbol not in sizes]
    if missing:
        raise fail(BadShape(",".join(given), f"no extent for {', '.join(missing)}", _example(program)))
    for text, tokens, stated in derived:
        if tokens.extents(sizes) != stated:
            actual = "x".join(map(str, tokens.extents(sizes)))
            raise fail(
                BadShape(text, f"{tokens} has {actual} tokens then", "leave out what follows from the rest")
            )
    return sizes


def _assigned(program: Program, text: str, name: str, extents: list[int]) -> Iterator[tuple[str, int]]:
    """Symbols and extents that `name=...` gives; fixed axes must agree."""
    for tokens in program.token_sets:
        if tokens.name == name:
            if len(extents) != len(tokens.axes):
                raise fail(BadShape(text, f"{tokens} has {len(tokens.axes)} axes", _example(program)))
            for axis, extent in zip(tokens.axes, extents):
                match axis.extent:
                    case Var(symbol):
                        yield symbol, extent
                    case Const(fixed) if fixed != extent:
                        reason = f"axis {axis.name} has {fixed} tokens in the spec"
                        raise fail(BadShape(text, reason, f"change `{axis.name} = {fixed}` in the spec"))
            return
    if name in program.symbols:
        if len(extents) > 1:
            raise fail(BadShape(text, f"{name} is one extent", f"write {name}={extents[0]}"))
        yield name, extents[0]
        return
    known = [*(tokens.name for tokens in program.token_sets), *program.symbols]
    raise fail(BadShape(text, f"there is no token set or extent `{name}`", f"known: {', '.join(known)}"))


def _example(program: Program) -> str:
    parts: list[str] = []
    for tokens in program.token_sets:
        extents = [axis.extent for axis in tokens.axes]
        if tokens.symbols and all(isinstance(extent, Var | Const) for extent in extents):
            shown = (
                "64" if isinstance(extent, Var) else str(evaluate(extent, {}, EXACT)) for extent in extents
            )
            parts.append(f"{tokens.name}={'x'.join(shown)}")
    if not parts:
        return "all extents are fixed in the spec"
    return f"write e.g. --shape {' --shape '.join(parts)}"


def check_sizes(program: Program, sizes: Mapping[str, int]) -> None:
    """Checks derived extents and every requirement.

    Raises:
        AttnError: with all that fail, each pointing at the call that requires it.
    """
    failures = [*_bad_extents(program, sizes), *_failed_requirements(program, sizes)]
    if failures:
        raise AttnError(failures, dict(program.sources))


def _bad_extents(program: Program, sizes: Mapping[str, int]) -> Iterator[Diagnostic]:
    for tokens in program.token_sets:
        try:
            extents = tokens.extents(sizes)
        except (ArithmeticError, ArithmeticProblem):
            yield Diagnostic(BadExtent(tokens.name, tokens.axis_names[0], "an undefined number of"))
            continue
        for axis, extent in zip(tokens.axes, extents):
            if not 1 <= extent <= MAX_EXTENT:
                yield Diagnostic(BadExtent(tokens.name, axis.name, str(extent)))


def _failed_requirements(program: Program, sizes: Mapping[str, int]) -> Iterator[Diagnostic]:
    for requirement in program.requirements:
        problem: Problem | None = requirement.failure(sizes)
        if problem is not None:
            note = Note("required here", requirement.declared)
            yield Diagnostic(
                problem, requirement.span, (note,) if requirement.declared != requirement.span else ()
            )


class SizeSearch:
    """Finds sizes at which a program is defined, close to a target.

    Args:
        program: the program.
        heads: the number of heads to assume.
    """

    limit: ClassVar[int] = 4096
    """Combinations tried."""
    pairwise: ClassVar[int] = 100
    """Extents stay below this where a requirement speaks of a query and a key: every pair is looked at."""

    def __init__(self, program: Program, heads: int = 1) -> None:
        self._program = program
        self._heads = heads

    def near(self, target: int, spread: int = 0) -> Sizes | None:
        """Sizes whose extents are close to `target`; with `spread`, later symbols differ by so much."""
        symbols = self._program.symbols
        choices = [
            self._candidates(symbol, max(1, target - at * spread)) for at, symbol in enumerate(symbols)
        ]
        for values in islice(product(*choices), self.limit):
            sizes = dict(zip(symbols, values))
            if self._defined(sizes):
                return sizes
        return None

    def _candidates(self, symbol: str, target: int) -> list[int]:
        """Extents for one symbol that satisfy what is required of it alone, nearest first."""
        alone = [r for r in self._program.requirements if _names(r) == {symbol}]
        extents = (axis.extent for tokens in self._program.token_sets for axis in tokens.axes)
        derived = [extent for extent in extents if variables(extent) == {symbol}]
        every_pair = any(len(r.coordinates) > 1 for r in alone)
        most = self.pairwise if every_pair else max(4 * target, 160)
        most = min([most, *(limit for r in alone for limit in _limits(r.condition, symbol))])
        fitting = (
            value
            for value in _nearest(target, most)
            if all(r.holds({symbol: value, "heads": self._heads}) for r in alone)
            and all(evaluate(extent, {symbol: value}, EXACT) >= 1 for extent in derived)
        )
        return list(islice(fitting, 12))

    def _defined(self, sizes: Sizes) -> bool:
        try:
            check_sizes(self._program, {**sizes, "heads": self._heads})
        except AttnError:
            return False
        return True


def _limits(condition: Expr, symbol: str) -> Iterator[int]:
    """What a symbol must stay below, where the condition says no more than that."""
    match condition:
        case Apply("<=", (Var(name), Const(int() as greatest))) if name == symbol:
            yield greatest + 1


def _nearest(target: int, most: int) -> Iterator[int]:
    """The numbers from 1 to `most - 1`, those next to the target first, of two equally near the smaller."""
    for distance in range(max(0, target - most), most + target):
        for value in dict.fromkeys((target - distance, target + distance)):
            if 1 <= value < most:
                yield value


def _names(requirement: object) -> set[str]:
    from attndsl.ir.requirement import Requirement

    assert isinstance(requirement, Requirement)
    extents = [extent for _, extent in requirement.coordinates]
    return variables(requirement.condition, *extents) - {name for name, _ in requirement.coordinates}
