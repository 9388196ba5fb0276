"""The command: its JSON, its files, its defaults, its errors."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from attndsl.cli.main import main
from attndsl.picture.extents import telling_extents
from tests.picture.specs import program

SPEC = """
attention grid(size = 3) {
  tokens x[h, w]
  input  q, k, v : x
  return attend(q, k, v, where = h: window(size) and w: window((size, size + 2)[head % 2]))
}
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "grid.attn"
    path.write_text(SPEC)
    return str(path)


def test_json_is_one_document(spec, tmp_path, capsys):
    files = [str(tmp_path / "a.png"), str(tmp_path / "a.svg")]
    options = ["--shape", "x=6x7", "--heads", "4", "--query", "2,3", "--tile-q", "2x4", "--tile-k", "14"]
    assert main(["show", spec, "--json", *options, "-o", files[0], "-o", files[1]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["attention"] == "grid"
    assert found["parameters"] == {"size": 3}
    assert found["shape"] == {"x": {"h": 6, "w": 7}}
    assert found["attend"] == "out"
    assert found["tiles"]["q"] == [2, 4]
    assert found["tiles"]["k"] == [14]
    assert [heads["heads"] for heads in found["heads"]] == [[0, 2], [1, 3]]
    assert found["counts"] == found["heads"][0]["counts"]
    assert found["counts"]["pairs"] == 6 * 7 * 9
    assert found["counts"]["tiles"]["total"] == 6 * 3
    assert found["query"]["at"] == [2, 3]
    assert found["query"]["keys"] == [[h, w] for h in (1, 2, 3) for w in (2, 3, 4)]
    assert found["files"] == files
    Image.open(files[0]).verify()


def test_one_head_and_a_numbered_query(spec, capsys):
    assert main(["show", spec, "--json", "--shape", "x=6x7", "--head", "3", "--query", "10"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [heads["heads"] for heads in found["heads"]] == [[1, 3, 5, 7]]
    assert found["query"]["at"] == [1, 3]
    assert found["query"]["count"] == 15


def test_files_are_announced(spec, tmp_path, capsys):
    path = tmp_path / "[a].svg"
    assert main(["show", spec, "-o", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"wrote {path}" in out.replace("\n", "")
    assert "pairs visible" in out
    path.write_text("mine")
    assert main(["show", spec, "-o", str(path)]) == 1
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["show", spec, "-o", str(path), "--force"]) == 0


def test_nothing_is_computed_or_written_for_a_wrong_name(spec, tmp_path, capsys):
    good = tmp_path / "a.png"
    assert main(["show", spec, "-o", str(good), "-o", str(tmp_path / "a.gif"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "E801"
    assert not good.exists()


@pytest.mark.parametrize(
    ("name", "axes", "extent"),
    [("dense", 1, 64), ("sliding", 1, 64), ("grid", 2, 16), ("video", 3, 8), ("equal_heads", 1, 4096)],
)
def test_default_extents_leave_room_for_the_pattern(name, axes, extent):
    assert telling_extents(program(name))[axes] == extent


def test_torch_is_not_imported(spec, tmp_path):
    script = (
        "import sys; from attndsl.cli.main import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'matplotlib', 'networkx'} & set(sys.modules); sys.exit(code)"
    )
    arguments = ["show", spec, "-o", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.svg")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
