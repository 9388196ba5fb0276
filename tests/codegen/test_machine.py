"""Machine code of the Triton kernels: compiled ahead of time, without a GPU, and as the committed table says."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from attndsl_codegen import machine
from attndsl_codegen.architectures import limits_of
from attndsl_codegen.kernels.triton.configurations import CONFIGURATIONS, LOOKING_UP, configuration
from attndsl_codegen.machine import KERNELS, counts
from tests.codegen.test_listing import PTX

ROOT = Path(__file__).resolve().parents[2]
TABLE = tomllib.loads((ROOT / "codegen" / "attndsl_codegen" / "kernels.toml").read_text())["kernel"]


def test_the_table_covers_every_configuration_and_all_are_clean():
    named = ("architecture", "kernel", "width", "queries", "keys", "warps", "stages")
    rows = {tuple(row[name] for name in named) for row in TABLE}
    for known in (CONFIGURATIONS, LOOKING_UP):
        for architecture, kernels in known.items():
            for kernel, widths in kernels.items():
                name = "causal sums" if kernel == "decayed sums" else kernel
                for width, chosen in widths.items():
                    assert (architecture, name, width, *chosen) in rows
    assert all(row["clean"] and not row["spills"] and not row["serialized"] for row in TABLE)
    assert all("HGMMA" in row["tensor_cores"] for row in TABLE if row["architecture"] == 90)
    assert {row["kernel"] for row in TABLE} == KERNELS.keys()


def test_warps_do_not_repeat_the_scores_of_others():
    """Up to sm_90 each warp has 16 rows of its own. Exceptions: with fewer warps, registers spill."""
    known = {(80, False, 128), (80, True, 128), (90, True, 128)}
    found = set()
    for looks_up in (False, True):
        for architecture, width in ((80, 64), (80, 128), (90, 64), (90, 128)):
            for kernel in ("forward", "query gradient", "key gradient"):
                chosen = configuration(kernel, width, 2, architecture, looks_up)
                rows = chosen.keys if kernel == "key gradient" else chosen.queries
                if rows < 16 * chosen.warps:
                    assert kernel == "key gradient"
                    found.add((architecture, looks_up, width))
    assert found == known


def test_units_with_little_memory_get_what_fits_it():
    """sm_120 has the shared memory of sm_89, and no tcgen05."""
    for kernel in ("forward", "query gradient", "key gradient", "lookup gradient", "causal sums"):
        for width in (64, 128):
            for looks_up in (False, True):
                wanted = configuration(kernel, width, 2, 80, kernel == "lookup gradient" or looks_up)
                assert configuration(kernel, width, 2, 120, kernel == "lookup gradient" or looks_up) == wanted
    for row in TABLE:
        if row["architecture"] == 80:
            assert row["shared_bytes"] <= limits_of(120).shared_of_block


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


def command(*arguments):
    """`attndsl` in a process of its own: Triton decides on import whether it interprets."""
    script = "import sys; from attndsl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    free = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=free, cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
def test_a_simulation_reads_the_kernels():
    """Counts follow from the tile: 64 columns of 16 operands each, 32 scores a thread and two sums of a row."""
    code, found = command("simulate", "sliding", "--dim", "64", "--from-kernel", "--json")
    assert code == 0
    (kernel,) = found["attends"][0]["machine_code"]["kernels"]
    chosen = CONFIGURATIONS[90]["forward"][64]
    assert (kernel["queries"], kernel["keys"], kernel["warps"], kernel["stages"]) == chosen
    assert kernel["source"] == "SASS"
    assert kernel["flops"] == 4 * 64  # two products of width 64
    assert 1 <= kernel["special"] < 1.2
    assert 6 < kernel["slots"] < 25
    assert 1 < kernel["mask"] < kernel["slots"]
    assert 128 <= kernel["registers"] <= 255
    assert found["attends"][0]["blocks"] == kernel["blocks"]
    assert found["attends"][0]["tile"] == {"q": [chosen.queries], "k": [chosen.keys]}


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
def test_what_does_not_fit_is_an_error_that_names_the_limit(tmp_path):
    target = tmp_path / "large.py"
    code, found = command(
        "simulate", "sliding", "--tile-q", "256", "--tile-k", "256", "--from-kernel", "--json"
    )
    (error,) = found["errors"]
    assert (code, error["code"]) == (1, "E909")
    assert "sm_90" in error["message"]
    assert "232,448" in error["help"]
    options = "--dim", "128", "--dtype", "float32", "--device", "l40s"
    code, found = command("compile", "swin", *options, "-o", str(target), "--json")
    (error,) = found["errors"]
    assert (code, error["code"]) == (1, "E909")
    assert "sm_89" in error["message"]
    assert "101,376" in error["help"]
    assert not target.exists()


def test_ptx_serves_where_there_is_no_disassembler(monkeypatch):
    """Instructions are about as many; registers and spills come from ptxas."""
    said = "ptxas info : 8 bytes stack frame, 16 bytes spill stores, 8 bytes spill loads\nUsed 145 registers"
    monkeypatch.setattr(machine, "_tool", lambda name, *_: said if name.startswith("ptxas") else None)
    monkeypatch.setattr(machine, "_assembler", lambda _: "ptxas")
    found = machine.facts("forward", 90, b"", PTX, 1024)
    assert (found.source, found.registers, found.spills) == ("PTX", 145, 6)
    assert [loop.instructions for loop in found.loops] == [3]
    assert found.tensor_instructions == 1


SIGMOIDS = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal, bias = -6, normalize = sigmoid) }"


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
@pytest.mark.parametrize("name", ["pairs", "sigmoids"])
def test_other_kernels_are_compiled_for_a_device(name, tmp_path):
    """Pairs of keys and weights that are no softmax, of both passes; what is counted is of one score."""
    spec = "tensor_attention"
    if name == "sigmoids":
        spec = str(tmp_path / "a.attn")
        Path(spec).write_text(SIGMOIDS)
    code, found = command(
        "compile", spec, "--dim", "64", "--device", "h100", "-o", str(tmp_path / "a.py"), "--json"
    )
    assert code == 0, found
    (kernels,) = found["kernels"].values()
    names = {"pairs": ("pair ", "pair "), "sigmoids": ("weighted ", "")}[name]
    backward = ["query gradient", *["key gradient"] * (2 if name == "pairs" else 1)]
    assert [k["name"] for k in kernels] == [f"{names[0]}forward", *(f"{names[1]}{way}" for way in backward)]
    assert all(6 < k["slots"] < 60 for k in kernels)
    assert all(k["spills"] == 0 for k in kernels)
