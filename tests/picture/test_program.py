"""Pictures of whole programs: token sets, values, costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from attndsl.language import load_text
from attndsl.picture.program import amount, program_figure, program_lines, program_rows
from attndsl.picture.scene import Box, Line, Shape, Text
from attndsl.picture.svg import svg
from attndsl.planning.costs import program_costs, visible_pairs
from attndsl.planning.sizes import completed

AGENT = """
attention agent {
  tokens x[h, w]
  input q, k, v : x
  a = pool(q, to = (3, 3))
  z = attend(a, k, v)
  return attend(q, a, z) + depthwise(v, 3)
}
"""
SIZES = {"h": 12, "w": 10, "heads": 2}


@pytest.fixture(scope="module")
def program():
    return load_text(AGENT)


def test_costs_are_exact(program):
    costs = {cost.value: cost for cost in program_costs(program, SIZES)}
    tokens, agents, heads, width = 120, 9, 2, 64
    assert costs["z"].pairs == tokens * agents
    assert costs["z"].flops == 2 * tokens * agents * heads * 2 * width
    assert costs["depthwise"].flops == 2 * 9 * tokens * heads * width
    assert costs["a"].flops == tokens * heads * width


def test_pairs_of_a_mask_are_counted():
    op = load_text("attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }")
    (attend,) = op.attends
    assert visible_pairs(attend.op, {"n": 37, "heads": 3}) == 37 * 38 // 2


def test_pairs_are_the_mean_over_heads():
    text = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = i - j == head) }"
    (attend,) = load_text(text).attends
    assert visible_pairs(attend.op, {"n": 10, "heads": 2}) == (10 + 9) // 2


def test_every_set_and_value_is_drawn(program):
    rows = program_rows(program, program_costs(program, SIZES))
    scene = program_figure(program, completed(program, SIZES), rows)
    words = [item.text for item in scene.items if isinstance(item, Text)]
    assert {"x", "bins of x", "z = attend(a, k, v)"} <= set(words)
    assert all(row.call in words for row in rows)
    # Pooling and two attends move between the sets; the sum and the convolution stay on theirs.
    assert sum(isinstance(item, Shape) for item in scene.items) == 3
    marks = [item for item in scene.items if isinstance(item, Box) and item.width == 8]
    assert len(marks) == 2
    assert all(item.x == item.to_x or item.y == item.to_y for item in scene.items if isinstance(item, Line))
    assert svg(scene).startswith(b"<?xml")


def test_lines_say_the_same(program):
    rows = program_rows(program, program_costs(program, SIZES))
    text = "\n".join(program_lines(program.name, SIZES, rows))
    assert "z = attend(a, k, v)" in text
    assert "on bins of x" in text


def test_amounts():
    assert [amount(n) for n in (0, 999, 1500, 2.1e6, 3e9, 4e12)] == [
        "0",
        "999",
        "1.5 k",
        "2.1 M",
        "3 G",
        "4 T",
    ]


def test_command(tmp_path: Path):
    spec = tmp_path / "agent.attn"
    spec.write_text(AGENT)
    target = tmp_path / "agent.svg"
    command = [sys.executable, "-m", "attndsl", "show", str(spec), "--program", "--json", "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert [value["call"] for value in document["values"]][:2] == ["a = pool(q)", "z = attend(a, k, v)"]
    assert document["files"] == [str(target)]
    assert b"bins of x" in target.read_bytes()
