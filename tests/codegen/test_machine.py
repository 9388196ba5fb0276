"""Machine code of the Triton kernels: compiled ahead of time, without a GPU, and as the committed table says."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from attndsl_codegen.kernels.triton.configurations import CONFIGURATIONS, LOOKING_UP
from attndsl_codegen.machine import KERNELS, counts

ROOT = Path(__file__).resolve().parents[2]
TABLE = tomllib.loads((ROOT / "codegen" / "attndsl_codegen" / "kernels.toml").read_text())["kernel"]


def test_the_table_covers_every_configuration_and_all_are_clean():
    named = ("architecture", "kernel", "width", "queries", "keys", "warps", "stages")
    rows = {tuple(row[name] for name in named) for row in TABLE}
    for known in (CONFIGURATIONS, LOOKING_UP):
        for architecture, kernels in known.items():
            for kernel, widths in kernels.items():
                for width, chosen in widths.items():
                    assert (architecture, kernel, width, *chosen) in rows
    assert all(row["clean"] and not row["spills"] and not row["serialized"] for row in TABLE)
    assert all("HGMMA" in row["tensor_cores"] for row in TABLE if row["architecture"] == 90)
    assert {row["kernel"] for row in TABLE} == KERNELS.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
def test_compiling_again_gives_the_table():
    script = str(ROOT / "benchmarks" / "compile_kernels.py")
    free = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, script, "--check", "--spec", "sliding"]
    done = subprocess.run(command, env=free, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_instructions_are_counted_by_kind():
    listing = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   MUFU.EX2 R5, R4 ;
        /*0020*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4].tnspB, R24 ;
        /*0030*/                   STL [R1+0x8], R5 ;
    """
    found = counts(listing)
    assert (found["instructions"], found["spills"], found["exponential_instructions"]) == (4, 1, 1)
    assert found["tensor_names"] == ("HGMMA",)
