"""E1: the text does not follow the grammar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class UnexpectedToken(Problem):
    """Something stands where the grammar has no place for it. The label lists what could stand there.

    A statement ends at the end of its line, except inside ( ) and [ ], after an operator or a comma, and
    before a line that begins with `and`, `or`, a comparison or `*`. A line that begins with `+` or `-`
    is a statement of its own: put the sign at the end of the line before.

        bias = -abs(i - j) -
               abs(i // 8 - j // 8)
    """

    code: ClassVar[str] = "E101"
    title: ClassVar[str] = "unexpected {found}"
    label: ClassVar[str] = "expected {expected}"
    help: ClassVar[str] = "{remedy}"
    found: str
    expected: str
    remedy: str = ""


@dataclass(frozen=True)
class UnexpectedCharacter(Problem):
    """A character that means nothing in the language.

    Names consist of the letters a to z and A to Z, digits and `_`. Other letters may stand in comments,
    which start with `#`.
    """

    code: ClassVar[str] = "E102"
    title: ClassVar[str] = "unexpected character `{char}`"
    label: ClassVar[str] = "not part of the language"
    help: ClassVar[str] = "{remedy}"
    char: str
    remedy: str = "remove it; comments start with #"


@dataclass(frozen=True)
class Unclosed(Problem):
    """A bracket is opened and not closed by its own kind before its statement, or the file, ends.

    ( ) hold arguments and tuples, [ ] axes and indices, { } the body of an attention or pattern.
    """

    code: ClassVar[str] = "E103"
    title: ClassVar[str] = "`{opened}` is never closed"
    label: ClassVar[str] = "opened here"
    help: ClassVar[str] = "add the matching `{closed}`"
    opened: str
    closed: str


@dataclass(frozen=True)
class UnexpectedEnd(Problem):
    """The file ends in the middle of something, for example behind the `=` of a pattern."""

    code: ClassVar[str] = "E104"
    title: ClassVar[str] = "the file ends too early"
    label: ClassVar[str] = "expected {expected}"
    expected: str


@dataclass(frozen=True)
class InvisibleCharacter(Problem):
    """Control, bidirectional and other invisible characters can make a spec read differently than it runs.

    Text copied from a PDF or a web page often carries no-break spaces; replace them by ordinary ones.
    """

    code: ClassVar[str] = "E105"
    title: ClassVar[str] = "invisible character {name}"
    label: ClassVar[str] = "here"
    help: ClassVar[str] = "{remedy}"
    name: str
    remedy: str


@dataclass(frozen=True)
class ForeignOperator(Problem):
    """An operator of another language.

    This one has + - * / // % ** for numbers, < <= == != >= > for comparisons, which chain
    (`0 <= i - j < 8`), and `and`, `or`, `not`, `a if c else b` for conditions.
    """

    code: ClassVar[str] = "E106"
    title: ClassVar[str] = "`{operator}` is not an operator here"
    label: ClassVar[str] = "unknown operator"
    help: ClassVar[str] = "{remedy}"
    operator: str
    remedy: str


@dataclass(frozen=True)
class ForeignWord(Problem):
    """A misspelt keyword, or one of another language.

    A file holds `use "file.attn"`, `pattern name(...) = ...` and `attention name { ... }`. The body of an
    attention holds `tokens`, `input`, `learn`, `tune`, `require`, `loss`, `name = expression` and `return`.
    """

    code: ClassVar[str] = "E107"
    title: ClassVar[str] = "`{word}` is not a keyword here"
    label: ClassVar[str] = "not understood"
    help: ClassVar[str] = "{remedy}"
    word: str
    remedy: str


@dataclass(frozen=True)
class StrayBracket(Problem):
    """A closing bracket without an opening one."""

    code: ClassVar[str] = "E108"
    title: ClassVar[str] = "`{closed}` closes nothing"
    label: ClassVar[str] = "no `{opened}` is open here"
    help: ClassVar[str] = "remove it, or add the missing `{opened}`"
    opened: str
    closed: str


@dataclass(frozen=True)
class KeywordAsName(Problem):
    """A keyword where a name is needed. Keywords cannot name anything.

    They are: use pattern attention tokens input learn tune in require loss return and or not if else true
    false. (A part of a record may be called `loss`: c.loss.)
    """

    code: ClassVar[str] = "E109"
    title: ClassVar[str] = "`{word}` is a keyword and cannot be used as a name"
    label: ClassVar[str] = "expected {expected}"
    help: ClassVar[str] = "choose another name, e.g. {word}_"
    word: str
    expected: str
