"""Linked files are complete and nothing more; names of the spec clash with nothing."""

import ast
import builtins
import importlib
import inspect
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attndsl
from attndsl.api import import_source
from attndsl.examples import example_files
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.language import load_text
from attndsl_codegen import generate
from attndsl_codegen.linker import MODULES, PACKAGE, imports_for, library, link, mentioned
from attndsl_codegen.names import class_name, function_name, safe
from tests.codegen.build import called, check, run, run_exact
from tests.strategies import specs, thorough

# --- what is linked -------------------------------------------------------------------------------


def test_definitions_are_the_kernels_own_text():
    """Word for word, so that what is tested in place is what is shipped."""
    for name, definition in library().definitions.items():
        module = importlib.import_module(f"{PACKAGE}.{definition.module}")
        assert definition.text in inspect.getsource(module)
        assert hasattr(module, name)


@thorough(100)
@given(st.sets(st.sampled_from(sorted(library().definitions)), min_size=1, max_size=4))
def test_links_are_closed_under_mentions(roots):
    found = link(roots)
    names = {definition.name for definition in found}
    assert roots <= names
    for definition in found:
        assert definition.mentions & library().definitions.keys() <= names
    order = list(library().definitions)
    assert [d.name for d in found] == sorted(names, key=order.index)


@thorough(60)
@given(st.sampled_from(sorted(library().definitions)))
def test_links_are_no_more_than_needed(root):
    """Everything linked is reached from the root by a chain of mentions."""
    found = {definition.name: definition for definition in link([root])}
    reached = {root}
    while True:
        more = set().union(*(found[name].mentions for name in reached)) & found.keys()
        if more <= reached:
            break
        reached |= more
    assert reached == found.keys()


def test_links_of_unknown_names_are_nothing():
    assert link(["print", "torch", "q"]) == []


def test_kernels_of_one_name_would_hide_each_other():
    """All kernel modules share the generated file's namespace."""
    defined = [
        name
        for module in MODULES
        for node in ast.parse(inspect.getsource(importlib.import_module(f"{PACKAGE}.{module}"))).body
        for name in ([node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else [])
    ]
    assert len(defined) == len(set(defined))
    assert not {name for name in defined if name in dir(builtins)}


def test_every_kernel_module_is_in_the_library():
    package = importlib.import_module(PACKAGE)
    (folder,) = package.__path__
    import pathlib

    root = pathlib.Path(folder)
    files = {".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("*.py")}
    assert {name for name in files if not name.endswith("__init__")} == set(MODULES)


def test_imports_are_grouped_and_sorted():
    lines = imports_for({"torch", "Tensor", "math", "Any", "Protocol", "nn", "unheard"})
    assert lines == [
        "import math",
        "from typing import Any, Protocol",
        "import torch",
        "from torch import Tensor, nn",
    ]
    assert imports_for({"nothing"}) == []


def test_mentioned():
    assert mentioned("a.b(c[d], e=lambda f: g)") == {"a", "c", "d", "g"}
    function = "@a\ndef f(b: c, d=e) -> g:\n    return [b, d, h, lambda i: (i, b, j)]"
    assert mentioned(function) == {"a", "c", "e", "g", "h", "j"}
    assert mentioned("b\n\ndef f(b):\n    return b") == {"b"}


# --- whole files ----------------------------------------------------------------------------------


def free_names(text):
    """Names that no statement of the file binds and Python does not know."""
    tree = ast.parse(text)
    bound = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound |= {alias.asname or alias.name for alias in names}
            case ast.arg(arg=name):
                bound.add(name)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return used - bound - set(dir(builtins)) - {"__name__", "__file__"}


def lint(folder):
    """What pyflakes' rules, as ruff has them, say about the files of a folder."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F,E9",
        "--output-format",
        "concise",
    ]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_examples_have_no_loose_ends(tmp_path):
    """No name without a definition, no import or local without a use, before anything is folded."""
    for name in example_files():
        text = generate(attndsl.load(name), folded=False)
        assert not free_names(text), name
        (tmp_path / f"{name}.py").write_text(text)
    code, output = lint(tmp_path)
    assert code == 0, output


@thorough(40)
@given(specs())
def test_random_files_have_no_loose_ends(spec):
    text = generate(spec.program, folded=False)
    assert not free_names(text)
    compile(text, "<generated>", "exec")
    assert max(map(len, text.splitlines())) <= 400


def test_the_same_program_gives_the_same_bytes():
    for name in ("packed", "swin"):
        assert attndsl.source(attndsl.load(name)) == attndsl.source(attndsl.load(name))
    script = (
        "import attndsl, hashlib; "
        "print([hashlib.sha256(attndsl.source(attndsl.load(n)).encode()).hexdigest() for n in ('packed', 'head_mixture')])"
    )
    import os

    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


# --- names of the spec ----------------------------------------------------------------------------


def works(text, heads=2, kv_heads=1):
    """The generated file imports, runs and agrees with the definition, and its own check passes."""
    program = load_text(text)
    source = generate(program, folded=False)
    assert not free_names(source)
    generated = import_source(source, "names")
    sizes = {symbol: 5 + at for at, symbol in enumerate(program.symbols)}
    generator = torch.Generator().manual_seed(0)
    inputs = {}
    for value in program.inputs:
        axes = {HEADS: [heads], KV_HEADS: [kv_heads], None: []}[value.type.heads]
        extents = value.type.tokens.extents(sizes)
        shape = (2, *axes, *extents, *([] if value.type.width is None else [4]))
        real = value.type.kind == "real"
        labels = torch.randint(0, 2, shape, generator=generator)
        inputs[value.name] = torch.randn(shape, generator=generator) if real else labels
        if value.type.kind == "bool":
            inputs[value.name] = labels > 0
    module = getattr(generated, generated.__all__[0])()
    function = getattr(generated, generated.__all__[1])
    check(run(lambda t: module(*t.values(), return_lse=True), inputs), run_exact(program, inputs), 1e-5)
    assert torch.equal(function(*inputs.values()), module(*inputs.values()))
    known = {"results": generated.results, "arguments": generated.ARGUMENTS, "learned": (), "sizes": sizes}
    assert called(generated, "self_check", **known, sampled=False) == 0
    return generated


NAMES = (
    "dense tiled list plan Plan Tokens Argument Attend Mechanism results self_check check_sizes softmax_forward "
    "Any Tensor Module nn torch math time forward class_ print type dict range steps Step need halved"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_attentions(name):
    generated = works(
        f"attention {name} {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }}"
    )
    module, function = generated.__all__
    assert module != function
    assert function == function.lower()


@pytest.mark.parametrize(
    "name", ["lambda_", "class", "None", "_", "_a", "a__b", "Swin", "HunyuanGNA", "any", "Any_"]
)
def test_awkward_attentions(name):
    works(f"attention {name} {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }}")


INPUTS = (
    "grid torch self_check Tensor return_lse at nn list tiled flat found is_flat attend results sizes mechanism "
    "dtype batch kv_heads order forward super Range Any out lse key query lambda class None OutAttend TOKENS_X ARGUMENTS self rows tensors"
).split()


@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name):
    works(
        f"attention a {{ tokens x[n]; input {name}, k, v : x; return attend({name}, k, v, where = causal) }}"
    )
    works(
        f"attention a {{ tokens x[n]; input q, k, {name} : x; return attend(q, k, {name}, where = causal) }}"
    )


FIELDS = (
    "grid torch at head_ dtype batch kv_heads order where bounds scale bias score query key i_h j_h must may lo "
    "label least Range is_power_of_two math lambda n_ Any query_tile mask_fields cls self rows tensors"
).split()


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name):
    works(
        f"attention a {{ tokens x[h, w]; input q, k, v : x; input {name} : x int\n"
        f" near = {name}[i] == {name}[j] and i.h <= j.h + 1\n"
        f" return attend(q, k, v, where = near, bias = {name}[i.h, j.w] / 3) }}"
    )
    works(
        f"attention a {{ tokens x[h]; input q, k, v : x; input {name} : x scalar\n"
        f" return attend(q, k, v, where = causal, bias = {name}[i] - {name}[j]) }}"
    )


AXES = (
    "lambda at q_width batch dtype kv_heads grid torch self math order i_h j_h must may lo hi width query key "
    "class None Any size is list h_lo heads_ window causal x_h q k_"
).split()


@pytest.mark.parametrize("name", AXES)
def test_axes(name):
    works(
        f"attention a {{ tokens x[{name}]; input q, kk, v : x\n"
        f" return attend(q, kk, v, where = i.{name} <= j.{name}, bias = (i - j) / x.{name}, scale = 1 / q.width) }}"
        if name != "q"
        else "attention a { tokens x[q]; input r, k, v : x; return attend(r, k, v, where = causal) }"
    )
    works(
        f"attention a {{ tokens x[{name}, w]; input r, kk, v : x\n"
        f" near = {name}: window(3) and w: window(2)\n"
        f" return attend(r, kk, v, where = near or i.w < x.{name} // 2) }}"
    )


TOKENS = "list at lambda torch batch dtype X ARGUMENTS SPEC x_ TOKENS_X class".split()


@pytest.mark.parametrize("name", TOKENS)
def test_token_sets(name):
    works(
        f"attention a {{ tokens {name}[n]; input q, k, v : {name}; return attend(q, k, v, where = causal) }}"
    )
    works(
        f"attention a {{ tokens x[n]; tokens {name}[m]; input q : x; input k, v : {name}; return attend(q, k, v) }}"
    )


VALUES = "out at attend list torch z_lse results grid OutAttend Tensor lambda q_lse k".split()


@pytest.mark.parametrize("name", VALUES)
def test_intermediate_values(name):
    works(
        f"attention a {{ tokens x[n]; tokens c[3]; input q, kk, v : x; input m : c\n"
        f" {name} = attend(m, kk, v)\n return attend(q, m, {name}) }}"
    )


LABELS = "first must may at j_ torch lo n n_lo where list lambda test offset near_lo".split()


@pytest.mark.parametrize("name", LABELS)
def test_names_in_patterns(name):
    works(
        f"pattern mine(size) {{ {name} = max(i - size, 0)\n {name} <= j and j <= {name} + 2 * size }}\n"
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = mine(1) or n < 3) }"
    )
    works(
        f"pattern mine(size) {{ {name} = max(i - size, 0)\n {name} <= j and j <= {name} + 2 * size }}\n"
        "attention a { tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = h: mine(1) and w: mine(2)) }"
    )


def test_a_field_and_an_axis_that_spell_alike():
    """On axes h and w the coordinates are `i_h`, `i_w`; a field of that name must step aside."""
    works(
        "attention a { tokens x[h, w]; input q, k, v : x; input i_h, j_w : x int\n"
        " return attend(q, k, v, where = i_h[i] <= i.h and j_w[j] != i.w) }"
    )
    works(
        "attention a { tokens x[n, n_]; input q, k, v : x; input n__ : x int\n"
        " return attend(q, k, v, where = n__[i] < n - n_ + i.n_) }"
    )
    works(
        "attention a { tokens x[n, q_width]; input q, k, v : x\n"
        " return attend(q, k, v, bias = q.width / q_width - i.n / n, scale = 1 / (q.width + q_width)) }"
    )


def test_two_inputs_that_become_one_python_name():
    works("attention a { tokens x[n]; input grid, grid_, v : x; return attend(grid, grid_, v) }")


def test_two_sets_that_become_one_constant():
    works("attention a { tokens x[n]; tokens X[m]; input q : x; input k, v : X; return attend(q, k, v) }")


def test_spec_text_survives():
    """Quotes, backslashes and the like in comments come back as they were."""
    text = 'attention a { # """ \\" \\n {x} \'\'\' % é\n tokens x[n]; input q, k, v : x; return attend(q, k, v) }\n'
    generated = works(text)
    assert text == generated.SPEC
    import hashlib

    assert hashlib.sha256(text.encode()).hexdigest() == generated.SPEC_SHA256


def test_parameters_are_shown():
    text = "attention a(size = (3, 5), flag = true, share = 0.5) { tokens x[n]; input q, k, v : x; return attend(q, k, v) }"
    assert works(text).PARAMETERS == {"size": (3, 5), "flag": True, "share": 0.5}


def test_word_forms():
    assert class_name("hunyuan_gna") == "HunyuanGna"
    assert class_name("a") == "A"
    assert class_name("list") == "List"
    assert class_name("tensor") == "Tensor_"
    assert class_name("_") == "Attention"
    assert function_name("HunyuanGna") == "hunyuan_gna"
    assert function_name("by_definition") == "by_definition_"
    assert len({safe(name) for name in ("grid", "grid_", "grid__")}) == 3
    assert safe("q") == "q"
    assert safe("list") == "list_"
    assert safe("lambda") == "lambda_"


@pytest.mark.parametrize("name", example_files())
def test_kernels_leave_its_name_to_every_example(name):
    """A function of the kernels that is called like a mechanism would take the name away from its users."""
    assert function_name(name) == name
