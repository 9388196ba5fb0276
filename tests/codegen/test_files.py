"""The generated file on its own: run as a script, and imported where attndsl is not installed."""

import os
import runpy
import subprocess
import sys

import pytest
import torch
from hypothesis import given

import attndsl
from attndsl.language import load_text
from tests.strategies import specs, thorough

SPECS = {
    "plain": "attention plain { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal and sliding(7)) }",
    "image": "attention image { tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = h: window(5) and w: window(4, 2)) }",
    "fixed": "attention fixed { tokens x[t = 3, h = 4, w = 5]; input q, k, v : x; return attend(q, k, v, where = t: causal) }",
    "fields": "attention fields { tokens x[n]; input lab : x int; input flag : x bool; input b : x scalar; input q, k, v : x\n return attend(q, k, v, where = document(lab) or flag[j], bias = b[i] - b[j], score = 5 * tanh(s / 5)) }",
    "two": "attention two { tokens x[n]; tokens y[m]; input q : x; input k, v : y; return attend(q, k, v), attend(q, k, v, where = j < 3) }",
    "odd": "attention list { tokens x[at]; input grid, torch, self_ : x; return attend(grid, torch, self_) }",
}
EXACT_ZEROS = {
    "itself": "attention itself { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = i == j) }",
    "nothing": "attention nothing { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = i < 0) }",
    "ignored": "attention ignored { tokens x[n]; input q, k, v : x; return attend(q, k, v, score = i - j) }",
    "shifted": "attention shifted { tokens x[n]; input q, k, v : x; input b : x scalar; return attend(q, k, v, bias = b[i]) }",
}
"""Some gradients are zero, by cancellation or because there is nothing to see: rounding must not count."""


def run_as_script(path, capsys):
    """The exit status and output of the file, run in this process."""
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    return stop.value.code, capsys.readouterr().out


@pytest.mark.parametrize("name", [*SPECS, *EXACT_ZEROS])
def test_script_checks_itself(name, tmp_path, capsys):
    path = tmp_path / f"{name}.py"
    path.write_text(attndsl.source(load_text({**SPECS, **EXACT_ZEROS}[name])))
    code, output = run_as_script(path, capsys)
    assert code == 0, output
    assert output.splitlines()[-1] == "passed"
    assert "forward error" in output


def test_random_scripts_check_themselves(tmp_path, capsys):
    @thorough(20)
    @given(specs(most=30))
    def check(spec):
        path = tmp_path / "spec.py"
        path.write_text(attndsl.source(spec.program))
        code, output = run_as_script(path, capsys)
        assert code == 0, output

    check()


def test_a_wrong_kernel_fails_its_check(tmp_path, capsys):
    """The script's check can fail: a wrong weight, a gradient that is off, one that is not a number."""
    text = attndsl.source(load_text(SPECS["fields"]))
    changes = {
        "weight = s.sub_(top).exp_()": "weight = s.sub_(top).exp_() + 1e-4",
        "grad_v = per_kv_head(": "grad_v = 1.01 * per_kv_head(",
        "grad_k = per_kv_head(": "grad_k = torch.nan * per_kv_head(",
        "s = masked.fill_(s, -torch.inf)": "pass",
    }
    for right, wrong in changes.items():
        assert text.count(right) == 1
        path = tmp_path / "wrong.py"
        path.write_text(text.replace(right, wrong))
        code, output = run_as_script(path, capsys)
        assert code == 1
        assert "FAILED" in output


ALONE = """
import sys
for name in ("attndsl", "attndsl_codegen", "attndsl_grammar", "numpy.testing", "lark", "triton"):
    sys.modules[name] = None  # as if not installed
try:
    import attndsl
except ImportError:
    pass
else:
    raise SystemExit("attndsl is there")
sys.path.insert(0, sys.argv[1])
import torch, image, fields
for h, w in ((5, 6), (9, 13), (40, 31)):
    q, k, v = (torch.randn(1, 2, h, w, 8) for _ in range(3))
    print(image.Image()(q, k, v).shape)
assert len(image.PLANS) == 3
q, k, v = (torch.randn(2, 2, 50, 8, requires_grad=True) for _ in range(3))
lab, flag, b = torch.randint(0, 3, (2, 50)), torch.rand(2, 50) > 0.8, torch.randn(2, 2, 50, requires_grad=True)
fields.fields(lab, flag, b, q, k, v).sum().backward()
assert b.grad.abs().sum() > 0
assert not [name for name, module in sys.modules.items() if name.startswith("attndsl") and module]
print("done")
"""


def isolated(folder):
    """An environment that knows nothing of this checkout."""
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "HOME": str(folder)}


def test_files_need_no_attndsl(tmp_path):
    for name in ("image", "fields"):
        (tmp_path / f"{name}.py").write_text(attndsl.source(load_text(SPECS[name])))
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path)],
        capture_output=True, text=True, cwd=away, env=isolated(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
    assert "torch.Size([1, 2, 40, 31, 8])" in done.stdout


def test_python_file(tmp_path):
    """`python gna.py`, as the header says."""
    path = tmp_path / "plain.py"
    path.write_text(attndsl.source(load_text(SPECS["plain"])))
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, env=isolated(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "passed"
    assert done.stderr == ""


def test_two_files_do_not_disturb_one_another():
    """Their classes and plans are their own, even of the same spec."""
    program = load_text(SPECS["plain"])
    first, second = attndsl.compile(program), attndsl.compile(program)
    q = torch.randn(1, 1, 20, 4)
    assert torch.equal(first()(q, q, q), second()(q, q, q))
