"""E5: what a spec may ask of the compiler is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class NestedTooDeeply(Problem):
    """Brackets, expressions and patterns that call patterns nest only so deep."""

    code: ClassVar[str] = "E501"
    title: ClassVar[str] = "nested deeper than {limit} levels"
    label: ClassVar[str] = "too deep"
    help: ClassVar[str] = "bind parts of the expression to names, or write the condition with fewer steps"
    limit: int


@dataclass(frozen=True)
class FileTooLarge(Problem):
    """A spec is a page of text, not data: 64 KiB are far more than any needs."""

    code: ClassVar[str] = "E502"
    title: ClassVar[str] = "{file} is larger than {limit} KiB"
    help: ClassVar[str] = "split it and import the parts with `use`"
    file: str
    limit: int


@dataclass(frozen=True)
class NumberTooLarge(Problem):
    """Integers are exact and fit 64-bit arithmetic with room to spare; real numbers are finite doubles."""

    code: ClassVar[str] = "E503"
    title: ClassVar[str] = "the number is too large"
    label: ClassVar[str] = "{limit}"
    help: ClassVar[str] = "use a smaller number"
    limit: str


@dataclass(frozen=True)
class TooManyNodes(Problem):
    """After patterns are expanded, the expressions of one attention have a bounded size.

    A pattern that calls another twice, which calls a third twice, and so on, doubles at every step.
    """

    code: ClassVar[str] = "E504"
    title: ClassVar[str] = "the expressions grow beyond {limit} operations"
    label: ClassVar[str] = "expanded here"
    help: ClassVar[str] = "patterns and names that are used several times multiply; simplify the condition"
    limit: int
