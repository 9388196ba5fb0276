"""A few whole generated files, so that a reviewer sees changes of the generator in the diff."""

from pathlib import Path

import pytest

import attndsl

FOLDER = Path(__file__).parent
EXAMPLES = ("neighborhood2d", "packed", "alibi", "sliding", "swin")


@pytest.mark.parametrize("name", EXAMPLES)
def test_generated_file(name, request):
    path = FOLDER / f"{name}.py.txt"
    found = attndsl.source(attndsl.load(name))
    if request.config.getoption("--update-golden"):
        path.write_text(found)
    assert found == path.read_text(), "run pytest --update-golden and review the diff"
