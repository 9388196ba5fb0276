"""A simulation together with the answers to further questions about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attndsl.ir.program import Program
from attndsl.planning.layouts import Forced
from attndsl.planning.simulate import simulate_in_full
from attndsl.simulation.report import Report
from attndsl.simulation.setting import Setting
from attndsl.study.advise import Advice, advise
from attndsl.study.share import EndToEnd, end_to_end
from attndsl.study.sweep import Sweep, run_sweep


@dataclass(frozen=True)
class Questions:
    """What is asked besides the simulation itself: `None` and `False` for nothing.

    Attributes:
        sweep: `name=values`.
        advice: whether better settings are wanted.
        share: the share of a model's time that dense attention takes.
        dense_steps: steps that stay dense, `15/50`.
    """

    sweep: str | None = None
    advice: bool = False
    share: float | None = None
    dense_steps: str | None = None


@dataclass(frozen=True)
class Study:
    """The answers; None where nothing was asked. `tuned` says whether any parameter may be tuned."""

    report: Report
    sweep: Sweep | None
    advice: tuple[Advice, ...] | None
    whole: EndToEnd | None
    tuned: bool

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON data, with the answers beside it."""
        found = self.report.to_dict()
        if self.whole is not None:
            found["end_to_end"] = self.whole.to_dict()
        if self.advice is not None:
            found["advice"] = [advice.to_dict() for advice in self.advice]
        if self.sweep is not None:
            found["sweep"] = self.sweep.to_dict()
        return found


def answer(
    program: Program,
    extents: Mapping[str, int],
    setting: Setting,
    forced: Forced,
    questions: Questions,
) -> Study:
    """Simulates, and answers.

    Raises:
        AttnError: a question is malformed, or the program does not fit the setting.
    """
    report = simulate_in_full(program, extents, setting, forced)
    share = questions.share
    if share is None and questions.dense_steps is not None:
        share = 1.0
    return Study(
        report,
        run_sweep(program, extents, setting, questions.sweep, forced) if questions.sweep else None,
        tuple(advise(program, extents, setting, report, forced)) if questions.advice else None,
        None if share is None else end_to_end(report.speedup, share, questions.dense_steps),
        bool(program.tunable),
    )
