"""Programs whose formulas allow little memory take little: a peak over the inputs, forward and backward.

The benchmark of the same name measures larger sizes; here one process per program, at a size where whatever
grows with the square of the tokens would be far beyond the bound.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT, ROOT / "codegen", ROOT / "grammar")
MEGABYTE = 1 << 20


def test_memory_is_far_below_what_all_pairs_would_take():
    path = os.pathsep.join([*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--quick", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["program"]: row for row in json.loads(done.stdout)}

    tensor = rows.pop("tensor attention")
    (n,) = tensor["extents"]
    assert tensor["total_bytes"] < 100 * MEGABYTE < 4 * n**3 / 2  # dense scores, in float32

    assert set(rows) == {"linear", "linear, causal", "agent", "codebook", "codebook, causal"}
    for name, row in rows.items():
        # Gradients alone are as large as the inputs: less would mean that nothing was measured.
        assert row["total_bytes"] > row["input_bytes"], name
        dense = 4 * row["heads"] * (row["input_bytes"] // (3 * 4 * row["heads"] * row["width"])) ** 2
        assert row["total_bytes"] < 400 * MEGABYTE < dense / 5, name
    for name in ("linear", "linear, causal", "agent"):
        assert rows[name]["total_bytes"] < 8 * rows[name]["input_bytes"], name
