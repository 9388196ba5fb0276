"""E4: names, declarations and calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class UnknownName(Problem):
    """A name that nothing declares before this place.

    A pattern sees its parameters, `i`, `j`, `extent`, `head`, `heads`, and other patterns; it does not see
    the names of the attention that calls it. Pass them as arguments.
    """

    code: ClassVar[str] = "E401"
    title: ClassVar[str] = "unknown {what} `{name}`"
    label: ClassVar[str] = "not declared"
    help: ClassVar[str] = "{remedy}"
    what: str
    name: str
    remedy: str


@dataclass(frozen=True)
class Redeclared(Problem):
    """Two declarations of one name. A name is bound once and keeps its meaning.

    A pattern of the same name as one of the library is no clash: it is used instead.
    """

    code: ClassVar[str] = "E402"
    title: ClassVar[str] = "`{name}` is declared twice"
    label: ClassVar[str] = "{again}"
    help: ClassVar[str] = "{remedy}"
    name: str
    again: str = "declared again here"
    remedy: str = "choose another name"


@dataclass(frozen=True)
class Reserved(Problem):
    """The query `i`, the key `j`, the score `s`, `head`, `heads`, `extent` and the axes have one meaning
    everywhere and cannot be bound to something else. A pattern is called, and so cannot have the name of an
    operator or a function.

    `i`, `j` and `extent` are parameters of every pattern already: a call may set them, `causal(j = j + 1)`.
    """

    code: ClassVar[str] = "E403"
    title: ClassVar[str] = "`{name}` cannot be rebound"
    label: ClassVar[str] = "reserved: {meaning}"
    help: ClassVar[str] = "{remedy}"
    name: str
    meaning: str
    remedy: str = "choose another name"


@dataclass(frozen=True)
class UnknownArgument(Problem):
    """A named argument, or a parameter set from outside, that is not declared.

    Patterns take their own parameters and `i`, `j` and `extent`; LANGUAGE.md lists those of the operators.
    """

    code: ClassVar[str] = "E404"
    title: ClassVar[str] = "{callee} has no parameter `{name}`"
    label: ClassVar[str] = "no such parameter"
    help: ClassVar[str] = "{remedy}"
    callee: str
    name: str
    remedy: str


@dataclass(frozen=True)
class MissingArgument(Problem):
    """A parameter without a default got no value.

    Give one in the call, or a default where the pattern or attention is defined:

        pattern near(radius) = abs(i - j) <= radius       # near needs a radius: near(3)
        pattern near(radius = 3) = abs(i - j) <= radius   # near alone will do
    """

    code: ClassVar[str] = "E405"
    title: ClassVar[str] = "{callee} needs a value for `{name}`"
    label: ClassVar[str] = "missing {name}"
    help: ClassVar[str] = "{remedy}"
    callee: str
    name: str
    remedy: str


@dataclass(frozen=True)
class TooManyArguments(Problem):
    """More arguments than parameters. Arguments of attend behind q, k and v are named."""

    code: ClassVar[str] = "E406"
    title: ClassVar[str] = "{callee} takes {expected}, not {given}"
    label: ClassVar[str] = "one too many"
    help: ClassVar[str] = "{remedy}"
    callee: str
    expected: str
    given: int
    remedy: str


@dataclass(frozen=True)
class NotCallable(Problem):
    """Only patterns, operators and functions are called; items of tuples and fields take [ ]."""

    code: ClassVar[str] = "E407"
    title: ClassVar[str] = "`{name}` cannot be called"
    label: ClassVar[str] = "this is {found}"
    help: ClassVar[str] = "{remedy}"
    name: str
    found: str
    remedy: str


@dataclass(frozen=True)
class NoReturn(Problem):
    """An attention ends with `return` and at least one tensor."""

    code: ClassVar[str] = "E408"
    title: ClassVar[str] = "attention `{name}` returns nothing"
    label: ClassVar[str] = "no return statement"
    help: ClassVar[str] = "end it with: return attend(q, k, v, where = ...)"
    name: str


@dataclass(frozen=True)
class NoValue(Problem):
    """A pattern's body ends with its value: a condition on the query `i` and the key `j`.

    It is the last line, without a name and without `return`:

        pattern near(radius) {
          distance = abs(i - j)
          distance <= radius
        }
    """

    code: ClassVar[str] = "E409"
    title: ClassVar[str] = "pattern `{name}` has no value"
    label: ClassVar[str] = "the body does not end with a condition"
    help: ClassVar[str] = "let the last line be the condition, e.g. first <= j and j < first + size"
    name: str


@dataclass(frozen=True)
class Misplaced(Problem):
    """A statement or call in a place that has no use for it.

    Patterns consist of `require`, `name = expression` and a final condition. In an attention, every
    expression is bound to a name or returned, and `return` comes last.
    """

    code: ClassVar[str] = "E410"
    title: ClassVar[str] = "{what} does not belong {where}"
    label: ClassVar[str] = "misplaced"
    help: ClassVar[str] = "{remedy}"
    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class BadModifier(Problem):
    """Tensors have heads and a width unless a modifier says otherwise.

    input q, k, v : x             # (batch, heads, *tokens, width)
    input y       : x flat        # no heads
    input gate    : x scalar      # no width; `scalar flat` has neither
    input label   : x int         # integers, no width, no heads; bool likewise
    learn memory  : r             # (heads, *tokens, width), the width of the first input
    learn table   : [13] scalar   # per head; `scalar shared` is one for all heads
    """

    code: ClassVar[str] = "E411"
    title: ClassVar[str] = "{what}"
    label: ClassVar[str] = "not understood"
    help: ClassVar[str] = "{remedy}"
    what: str
    remedy: str


@dataclass(frozen=True)
class WhichAttention(Problem):
    """A file with several attentions needs to be told which one is meant, and one of that name must exist."""

    code: ClassVar[str] = "E412"
    title: ClassVar[str] = "{file} {what}"
    help: ClassVar[str] = "{remedy}"
    file: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Recursive(Problem):
    """A pattern calls itself, directly or through others. Patterns are expanded where they are called, so
    the expansion would never end. Powers and remainders have closed forms: `ispow2(i - j)`, `i % 8`.
    """

    code: ClassVar[str] = "E413"
    title: ClassVar[str] = "pattern `{name}` calls itself"
    label: ClassVar[str] = "this call never ends"
    help: ClassVar[str] = "write the condition in closed form, e.g. with ispow2 or %"
    name: str


@dataclass(frozen=True)
class RepeatedArgument(Problem):
    """One parameter was given twice, by position and by name or twice by name."""

    code: ClassVar[str] = "E414"
    title: ClassVar[str] = "`{name}` is given twice"
    label: ClassVar[str] = "given again here"
    help: ClassVar[str] = "remove one of them"
    name: str


@dataclass(frozen=True)
class BadName(Problem):
    """Names appear in the generated code, so they are short and do not begin with two underscores."""

    code: ClassVar[str] = "E415"
    title: ClassVar[str] = "`{name}` cannot be used as a name"
    label: ClassVar[str] = "{reason}"
    help: ClassVar[str] = "choose a name that begins with a letter and has at most {longest} characters"
    name: str
    reason: str
    longest: int
