"""The language as the README shows it: every attention on its one screen loads, and most are checked."""

import re
from pathlib import Path

import pytest

from attndsl.language import load_text
from attndsl.planning.plan import sizes_near
from attndsl.verify import Case, Verifier

SCREEN = re.search(
    r"## The language in one screen\n\n```\n(.*?)```",
    (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8"),
    re.DOTALL,
)
assert SCREEN is not None
NAMES = re.findall(r"^attention (\w+)", SCREEN[1], re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_screen_is_a_spec(name):
    program = load_text(SCREEN[1], attention=name)
    assert program.warnings == ()
    sizes = sizes_near(program, {1: 9, 2: 7}, spread=2, heads=4)
    assert Verifier(program).run(Case({**sizes, "heads": 4})).passed


def test_the_screen_has_one_of_each_kind():
    assert len(NAMES) >= 8
    assert max(len(line) for line in SCREEN[1].splitlines()) <= 125
