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
