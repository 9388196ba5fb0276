"""`benchmarks/gpu.py` without a GPU: what it compares with is the spec, and every stage runs in the interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
FOLDERS = (BENCHMARKS, ROOT, ROOT / "codegen", ROOT / "grammar")
WITHOUT_ATTNDSL = """
import runpy, sys
for name in ("attndsl", "attndsl_codegen", "attndsl_grammar", "lark", "libcst"):
    sys.modules[name] = None  # importing it fails
sys.path.insert(0, {folder!r})
sys.argv = ["gpu.py", *sys.argv[1:]]
runpy.run_path({script!r}, run_name="__main__")
"""
"""A GPU machine has torch and Triton."""
pytestmark = pytest.mark.xdist_group("gpu")  # one process prepares the folder for all of them


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT
    )


def gpu(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = WITHOUT_ATTNDSL.format(folder=str(BENCHMARKS), script=str(BENCHMARKS / "gpu.py"))
    where = ["--prepared", str(folder), "--output", str(folder / "results")]
    return python("-c", script, "--dry", *where, *arguments)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The small sizes of all attentions."""
    folder = tmp_path_factory.mktemp("prepared")
    done = python(str(BENCHMARKS / "gpu_prepare.py"), "-o", str(folder), "--small")
    assert done.returncode == 0, done.stderr
    return folder


def records(folder: Path, stage: str) -> list[dict]:
    found = json.loads((folder / "results" / f"{stage}.json").read_text())["records"]
    assert found
    for record in found:
        assert "failed" not in record, record
        assert "skipped" not in record, record
    return found


MASKS = """
import sys, torch, attndsl
from pathlib import Path
from gpu_cases import load_cases
from gpu_peers import tile_order
from gpu_prepare import extents_of, program_of
from gpu_specs import SPECS

specs = {spec.name: spec for spec in SPECS}
cases, _ = load_cases(Path(sys.argv[1]), torch.device("cpu"))
assert {case.name for case in cases} == specs.keys()
for case in cases:
    size = specs[case.name].small
    program = program_of(specs[case.name], "small", size)
    labels = {name: label.numpy() for name, label in case.data["labels"].items()}
    exact = torch.as_tensor(
        attndsl.mask(program, heads=case.heads, fields=labels, **extents_of(program, size))
    )
    exact = exact.view(-1, *exact.shape[-2:]).expand(case.heads, -1, -1)
    every = torch.arange(case.tokens)
    head = torch.arange(case.heads).view(-1, 1, 1)
    assert case.pairs == int(exact.sum()), case.key
    for form, found in case.data["maps"].items():
        prefix = "" if form == "raster" else "tiled_"
        mask_mod = getattr(case.modifiers, prefix + "mask_mod")
        order = every if form == "raster" else tile_order(case.shape, tuple(found["tile"]))
        mask = mask_mod(0, head, every[:, None], every[None, :]).expand(exact.shape)
        own = exact[:, order][:, :, order]
        assert torch.equal(mask, own), (case.key, form)
        blocks = own.unflatten(1, (-1, found["slots"])).unflatten(3, (-1, found["slots"]))
        some, all_ = blocks.any(4).any(2), blocks.all(4).all(2)
        assert torch.equal((some.int() + all_.int()), found["tiles"].int().expand(some.shape)), case.key
"""


def test_modifiers_and_tile_maps_are_those_of_the_specs(prepared):
    """Masks for FlexAttention, in both orders of tokens, against the dense mask; blocks against its blocks."""
    done = python("-c", MASKS, str(prepared))
    assert done.returncode == 0, done.stderr


def test_every_stage_runs(prepared):
    """All but compilers and clocks: one attention that is also hand-tiled."""
    done = gpu(prepared, "--only", "window 80, stride 16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {record["case"] for record in records(prepared, "calibrate")} > {"launch", "memory"}
    (right,) = records(prepared, "correct")
    assert max(right["errors"].values()) < 1e-5
    (timed,) = records(prepared, "forward")
    assert timed["peers"].keys() == {
        "FlexAttention raster, default", "FlexAttention hand-tiled, default", "SDPA math",
    }  # fmt: skip
    for name, peer in timed["peers"].items():
        assert peer["ratio"][0] > 0
        assert name.startswith("SDPA") or peer["difference"] < 1e-5
    assert timed["ours"]["median_ms"] > 0
    assert timed["predicted"]["model"]["seconds"] > 0
    (back,) = records(prepared, "backward")
    assert "key gradient" in back["configuration"]
    (varied,) = records(prepared, "ablate")
    assert all(not found["wrong"] for found in varied["variants"].values())
    assert "most even boxes" in varied["variants"]
    table = (prepared / "results" / "gpu.md").read_text()
    assert "| window 80, stride 16, width 16, small | SDPA math | math |" in table


def test_look_ups_and_heads_are_right(prepared):
    done = gpu(prepared, "--stage", "correct", "--only", "swin", "head mix")
    assert done.returncode == 0, done.stdout + done.stderr
    by_case = {record["case"].partition(",")[0]: record["errors"] for record in records(prepared, "correct")}
    assert by_case.keys() == {"swin", "head mix"}
    assert by_case["swin"].keys() == {"out", "lse", "dq", "dk", "dv", "d table"}
    assert all(max(errors.values()) < 1e-5 for errors in by_case.values())


def test_wrong_results_are_an_error(prepared):
    """The definition is made to see one key less."""
    path = prepared / "sliding_small_modifiers.py"
    text = path.read_text()
    assert "40" in text
    path.write_text(text.replace("40", "39"))
    done = gpu(prepared, "--stage", "correct", "--only", "sliding")
    path.write_text(text)
    assert done.returncode == 1, done.stderr
    assert "WRONG" in done.stdout
    assert "**wrong**" in (prepared / "results" / "gpu.md").read_text()


def test_a_spent_budget_leaves_records(prepared):
    done = gpu(prepared, "--stage", "forward", "--budget", "0")
    assert done.returncode == 0, done.stderr
    found = json.loads((prepared / "results" / "forward.json").read_text())["records"]
    assert all("skipped" in record for record in found)
    assert len(found) == 15
