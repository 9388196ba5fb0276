"""From the speed of attention to the speed of a whole model (Amdahl, 1967)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from attndsl.diagnostics import fail
from attndsl.simulation.problems import BadOption


@dataclass(frozen=True)
class EndToEnd:
    """A whole model.

    Attributes:
        share: the share of its time that dense attention takes.
        dense_share: the share of the steps (of a diffusion sampler) that stay dense.
        speedup: of the whole.
        limit: of the whole if attention took no time in the other steps.
    """

    share: float
    dense_share: float
    speedup: float
    limit: float

    def to_dict(self) -> dict[str, float]:
        """The figures as JSON data."""
        return {
            "share": self.share,
            "dense_steps": self.dense_share,
            "speedup": self.speedup,
            "limit": self.limit,
        }


def end_to_end(attention: float, share: float, dense_steps: str | None) -> EndToEnd:
    """The speed-up of a model whose attention gets `attention` times faster, but for some dense steps.

    Raises:
        AttnError: the share is not between 0 and 1, or the steps are not of the form 15/50.
    """
    if not 0 < share <= 1:
        remedy = "give the share of the time that dense attention takes, e.g. --share 0.6"
        raise fail(BadOption("--share", f"{share:g}", "it is not between 0 and 1", remedy))
    dense = _dense_share(dense_steps)
    kept = 1 - share + share * dense
    sparse = share * (1 - dense)
    limit = 1 / kept if kept else float("inf")
    return EndToEnd(share, dense, 1 / (kept + sparse / attention), limit)


def _dense_share(given: str | None) -> float:
    if given is None:
        return 0.0
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", given)
    if found is None or not 0 <= int(found[1]) <= int(found[2]) or int(found[2]) == 0:
        remedy = "give dense steps and all steps, e.g. --dense-steps 15/50"
        raise fail(BadOption("--dense-steps", given, "it is not a part of the steps", remedy))
    return int(found[1]) / int(found[2])
