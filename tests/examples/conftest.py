"""Every identity is tested of the compiled module and of the oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import attndsl
from attndsl.language import load_text
from tests.examples.running import Run, module_of, oracle_of


@pytest.fixture(params=[module_of, oracle_of], ids=["module", "oracle"])
def runs(request: pytest.FixtureRequest) -> Callable[..., Run]:
    """How an example is run: `runs("swin", size = 3)`."""
    return lambda name, **params: request.param(attndsl.load(name, **params))


@pytest.fixture(params=[module_of, oracle_of], ids=["module", "oracle"])
def runs_text(request: pytest.FixtureRequest) -> Callable[[str], Run]:
    """How a spec is run."""
    return lambda text: request.param(load_text(text))
