"""The scripts that users are told to run, in their quick form."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT, ROOT / "codegen", ROOT / "grammar")


def run(script: str, *options: str) -> str:
    """Standard output; one thread each, because tests run side by side."""
    path = os.pathsep.join([*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_schedules_agree_with_create_block_mask():
    before = {path: path.read_bytes() for path in (ROOT / "benchmarks" / "results").iterdir()}
    rows = json.loads(run("benchmarks/schedules.py", "--quick", "--json"))
    assert [row["mask"] for row in rows] == ["causal window, radius 256", "7×7 window", "7×7 window"]
    for row in rows:
        ours, peer = row["attndsl"], row["create_block_mask"]
        assert (ours["full"], ours["partial"]) == (peer["full"], peer["partial"])
        assert ours["digest"] == peer["digest"]
    assert rows[0]["attndsl"]["pairs"] == sum(min(i, 256) + 1 for i in range(1024))
    assert rows[0]["attndsl"]["full"] > 0
    assert {path: path.read_bytes() for path in before} == before


def test_digits_learn():
    """Ten digits: a model that learns nothing gets about 10 % right, and then the script fails."""
    printed = run("examples/digits.py", "--quick")
    found = re.search(r"^3x3 window +([0-9.]+)% +[0-9.]+ +576$", printed, re.MULTILINE)
    assert found, printed
    assert float(found[1]) > 40
    assert re.search(r"^dense +[0-9.]+% +[0-9.]+ +4,096$", printed, re.MULTILINE), printed


def test_programs_are_their_formulas():
    """What `benchmarks/linear.py` times agrees with plain PyTorch, forward and backward."""
    script = (
        "from transcriptions import TRANSCRIPTIONS; from measure_linear import AGREEMENT, Sized\n"
        "for name, transcription in TRANSCRIPTIONS.items():\n"
        "    errors = Sized(transcription, 256).errors()\n"
        "    assert max(errors.values()) <= AGREEMENT, (name, errors)\n"
    )
    path = os.pathsep.join([str(ROOT / "benchmarks"), *map(str, FOLDERS)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_parts_of_an_image_are_what_their_authors_compute():
    """The script compares outputs and gradients, and fails where they differ."""
    printed = run("benchmarks/partitions.py", "--quick")
    assert len(re.findall(r"^\| (swin|maxvit_block|maxvit_grid|axial_rows) \|", printed, re.MULTILINE)) == 4


def test_what_runs_on_triton():
    """Of the examples, all but those whose weights are a matrix, or never made."""
    printed = run("benchmarks/on_triton.py")
    torch_attends = {line.split()[0] for line in printed.splitlines()[:-1] if " torch (" in line}
    assert torch_attends == {"l2vit", "lama", "linear", "linformer", "mala", "ppma_linear"}
    assert "Triton (weighted_sums)" in printed
