"""Everything that can be wrong with a spec: one frozen class per kind, its words beside its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem

CHARACTER_HELP = {
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`; for inequality `!=`",
    "~": "write `not`",
    "@": "a dot product is part of attend; use `score` or `bias` to change it",
    "'": "file names stand in double quotes",
    '"': "a string ends on its line; only `use` takes one",
    "^": "a power is written `**`",
}
WORD_HELP = {
    "for": "there are no loops: a pattern is evaluated for every query i and key j",
    "while": "there are no loops: a pattern is evaluated for every query i and key j",
    "lambda": "name the predicate: pattern name(parameters) = ...",
    "def": "a predicate is defined with: pattern name(parameters) = ...",
    "class": "an attention is defined with: attention name { ... }",
    "import": 'patterns of another file are imported with: use "other.attn"',
    "let": "a name is bound with: name = expression",
    "elif": "write: a if c else b",
    "learn": "learned parameters are not part of this version; pass the tensor as an input",
    "loss": "auxiliary losses are not part of this version",
    "tune": "tunable parameters are not part of this version",
}


# --- E1: syntax ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnexpectedToken(Problem):
    """Something stands where the grammar has no place for it. The label lists what could stand there.

    A statement ends at the end of its line, except inside ( ) and [ ] and after an operator; several
    statements on one line are separated by `;`.
    """

    code: ClassVar[str] = "E101"
    title: ClassVar[str] = "unexpected {found}"
    label: ClassVar[str] = "expected {expected}"
    found: str
    expected: str


@dataclass(frozen=True)
class UnexpectedCharacter(Problem):
    """A character that means nothing in the language."""

    code: ClassVar[str] = "E102"
    title: ClassVar[str] = "unexpected character `{char}`"
    label: ClassVar[str] = "not part of the language"
    help: ClassVar[str] = "remove it; comments start with #"
    char: str


@dataclass(frozen=True)
class Unclosed(Problem):
    """A bracket is opened and not closed by its own kind."""

    code: ClassVar[str] = "E103"
    title: ClassVar[str] = "`{opened}` is never closed"
    label: ClassVar[str] = "opened here"
    help: ClassVar[str] = "add the matching `{closed}`"
    opened: str
    closed: str


@dataclass(frozen=True)
class UnexpectedEnd(Problem):
    """The file ends in the middle of something."""

    code: ClassVar[str] = "E104"
    title: ClassVar[str] = "the file ends too early"
    label: ClassVar[str] = "expected {expected}"
    expected: str


@dataclass(frozen=True)
class InvisibleCharacter(Problem):
    """Control, bidirectional and other invisible characters can make code read differently than it runs."""

    code: ClassVar[str] = "E105"
    title: ClassVar[str] = "invisible character {name}"
    label: ClassVar[str] = "here"
    help: ClassVar[str] = "remove it; specs contain visible characters, spaces, tabs and newlines only"
    name: str


@dataclass(frozen=True)
class ForeignOperator(Problem):
    """An operator of another language."""

    code: ClassVar[str] = "E106"
    title: ClassVar[str] = "`{char}` is not an operator here"
    label: ClassVar[str] = "unknown operator"
    help: ClassVar[str] = "{remedy}"
    char: str
    remedy: str


@dataclass(frozen=True)
class ForeignWord(Problem):
    """A keyword of another language, or of a later version of this one."""

    code: ClassVar[str] = "E107"
    title: ClassVar[str] = "`{word}` is not a keyword here"
    label: ClassVar[str] = "not understood"
    help: ClassVar[str] = "{remedy}"
    word: str
    remedy: str


# --- E2: values ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class WrongKind(Problem):
    """An operand has the wrong kind: conditions are not numbers, reals are not indices.

    `and`, `or`, `not` and `where` take conditions; `//` and `%` and indices take integers.
    """

    code: ClassVar[str] = "E201"
    title: ClassVar[str] = "{place} takes {expected}, not {found}"
    label: ClassVar[str] = "this is {found}"
    help: ClassVar[str] = "{remedy}"
    place: str
    expected: str
    found: str
    remedy: str


@dataclass(frozen=True)
class DivisionByZero(Problem):
    """A divisor is zero, or can be at the given sizes."""

    code: ClassVar[str] = "E202"
    title: ClassVar[str] = "the divisor is zero"
    label: ClassVar[str] = "divides by zero"
    help: ClassVar[str] = "keep the divisor above zero, e.g. max(divisor, 1)"


@dataclass(frozen=True)
class Arithmetic(Problem):
    """A constant expression has no value that 64 bits hold exactly."""

    code: ClassVar[str] = "E204"
    title: ClassVar[str] = "this expression has no usable value: {reason}"
    label: ClassVar[str] = "computed here"
    help: ClassVar[str] = "integers stay below 2**62; logarithms and roots need positive numbers"
    reason: str


@dataclass(frozen=True)
class RealInWhere(Problem):
    """Visibility is decided exactly, so `where` and coordinates are computed in integers only."""

    code: ClassVar[str] = "E205"
    title: ClassVar[str] = "`where` is computed in integers, but this is a real number"
    label: ClassVar[str] = "a real number"
    help: ClassVar[str] = "use // instead of /, and integer constants; reals belong in `bias` and `score`"


@dataclass(frozen=True)
class TupleIndex(Problem):
    """An index into a tuple is, or may be, outside it."""

    code: ClassVar[str] = "E206"
    title: ClassVar[str] = "the index may be outside the tuple of {count}"
    label: ClassVar[str] = "index {span}"
    help: ClassVar[str] = "use an index from 0 to {last}, e.g. with % {count}"
    count: int
    span: str
    last: int


@dataclass(frozen=True)
class NotLiteral(Problem):
    """A parameter's value is given outside the file and must be a plain value."""

    code: ClassVar[str] = "E207"
    title: ClassVar[str] = "`{text}` is not a value for parameter {name}"
    help: ClassVar[str] = "give an integer, a real, true, false or a tuple such as (18,24,24)"
    name: str
    text: str


@dataclass(frozen=True)
class MayBeOutside(Problem):
    """A field is looked up at coordinates that may leave its tokens where `where` needs the answer."""

    code: ClassVar[str] = "E208"
    title: ClassVar[str] = "`{field}` may be looked up outside axis {axis}"
    label: ClassVar[str] = "from {lo} to {hi}, but the axis has {extent} tokens"
    help: ClassVar[str] = "clamp the coordinate: clamp(..., 0, extent - 1)"
    field: str
    axis: str
    lo: int
    hi: int
    extent: int


# --- E3: tokens and types -----------------------------------------------------------------------


@dataclass(frozen=True)
class BareOnGrid(Problem):
    """A one-dimensional pattern was applied to a set with several axes. Nothing is flattened silently.

    Apply it along an axis, `h: pattern(...)`, and combine axes with `and`; or use coordinates, `i.h`.
    """

    code: ClassVar[str] = "E301"
    title: ClassVar[str] = "{what} needs one axis, but {tokens} has {count}"
    label: ClassVar[str] = "which axis?"
    help: ClassVar[str] = "{remedy}"
    what: str
    tokens: str
    count: int
    remedy: str


@dataclass(frozen=True)
class AcrossSets(Problem):
    """A pattern compares a query position with a key position, but they number different tokens.

    Give the coordinates explicitly, e.g. `causal(j = j * 4 + 3)` for keys that each pool four tokens.
    """

    code: ClassVar[str] = "E302"
    title: ClassVar[str] = "`{pattern}` compares queries on {query} with keys on {key}"
    label: ClassVar[str] = "different token sets"
    help: ClassVar[str] = "say where a key lies among the queries: {pattern}(..., j = ...)"
    pattern: str
    query: str
    key: str


@dataclass(frozen=True)
class NoSuchAxis(Problem):
    """A coordinate, extent or lift names an axis that the token set does not have."""

    code: ClassVar[str] = "E303"
    title: ClassVar[str] = "{tokens} has no axis `{axis}`"
    label: ClassVar[str] = "no such axis"
    help: ClassVar[str] = "{remedy}"
    tokens: str
    axis: str
    remedy: str


@dataclass(frozen=True)
class WrongValue(Problem):
    """A value of one sort was used where another is needed, e.g. a tensor in arithmetic."""

    code: ClassVar[str] = "E304"
    title: ClassVar[str] = "{place} needs {expected}, not {found}"
    label: ClassVar[str] = "this is {found}"
    help: ClassVar[str] = "{remedy}"
    place: str
    expected: str
    found: str
    remedy: str


@dataclass(frozen=True)
class FieldCoordinates(Problem):
    """A field takes one coordinate per axis of its tokens, or a whole position `i` or `j`."""

    code: ClassVar[str] = "E307"
    title: ClassVar[str] = "`{field}` lies on {tokens} and takes {expected} coordinates, not {given}"
    label: ClassVar[str] = "{given} given"
    help: ClassVar[str] = "write {example}"
    field: str
    tokens: str
    expected: int
    given: int
    example: str


@dataclass(frozen=True)
class NoPair(Problem):
    """`i`, `j`, `head` and `s` exist where pairs of a query and a key are considered: inside attend."""

    code: ClassVar[str] = "E308"
    title: ClassVar[str] = "`{name}` has no meaning here"
    label: ClassVar[str] = "there is no {what} at this point"
    help: ClassVar[str] = "{remedy}"
    name: str
    what: str
    remedy: str


@dataclass(frozen=True)
class WrongSet(Problem):
    """A field is looked up at the position of a token that lives on another set."""

    code: ClassVar[str] = "E309"
    title: ClassVar[str] = "`{field}` lies on {tokens}, but `{position}` is a position on {other}"
    label: ClassVar[str] = "a position on {other}"
    help: ClassVar[str] = "give the coordinates on {tokens} explicitly: {field}[...]"
    field: str
    tokens: str
    position: str
    other: str


# --- E4: names and calls ------------------------------------------------------------------------


@dataclass(frozen=True)
class UnknownName(Problem):
    """A name that nothing declares."""

    code: ClassVar[str] = "E401"
    title: ClassVar[str] = "unknown {what} `{name}`"
    label: ClassVar[str] = "not declared"
    help: ClassVar[str] = "{remedy}"
    what: str
    name: str
    remedy: str


@dataclass(frozen=True)
class Redeclared(Problem):
    """Two declarations of one name. Names are bound once, so that a spec reads in any order."""

    code: ClassVar[str] = "E402"
    title: ClassVar[str] = "`{name}` is declared twice"
    label: ClassVar[str] = "declared again here"
    help: ClassVar[str] = "choose another name"
    name: str


@dataclass(frozen=True)
class Reserved(Problem):
    """The names of the query, key, score, heads and extent have one meaning everywhere."""

    code: ClassVar[str] = "E403"
    title: ClassVar[str] = "`{name}` cannot be rebound"
    label: ClassVar[str] = "reserved: {meaning}"
    help: ClassVar[str] = "choose another name"
    name: str
    meaning: str


@dataclass(frozen=True)
class UnknownArgument(Problem):
    """A named argument, or a parameter set from outside, that is not declared."""

    code: ClassVar[str] = "E404"
    title: ClassVar[str] = "{callee} has no parameter `{name}`"
    label: ClassVar[str] = "no such parameter"
    help: ClassVar[str] = "{remedy}"
    callee: str
    name: str
    remedy: str


@dataclass(frozen=True)
class MissingArgument(Problem):
    """A parameter without a default got no value."""

    code: ClassVar[str] = "E405"
    title: ClassVar[str] = "{callee} needs a value for `{name}`"
    label: ClassVar[str] = "missing {name}"
    help: ClassVar[str] = "{remedy}"
    callee: str
    name: str
    remedy: str


@dataclass(frozen=True)
class TooManyArguments(Problem):
    """More positional arguments than parameters."""

    code: ClassVar[str] = "E406"
    title: ClassVar[str] = "{callee} takes {expected} positional argument(s), not {given}"
    label: ClassVar[str] = "one too many"
    help: ClassVar[str] = "its parameters are: {parameters}"
    callee: str
    expected: int
    given: int
    parameters: str


@dataclass(frozen=True)
class NotCallable(Problem):
    """Only patterns, operators and functions are called."""

    code: ClassVar[str] = "E407"
    title: ClassVar[str] = "`{name}` cannot be called"
    label: ClassVar[str] = "this is {found}"
    help: ClassVar[str] = "{remedy}"
    name: str
    found: str
    remedy: str


@dataclass(frozen=True)
class NoReturn(Problem):
    """An attention returns at least one tensor."""

    code: ClassVar[str] = "E408"
    title: ClassVar[str] = "attention `{name}` returns nothing"
    label: ClassVar[str] = "no return statement"
    help: ClassVar[str] = "end it with: return attend(q, k, v, where = ...)"
    name: str


@dataclass(frozen=True)
class NoValue(Problem):
    """A pattern's body ends with an expression: its value."""

    code: ClassVar[str] = "E409"
    title: ClassVar[str] = "pattern `{name}` has no value"
    label: ClassVar[str] = "the body does not end with a condition"
    help: ClassVar[str] = "let the last line be the condition, e.g. first <= j and j < first + size"
    name: str


@dataclass(frozen=True)
class Misplaced(Problem):
    """A statement in a body that has no use for it."""

    code: ClassVar[str] = "E410"
    title: ClassVar[str] = "{what} does not belong {where}"
    label: ClassVar[str] = "misplaced"
    help: ClassVar[str] = "{remedy}"
    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class UnknownModifier(Problem):
    """Inputs are features with heads and a width unless a modifier says otherwise."""

    code: ClassVar[str] = "E411"
    title: ClassVar[str] = "unknown modifier `{name}`"
    label: ClassVar[str] = "not understood"
    help: ClassVar[str] = "{remedy}"
    name: str
    remedy: str


@dataclass(frozen=True)
class WhichAttention(Problem):
    """A file with several attentions needs to be told which one is meant."""

    code: ClassVar[str] = "E412"
    title: ClassVar[str] = "{file} defines {count} attentions{asked}"
    help: ClassVar[str] = "{remedy}"
    file: str
    count: int
    asked: str
    remedy: str


@dataclass(frozen=True)
class Recursive(Problem):
    """A pattern calls itself, directly or through others. Patterns are expanded where they are called."""

    code: ClassVar[str] = "E413"
    title: ClassVar[str] = "pattern `{name}` calls itself"
    label: ClassVar[str] = "this call never ends"
    help: ClassVar[str] = "write the condition in closed form, e.g. with ispow2 or %"
    name: str


@dataclass(frozen=True)
class RepeatedArgument(Problem):
    """One parameter was given twice."""

    code: ClassVar[str] = "E414"
    title: ClassVar[str] = "`{name}` is given twice"
    label: ClassVar[str] = "given again here"
    help: ClassVar[str] = "remove one of them"
    name: str


# --- E5: limits ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NestedTooDeeply(Problem):
    """Expressions and brackets nest only so deep."""

    code: ClassVar[str] = "E501"
    title: ClassVar[str] = "nested deeper than {limit} levels"
    label: ClassVar[str] = "too deep"
    help: ClassVar[str] = "give parts of the expression names"
    limit: int


@dataclass(frozen=True)
class FileTooLarge(Problem):
    """A spec is a page of text."""

    code: ClassVar[str] = "E502"
    title: ClassVar[str] = "the file is larger than {limit} KiB"
    help: ClassVar[str] = "split it and import the parts with `use`"
    limit: int


@dataclass(frozen=True)
class NumberTooLarge(Problem):
    """Integers are exact and fit 64-bit arithmetic with room to spare."""

    code: ClassVar[str] = "E503"
    title: ClassVar[str] = "the number is too large"
    label: ClassVar[str] = "integers stay below 2**62"
    help: ClassVar[str] = "use a smaller number"


@dataclass(frozen=True)
class TooManyNodes(Problem):
    """After patterns are expanded, the expressions of one attention have a bounded size."""

    code: ClassVar[str] = "E504"
    title: ClassVar[str] = "the expressions grow beyond {limit} operations"
    label: ClassVar[str] = "expanded here"
    help: ClassVar[str] = "patterns that call patterns several times multiply; simplify the condition"
    limit: int


@dataclass(frozen=True)
class BadExtent(Problem):
    """An axis has between 1 and 2**40 tokens."""

    code: ClassVar[str] = "E505"
    title: ClassVar[str] = "axis {axis} of {tokens} cannot have {value} tokens"
    label: ClassVar[str] = "extent {value}"
    help: ClassVar[str] = "an extent is an integer from 1 to 2**40"
    tokens: str
    axis: str
    value: str


# --- E6: files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CannotRead(Problem):
    """A file is missing, is not text, or may not be read."""

    code: ClassVar[str] = "E601"
    title: ClassVar[str] = "cannot read {file}: {reason}"
    label: ClassVar[str] = "used here"
    help: ClassVar[str] = "{remedy}"
    file: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class UseOutside(Problem):
    """`use` reaches files of the same folder and the library only. A spec is data, not a path into a disk."""

    code: ClassVar[str] = "E602"
    title: ClassVar[str] = "`use` cannot reach `{path}`"
    label: ClassVar[str] = "outside the folder of this file"
    help: ClassVar[str] = 'name a file of the same folder, e.g. use "masks.attn"'
    path: str


# --- E7: sizes and options from outside ---------------------------------------------------------


@dataclass(frozen=True)
class BadShape(Problem):
    """Sizes given from outside do not fit the attention's token sets."""

    code: ClassVar[str] = "E701"
    title: ClassVar[str] = "shape `{given}`: {reason}"
    help: ClassVar[str] = "{remedy}"
    given: str
    reason: str
    remedy: str
