"""The picture in a terminal, character by character."""

from io import StringIO

import pytest
from rich.console import Console

from attndsl.picture.model import make_picture
from attndsl.picture.request import Request
from attndsl.picture.terminal import TerminalPicture
from tests.picture.specs import program

PLAIN = """\
sliding  x[n=8]

pairs             tiles
# . . . . . . .   + . . .
# # . . . . . .   # + . .
# # # . . . . .   + # + .
# # # # . . . .   . + # +
. # # # # . . .
. . # # # # . .
. . . # # # # .
. . . . # # # #
pairs: # visible  . hidden     tiles: # full  + partial  . skipped
26 of 64 pairs visible (40.6 %)
tiles of 2 by 2: 9 of 16 visited (56.2 %), 3 full, 6 partial

query 4 sees 4 of 8 keys (50.0 %)
. # # # # . . .
"""

GRID = """\
query h=0, w=3 sees 5 of 12 keys (41.7 %)
# # # Q
. . . #
. . . .
"""


def drawn(name, sizes, request=None, *, heads=1, **options):
    file = StringIO()
    console = Console(file=file, width=80, highlight=False, **options)
    TerminalPicture(console).show(make_picture(program(name), {**sizes, "heads": heads}, request))
    return file.getvalue()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_plain_text():
    assert drawn("sliding", {"n": 8}, Request(tile_q="2", tile_k="2")) == PLAIN


def test_keys_on_the_grid():
    text = drawn("corner", {"h": 3, "w": 4}, Request(query="0,3"))
    assert text.endswith(GRID)


def test_half_blocks_in_colour():
    text = drawn("sliding", {"n": 4}, force_terminal=True, color_system="truecolor")
    lines = text.splitlines()
    visible, hidden = "38;2;98;178;245", "38;2;60;64;71"
    assert lines[3].startswith(f"\x1b[{visible}m█\x1b[0m\x1b[{hidden};48;2;98;178;245m▀")
    assert f"\x1b[{hidden}m█" in lines[3]
    assert "▄" not in text


def test_no_colour_means_ascii():
    text = drawn("sliding", {"n": 8}, Request(tile_q="2", tile_k="2"), force_terminal=True, no_color=True)
    assert "▀" not in text
    assert "\n# # . . . . . .   # + . .\n" in text


def test_every_line_fits():
    for name, sizes in (
        ("sliding", {"n": 5000}),
        ("video", {"t": 9, "h": 40, "w": 60}),
        ("labels", {"n": 77}),
    ):
        assert max(map(len, drawn(name, sizes, heads=3).splitlines())) <= 80


def test_heads_and_notes():
    text = drawn("heads", {"n": 12}, heads=4)
    assert "\nheads 0, 2\n" in text
    assert "\nheads 1, 3\n" in text
    assert "label has sample values" in drawn("labels", {"n": 12})


def test_slices_show_where_the_query_is():
    text = drawn("video", {"t": 3, "h": 5, "w": 9}, Request(query="1,2,3"))
    assert "t=0" in text
    assert "t=1" in text
    assert "t=2" not in text
    assert text.count("Q") == 1
