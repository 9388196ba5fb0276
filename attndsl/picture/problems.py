"""What can be wrong with a request for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class UnknownFormat(Problem):
    """The ending of the file name says what is written: `.png` or `.svg`."""

    code: ClassVar[str] = "E801"
    title: ClassVar[str] = "cannot draw into `{path}`: a picture is a .png or .svg file"
    help: ClassVar[str] = "write e.g. -o mask.png or -o mask.svg"
    path: str


@dataclass(frozen=True)
class BadQuery(Problem):
    """A query is named by its coordinates, one per axis, or by its number in row-major order."""

    code: ClassVar[str] = "E802"
    title: ClassVar[str] = "--query {given}: {reason}"
    help: ClassVar[str] = "{remedy}"
    given: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class BadTile(Problem):
    """A tile has one size per axis of its token set, or a single size for stretches in row-major order."""

    code: ClassVar[str] = "E803"
    title: ClassVar[str] = "{option} {given}: {reason}"
    help: ClassVar[str] = "{remedy}"
    option: str
    given: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class BadHead(Problem):
    """Heads are numbered from 0."""

    code: ClassVar[str] = "E804"
    title: ClassVar[str] = "there is no head {head}"
    help: ClassVar[str] = "heads are 0 to {last}; --heads sets their number"
    head: int
    last: int


@dataclass(frozen=True)
class NoSuchAttend(Problem):
    """An attend is named by the value it defines."""

    code: ClassVar[str] = "E805"
    title: ClassVar[str] = "there is no attend `{name}`"
    help: ClassVar[str] = "{remedy}"
    name: str
    remedy: str


@dataclass(frozen=True)
class NothingToShow(Problem):
    """A picture shows which keys a query sees; without an attend there are none."""

    code: ClassVar[str] = "E806"
    title: ClassVar[str] = "attention {attention} has no attend, so there is no mask to show"
    help: ClassVar[str] = "return attend(q, k, v, ...)"
    attention: str


@dataclass(frozen=True)
class TooLargeToShow(Problem):
    """One query's keys are looked at one by one, so a picture has a limit that the compiler has not."""

    code: ClassVar[str] = "E807"
    title: ClassVar[str] = "{tokens} has {count} tokens; a picture shows at most {limit}"
    help: ClassVar[str] = "choose a smaller --shape"
    tokens: str
    count: str
    limit: str
