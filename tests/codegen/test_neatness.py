"""Generated files read well: no long lines, no loose ends, names of their own for everything."""

import ast
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attndsl
from attndsl.api import import_source
from attndsl.language import load_text
from attndsl_codegen.linker import library
from attndsl_codegen.printers.wrap import fitted, wrapped
from tests.programs import programs
from tests.strategies import thorough

SPECS = {
    "learned": """attention learned(P = 3) {
  tokens x[h, w]
  input q, k, v : x
  learn table : [2 * P - 1, 2 * P - 1] scalar
  where = h: block(P) and w: block(P)
  z = attend(q, k, v, where = where, bias = table[i.h - j.h + P - 1, i.w - j.w + P - 1])
  return z + depthwise(v, 3)
}""",
    "codes": """attention codes(S = 8, L = 16) {
  tokens x[n]
  tokens cell[n // L, S]
  input q, k, v : x
  c = codebook(k, S)
  t = (i // L, c.label[i])
  total = cumsum(sum(v, by = t, cell), axis = 0)
  number = cumsum(count(by = t, cell, of = x), axis = 0)
  loss commit = c.loss
  return joint(
    attend(q, c.hat, v, where = causal and i // L - j // L <= 1),
    attend(q, gather(c.code, cell, i.1), total / max(number, 1),
           where = j.0 == i // L - 2, bias = log(number[j])))
}""",
    "layer": """attention layer(count = 4) {
  tokens x[n]
  input y : x flat
  first, second, third = project(y, 3)
  q, k, v = split((first, second, third), count)
  gate = sigmoid(project(y)) * silu(project(y)) + tanh(project(y)) * softplus(project(y)) - gelu(project(y))
  return project(flat(attend(q, k, v, where = causal))) * gate
}""",
    "triple": """attention triple {
  tokens x[n]
  input q, k1, k2, v1, v2 : x
  return attend(q, kron(k1, k2), kron(v1, v2)), attend(elu(q) + 1, elu(k1) + 1, v1, normalize = linear)
}""",
}


def own_text(source: str) -> str:
    """The file without the spec, whose lines are the user's."""
    return re.sub(r'SPEC = """\\\n.*?\n"""\n', 'SPEC = ""\n', source, flags=re.DOTALL)


def lint(folder) -> str:
    """What ruff says about the files of a folder; nothing if all is well."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,W",
        "--line-length",
        "110",
    ]
    done = subprocess.run([*command, "--quiet", str(folder)], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_files_pass_the_linter(tmp_path):
    for name, spec in SPECS.items():
        (tmp_path / f"{name}.py").write_text(own_text(attndsl.source(load_text(spec))))
    assert not lint(tmp_path)


def test_random_files_pass_the_linter(tmp_path):
    @thorough(25)
    @given(st.data())
    def write(data):
        text = own_text(attndsl.source(load_text(data.draw(programs()))))
        (tmp_path / f"file{len(list(tmp_path.iterdir()))}.py").write_text(text)

    write()
    assert not lint(tmp_path)


def test_no_local_name_hides_a_definition_of_another_kernel():
    """It would look like a mention, and drag that definition into files that do not need it."""
    definitions = library().definitions
    allowed = {"is_flat", "mask", "shaped", "members", "tl"}  # of the same kernels, which need them anyway
    for definition in definitions.values():
        for node in ast.walk(ast.parse(definition.text)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id != definition.name:
                assert node.id not in definitions.keys() - allowed, f"{definition.name}: {node.id}"


def test_unnamed_attends_have_class_names_that_read_well():
    text = attndsl.source(
        load_text("attention a { tokens x[n]; input q, k, v : x; return attend(q, k, attend(q, k, v)) }")
    )
    assert re.findall(r"^class (\w+Attend_?):", text, re.MULTILINE) == ["InnerAttend", "OutAttend"]


def run(spec: str) -> dict[str, torch.Tensor]:
    """Results of a spec on fixed inputs, with their log-sum-exps, as text of the program says."""
    program = load_text(spec)
    generated = import_source(attndsl.source(program), "names")
    inputs = [torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(at)) for at in range(3)]
    return getattr(generated, program.name)(*inputs, return_lse=True)


@pytest.mark.parametrize("name", ["z_lse", "z_lse_", "inner", "z_places"])
def test_values_may_be_called_like_our_own_variables(name):
    """`z_lse` is also what the log-sum-exp of `z` would be called."""
    spec = "attention a {{ tokens x[n]; input q, k, v : x; z = attend(q, k, v); {0} = attend(attend(q, k, v), z, v); return z, {0} }}"
    found, expected = run(spec.format(name)), run(spec.format("other"))
    for (out, lse), (wanted, wanted_lse) in zip(found, expected):
        assert torch.equal(out, wanted)
        assert torch.equal(lse, wanted_lse)


def test_places_of_a_value_and_a_value_of_that_name():
    spec = """attention a {{ tokens x[n]; tokens c[2]; input q, k, v : x
      {0} = gather(k, c, i * 2)
      z = gather(v, c, i + 1)
      return attend(q, {0}, z) }}"""
    assert torch.equal(run(spec.format("z_places"))[0], run(spec.format("other"))[0])


# --- broken lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("short = f(a)", ["short = f(a)"]),
        ("total = combine(first, second)", ["total = combine(", "    first, second", ")"]),
        ("f(first_argument, second_argument, g(x))", ["f(", "    first_argument,", "    second_argument,", "    g(x),", ")"]),
        ("total = first_term + f(a, b) - second", ["total = (", "    first_term", "    + f(a, b)", "    - second", ")"]),
        ("return first_factor * second_factor", ["return (", "    first_factor", "    * second_factor", ")"]),
        ("all_of = [f(a) for a in everything]", ["all_of = [", "    f(a)", "    for a in everything", "]"]),
        ('message = f("a, b, c, (d", "e + f")', ["message = f(", '    "a, b, c, (d", "e + f"', ")"]),
        ("an_identifier_that_is_too_long_to_break", ["an_identifier_that_is_too_long_to_break"]),
    ],
)  # fmt: skip
def test_wrapped(line, expected):
    assert wrapped(line, 26) == expected


def test_fitted_keeps_indentation_and_meaning():
    line = f"        value = f({', '.join(f'argument{at}' for at in range(20))})"
    lines = fitted(["def g():", line, ""])
    assert lines[0] == "def g():"
    assert lines[-1] == ""
    assert all(len(text) - len(text.lstrip()) >= 8 and len(text) <= 104 for text in lines[1:-1])
    assert ast.dump(ast.parse("\n".join(text.strip() for text in lines[1:-1]))) == ast.dump(
        ast.parse(line.strip())
    )
