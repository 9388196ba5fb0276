"""The command line: exit codes, JSON, files, errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from attndsl.cli.main import main

SPEC = """\
attention near(size = 3) {
  tokens x[n]
  input  q, k, v : x
  return attend(q, k, v, where = window(size))
}
"""


@pytest.fixture
def spec(tmp_path) -> Path:
    path = tmp_path / "near.attn"
    path.write_text(SPEC)
    return path


def test_compile_writes_beside_the_spec(spec, capsys):
    assert main(["compile", str(spec)]) == 0
    written = spec.with_suffix(".py")
    assert "class Near(nn.Module)" in written.read_text()
    assert str(written) in capsys.readouterr().out


def test_compile_is_deterministic(spec, capsys):
    texts = set()
    for _ in range(2):
        assert main(["compile", str(spec), "-o", "-"]) == 0
        texts.add(capsys.readouterr().out)
    done = subprocess.run(
        [sys.executable, "-m", "attndsl", "compile", str(spec), "-o", "-"], capture_output=True, text=True
    )
    assert texts == {done.stdout}


def test_compile_never_overwrites_what_it_did_not_write(spec, capsys):
    target = spec.with_name("mine.py")
    target.write_text("precious = 1\n")
    assert main(["compile", str(spec), "-o", str(target)]) == 1
    assert "E603" in capsys.readouterr().err
    assert target.read_text() == "precious = 1\n"
    assert main(["compile", str(spec), "-o", str(target), "--force"]) == 0
    assert main(["compile", str(spec), "-o", str(target), "--set", "size=5"]) == 0  # ours, unedited
    target.write_text(target.read_text().replace("def near", "def nearby"))
    assert main(["compile", str(spec), "-o", str(target)]) == 1
    assert "edited" in capsys.readouterr().err


def test_compile_into_a_missing_folder(spec, capsys):
    assert main(["compile", str(spec), "-o", str(spec.parent / "nowhere" / "near.py")]) == 1
    assert "E604" in capsys.readouterr().err


def test_spec_from_standard_input():
    command = [sys.executable, "-m", "attndsl", "compile", "-", "-o", "-"]
    done = subprocess.run(command, input=SPEC, capture_output=True, text=True)
    assert done.returncode == 0
    assert "class Near" in done.stdout


def test_check_passes_and_prints_json(spec, capsys):
    assert main(["check", str(spec), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert {case["dtype"] for case in report["cases"]} == {"float32", "bfloat16"}
    assert all(case["forward_error"] <= case["tolerance"] for case in report["cases"])


def test_check_fails_when_the_code_is_wrong(spec, capsys, monkeypatch):
    """A generated file whose mask is off by one must not pass."""
    import attndsl.verify

    original = attndsl.verify.source
    wrong = ("first <= j)", "first < j)")
    monkeypatch.setattr(attndsl.verify, "source", lambda program: original(program).replace(*wrong))
    assert main(["check", str(spec)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_explain_a_spec(spec, capsys):
    assert main(["explain", str(spec), "--shape", "n=50", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (attend,) = report["attends"]
    (found,) = attend["classes"]
    assert found["pairs"] == 150
    proofs = {proof["statement"]: proof for proof in found["proofs"]}
    assert proofs["every query sees exactly 3 keys"]["holds"]
    causal = proofs["causal: no query sees a later key"]
    assert not causal["holds"]
    (i,), (j,) = causal["query"], causal["key"]
    assert i < j <= i + 2


@pytest.mark.parametrize("code", ["E101", "E203", "E305", "E603"])
def test_explain_a_code(code, capsys):
    assert main(["explain", code]) == 0
    assert capsys.readouterr().out.startswith(code)


def test_explain_an_unknown_code(capsys):
    assert main(["explain", "E999"]) == 1
    assert "unknown error code" in capsys.readouterr().err


def test_list(capsys):
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["patterns"]["window"] == "size, stride"
    assert len(listed["examples"]) >= 20


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["compile"], ["check", "swin", "--heads", "0"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["compile", "nowhere.attn"], "E601"),
        (["compile", "swinn"], "did you mean the example `swin`"),
        (["compile", "swin", "--set", "sice=3"], "E404"),
        (["compile", "swin", "--set", "size=three"], "E207"),
        (["explain", "swin", "--shape", "y=3x3"], "E701"),
        (["explain", "swin", "--shape", "x=3"], "2 axes"),
        (["explain", "neighborhood2d", "--shape", "x=5x99"], "E203"),
    ],
)
def test_wrong_specs_exit_with_1(arguments, code, capsys):
    assert main(arguments) == 1
    assert code in capsys.readouterr().err


def test_errors_as_json(spec, capsys):
    spec.write_text(SPEC.replace("window(size)", "windw(size)"))
    assert main(["compile", str(spec), "--json"]) == 1
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["code"] == "E401"
    assert error["span"]["line"] == 4


def test_internal_errors_apologise(spec, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("attndsl.api.source", broken)
    assert main(["compile", str(spec)]) == 3
    error = capsys.readouterr().err
    assert "bug in attndsl" in error
    assert "Traceback" not in error
    log = Path(error.split("Details are in ")[1].split(". Please")[0])
    assert "boom" in log.read_text()
    log.unlink()


OVERLAPPING = """\
attention sinks_and_near {
  tokens x[n]
  input  q, k, v : x
  return joint(attend(q, k, v, where = causal and sliding(8)),
               attend(q, k, v, where = causal and sinks(4)))
}
"""


def test_warnings_are_printed_and_change_nothing_else(tmp_path, capsys):
    path = tmp_path / "overlap.attn"
    path.write_text(OVERLAPPING)
    for command in (["compile", "-o", "-"], ["explain", "--shape", "n=32"], ["show", "--shape", "n=32"]):
        assert main([command[0], str(path), *command[1:]]) == 0
        captured = capsys.readouterr()
        assert captured.err.startswith(
            "warning[W301]: `joint` may count keys of `k` twice\n --> overlap.attn:4:10"
        )
        assert "= help: if that is not meant, let the conditions exclude" in captured.err
        assert "W301" not in captured.out


def test_warnings_are_part_of_the_json_document(tmp_path, spec, capsys):
    path = tmp_path / "overlap.attn"
    path.write_text(OVERLAPPING)
    for command in ("compile", "explain", "show"):
        assert main([command, str(path), "--json"]) == 0
        captured = capsys.readouterr()
        (warning,) = json.loads(captured.out)["warnings"]
        assert (warning["code"], warning["severity"], warning["span"]["line"]) == ("W301", "warning", 4)
        assert [note["span"]["line"] for note in warning["notes"]] == [4, 5]
        assert captured.err == ""
    assert main(["compile", str(spec), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def test_explain_explains_warnings(capsys):
    assert main(["explain", "W301"]) == 0
    assert "counts twice" in capsys.readouterr().out


def test_explain_says_what_is_not_cut_into_tiles(capsys):
    assert main(["explain", "cross", "--shape", "n=300", "--shape", "m=70", "--json"]) == 0
    (attend,) = json.loads(capsys.readouterr().out)["attends"]
    assert (attend["kernel"], attend["tile"]) == ("all_keys", {"q": [300], "k": [70]})
    assert attend["classes"][0]["tiles"] == {"total": 1, "visited": 1, "full": 1, "partial": 0}
    assert "every query sees every key" in attend["why"]
    assert main(["explain", "lama"]) == 0
    assert "in chunks of queries" in capsys.readouterr().out
