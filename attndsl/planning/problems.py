"""What can be wrong with sizes that are given from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class BadShape(Problem):
    """Sizes given from outside do not fit the attention's token sets.

    attndsl simulate gna.attn --shape x=30x48x80
    attndsl simulate sliding.attn --shape n=4096
    """

    code: ClassVar[str] = "E701"
    title: ClassVar[str] = "shape `{given}`: {reason}"
    help: ClassVar[str] = "{remedy}"
    given: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class ExactOnly(Problem):
    """Choices among pairs of a query and a key (`top`, `mass`, `minmax` with `over = j`, `i` or `(i, j)`),
    and attention matrices (`weights`), have types and an exact meaning, but no kernel in this version.

    The exact definition runs them, dense and in float64, at small sizes:

        program = attndsl.load("dma.attn")
        out = attndsl.oracle(program)(q=q, k=k, v=v)

    Choices among heads, channels or tokens (`top(r, 4, over = heads)`, `rank(f)`) compile.
    """

    code: ClassVar[str] = "E702"
    title: ClassVar[str] = "selections run in the exact definition only in this version"
    label: ClassVar[str] = "{what}"
    help: ClassVar[str] = "run it with attndsl.oracle(program)(...) at small sizes"
    what: str
