"""Examples read alike: short, headed by what they are, where they come from and what they are good for."""

from pathlib import Path

import pytest

import attndsl
from attndsl.examples import example_files

FOLDER = Path(__file__).parents[2] / "examples"
FILES = sorted(FOLDER.glob("*.attn"))


def header(text: str) -> list[str]:
    lines = text.splitlines()
    count = next(at for at, line in enumerate(lines) if not line.startswith("#"))
    return lines[:count]


def test_every_file_is_listed_once() -> None:
    assert [*example_files().values()] == FILES
    assert len({path.stem.lower() for path in FILES}) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_style(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert text.endswith("}\n")
    assert "\t" not in text
    assert len(lines) <= 25
    assert all(line == line.rstrip() and len(line) <= 110 for line in lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_header(path: Path) -> None:
    head = header(path.read_text(encoding="utf-8"))
    assert 2 <= len(head) <= 4
    assert all(line.startswith("# ") for line in head)
    assert not head[0].startswith(("# Source:", "# Good for:"))
    assert sum(line.startswith("# Source: ") for line in head) == 1
    assert head[-1].startswith("# Good for: ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_attention_named_as_the_file(path: Path) -> None:
    assert attndsl.load(path.stem).name == path.stem
    assert path.read_text(encoding="utf-8").count("\nattention ") == 1
