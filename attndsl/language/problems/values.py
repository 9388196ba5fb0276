"""E2: numbers and conditions that do not fit their place. E203 is `ir.requirement.RequirementFails`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class WrongKind(Problem):
    """An operand has the wrong kind: conditions are not numbers, and real numbers are not indices.

    `and`, `or`, `not`, `where` and `require` take conditions; `//`, `%` and indices take integers;
    arithmetic, `bias`, `score` and `scale` take numbers.

        bias = 0 if causal else -1      # a condition turned into a number
        where = label[j] != 0           # a number turned into a condition
    """

    code: ClassVar[str] = "E201"
    title: ClassVar[str] = "{place} needs {expected}, not {found}"
    label: ClassVar[str] = "this is {found}"
    help: ClassVar[str] = "{remedy}"
    place: str
    expected: str
    found: str
    remedy: str


@dataclass(frozen=True)
class DivisionByZero(Problem):
    """A divisor of `/`, `//` or `%` is zero, or is zero for some token.

    Divisors that depend on coordinates or fields must be kept away from zero: `i // max(label[i], 1)`.
    """

    code: ClassVar[str] = "E202"
    title: ClassVar[str] = "{what}"
    label: ClassVar[str] = "this is the divisor"
    help: ClassVar[str] = "keep the divisor away from zero, e.g. max(..., 1)"
    what: str = "the divisor is zero"


@dataclass(frozen=True)
class Arithmetic(Problem):
    """A constant expression has no value that the generated code could hold.

    Integers stay below 2**62 so that no 64-bit computation can overflow; real numbers stay finite.
    """

    code: ClassVar[str] = "E204"
    title: ClassVar[str] = "this expression has no usable value: {reason}"
    label: ClassVar[str] = "computed here"
    help: ClassVar[str] = "integers stay below 2**62; logarithms and roots need positive numbers"
    reason: str


@dataclass(frozen=True)
class RealInWhere(Problem):
    """Visibility is decided exactly, so `where` and what patterns require are computed in integers only.

    Write i // 2 for i / 2, and compare with integers. Real numbers belong in `bias` and `score`.
    """

    code: ClassVar[str] = "E205"
    title: ClassVar[str] = "`where` and `require` are computed in integers, but this is a real number"
    label: ClassVar[str] = "a real number"
    help: ClassVar[str] = "use // instead of /, and integer constants; reals belong in `bias` and `score`"


@dataclass(frozen=True)
class TupleIndex(Problem):
    """An index into a tuple is, or may be, outside it. Items count from 0, and not from the end.

    The index may depend on the head: `(64, 512)[head % 2]` gives every other head a larger window.
    """

    code: ClassVar[str] = "E206"
    title: ClassVar[str] = "{what} outside the tuple of {count}"
    label: ClassVar[str] = "{index}"
    help: ClassVar[str] = "{remedy}"
    what: str
    count: int
    index: str
    remedy: str


@dataclass(frozen=True)
class NotLiteral(Problem):
    """A parameter's value is given from outside the file and must be a plain value of the default's sort.

    On the command line, tuples stand in quotes:

        attndsl show gna.attn --set size=9
        attndsl show video.attn --set "size=(18,24,24)"
    """

    code: ClassVar[str] = "E207"
    title: ClassVar[str] = "`{text}` is not a value for parameter `{name}`"
    help: ClassVar[str] = "{remedy}"
    name: str
    text: str
    remedy: str = "give an integer, a real, true, false or a tuple such as (18,24,24)"


@dataclass(frozen=True)
class MayBeOutside(Problem):
    """A field is looked up at coordinates that may leave its tokens, and visibility depends on the answer.

    Clamp the coordinate to the tokens, and exclude what was clamped:

        where = i > 0 and label[max(i - 1, 0)] == label[j]
    """

    code: ClassVar[str] = "E208"
    title: ClassVar[str] = "`{field}` may be looked up outside axis {axis} of {tokens}"
    label: ClassVar[str] = "not always from 0 to {last}"
    help: ClassVar[str] = "clamp the coordinate on axis {axis}: clamp(..., 0, {last})"
    field: str
    axis: str
    tokens: str
    last: str
