"""A wheel, an sdist and an editable install all work in clean environments outside the repository."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
}

pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel, made from the sdist, so that both are known to be complete."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def environment(folder: Path, *packages: object) -> Path:
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    python = folder / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *packages, cwd=folder)
    return python


def exercise(python: Path, folder: Path) -> None:
    """Everything but `check` works without torch."""
    attndsl = python.parent / "attndsl"
    listed = json.loads(run(attndsl, "list", "--json", cwd=folder))
    assert "hunyuan_gna" in listed["examples"]
    assert "window" in listed["patterns"]
    run(attndsl, "compile", "swin", "-o", folder / "swin.py", cwd=folder)
    run(python, "-m", "attndsl", "show", "swin", "-o", folder / "swin.png", cwd=folder)
    run(attndsl, "explain", "E203", cwd=folder)
    absent = "import importlib.util as u; assert u.find_spec('torch') is None"
    run(python, "-c", absent, cwd=folder)
    # The generated file needs torch and nothing of attndsl: `-I` ignores the checkout.
    assert "passed" in run(sys.executable, "-I", folder / "swin.py", cwd=folder)


def test_wheel(built, tmp_path):
    wheel = next(built.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "attndsl_grammar/attn.lark" in names
    assert "attndsl/installed_examples/swin.attn" in names
    assert {name.split("/")[0] for name in names if not name.split("/")[0].endswith("dist-info")} == {
        "attndsl", "attndsl_codegen", "attndsl_grammar",
    }  # fmt: skip
    exercise(environment(tmp_path, wheel), tmp_path)


def test_editable(tmp_path):
    exercise(environment(tmp_path, "--editable", ROOT), tmp_path)
