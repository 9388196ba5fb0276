"""Folded files compute what unfolded ones do; the passes keep the meaning of small pieces of Python."""

import ast
import inspect
import itertools
import math
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import libcst as cst
import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st

import attndsl
from attndsl.api import import_source
from attndsl.examples import example_files
from attndsl.planning.plan import sizes_near
from attndsl_codegen import generate
from attndsl_codegen.folding.docstrings import without_entries
from attndsl_codegen.folding.fold import fold
from attndsl_codegen.folding.known import SOMETHING, Facts
from attndsl_codegen.folding.layout import laid_out
from attndsl_codegen.kernels.triton.configurations import Configuration
from attndsl_codegen.linker import Definition, mentioned
from tests.codegen.build import called
from tests.strategies import thorough

TOLERANCE = 1e-6
SMALL = Configuration(queries=32, keys=32, warps=4, stages=1)
MOST_TOKENS = 1000
"""Of programs with more, some of the queries are compared, where a file can choose some."""

# --- whole files ----------------------------------------------------------------------------------


def declared(generated, rows):
    """What the checks of a generated file take, whichever of it they need."""
    learned = getattr(generated, "LEARNED", ())
    return {"arguments": generated.ARGUMENTS, "learned": learned, "rows": rows, "results": generated.results}


def results_of(generated, inputs, rows, exact):
    """Results and gradients by the kernels of a generated file, or by its definition."""
    attend = called(generated, "by_definition", rows=rows) if exact else generated.by_kernel
    return called(generated, "run_with_gradients", **declared(generated, rows), inputs=inputs, attend=attend)


FAMILIES = ("sliding", "dilated", "packed", "swin", "sinked", "agent", "linear", "layer", "transformer_vq")
"""One of every kind of kernel; folding and comparing all examples takes many minutes."""


@pytest.mark.parametrize("name", FAMILIES)
def test_folded_and_unfolded_files_agree(name):
    """Forward and backward, through the kernels and through the file's own definition."""
    program = attndsl.load(name)
    texts = [generate(program, folded) for folded in (True, False)]
    assert len(texts[0]) < len(texts[1])
    folded, unfolded = (import_source(text, "folded") for text in texts)
    sizes = dict(sizes_near(program, {1: 48, 2: 10, 3: 6}, heads=2))
    count = math.prod(unfolded.ARGUMENTS[0].tokens.extents(sizes))
    samples = "rows" in inspect.signature(folded.run_with_gradients).parameters
    rows = torch.arange(0, count, count // 32) if samples and count > MOST_TOKENS else None
    inputs = called(unfolded, "example_inputs", **declared(unfolded, rows), sizes=sizes, heads=2)
    for exact in (False, True):
        both = (results_of(generated, inputs, rows, exact) for generated in (folded, unfolded))
        for found, expected in zip(*both):
            assert len(found) == len(expected)
            for a, b in zip(found, expected):
                assert torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["swin", "packed"])
@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_folded_files_run_on_triton(name):
    """In the interpreter; the torch form of the kernel is taken away, so that nothing else can have run."""
    given = {"swin": {"size": 4, "shift": 1}}.get(name, {})
    folded = import_source(generate(attndsl.load(name, **given)), "folded")
    folded.BACKEND, folded.configuration = "triton", lambda *_: SMALL
    folded.tiled = None
    sizes = dict(sizes_near(attndsl.load(name, **given), {1: 40, 2: 6}, heads=2))
    inputs = called(folded, "example_inputs", **declared(folded, None), sizes=sizes, heads=2)
    found, expected = (results_of(folded, inputs, None, exact) for exact in (False, True))
    for a, b in zip(itertools.chain(*found), itertools.chain(*expected)):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


# --- pieces of Python -----------------------------------------------------------------------------


def folded(text, own, **facts):
    """Definitions after folding, as one text; and the text that calls them."""
    definitions = []
    for node in ast.parse(text).body:
        part = ast.get_source_segment(text, node)
        definitions.append(Definition(node.name, "", part, frozenset(mentioned(part))))
    values = {name.replace("__", "."): values for name, values in facts.items()}
    found, owns = fold(definitions, {"own": own}, values)
    return "\n\n\n".join(definition.text for definition in found), owns["own"]


def plain(text):
    return textwrap.dedent(text).strip()


CASES = {
    "a branch that is taken": (
        """
        def f(s, SHAPE):
            if SHAPE is not None:
                s = SHAPE(s)  # shaped
            # what comes out
            return s * 2
        """,
        "f(3, SHAPE)",
        {"SHAPE": (None,)},
        """
        def f(s):
            # what comes out
            return s * 2
        """,
        "f(3)",
    ),
    "a name that would be assigned to itself": (
        """
        def f(x, has_width):
            x = x if has_width else x.unsqueeze(-1)
            return x.flatten(2, -2)
        """,
        "f(q, True)",
        {},
        """
        def f(x):
            return x.flatten(2, -2)
        """,
        "f(q)",
    ),
    "one of several": (
        """
        def f(x, how):
            if how == "sum":
                found = sum(x)
            elif how == "max":
                found = max(x)
            else:
                found = min(x)
            return found
        """,
        '(f(a, "sum"), f(b, "max"))',
        {},
        """
        def f(x, how):
            if how == "sum":
                found = sum(x)
            else:
                found = max(x)
            return found
        """,
        '(f(a, "sum"), f(b, "max"))',
    ),
    "loops over nothing": (
        """
        def f(mechanism, at, q):
            fields = {name: at[name] for name in mechanism.fields}
            for field in mechanism.fields:
                q = q + at[field]
            return g({**at, **fields}, q, *(at[name] for name in mechanism.fields))


        def g(at, q, *rest):
            return at, q, rest
        """,
        "f(mechanism, at, q)",
        {"mechanism__fields": ((),)},
        """
        def f(at, q):
            return g(at, q)


        def g(at, q, *rest):
            return at, q, rest
        """,
        "f(at, q)",
    ),
    "loops over one thing": (
        """
        def f(mechanism, q, ORDERED):
            # both of them
            for ordered in mechanism.layouts:
                q = g(q, ORDERED=ordered)
            for number in mechanism.layouts:
                q = q + (number or 1)
            for _ in mechanism.layouts:
                break
            return q


        def g(q, ORDERED):
            return q if ORDERED else 2 * q
        """,
        "f(mechanism, q, ORDERED)",
        {"mechanism__layouts": ((None,),), "ORDERED": (None,)},
        """
        def f(q):
            # both of them
            q = g(q)
            for number in (None,):
                q = q + (number or 1)
            for _ in (None,):
                break
            return q


        def g(q):
            return 2 * q
        """,
        "f(q)",
    ),
    "a function in which nothing is left to do": (
        """
        def shaped(mechanism, s):
            if mechanism.bias is not None:
                s = s + mechanism.bias
            return s


        def f(mechanism, s):
            return shaped(mechanism, s + 1) * 2
        """,
        "f(mechanism, s)",
        {"mechanism__bias": (None,)},
        """
        def f(s):
            return (s + 1) * 2
        """,
        "f(s)",
    ),
    "attributes that are always the same": (
        """
        class Grid:
            def __init__(self, extent, offset=0):
                self.extent, self.offset = extent, offset

            def last(self):
                return self.offset + self.extent - 1

            def middle(self):
                return self.extent // 2
        """,
        "Grid(5).last()",
        {},
        """
        class Grid:
            def __init__(self, extent):
                self.extent = extent

            def last(self):
                return self.extent - 1
        """,
        "Grid(5).last()",
    ),
    "variables of a constructor that are no attributes": (
        """
        class Sums:
            def __init__(self, numbers):
                parts = [numbers]
                for _ in range(2):
                    parts.append(numbers)
                self.total = sum(parts, [])
        """,
        "Sums([1]).total",
        {},
        """
        class Sums:
            def __init__(self, numbers):
                parts = [numbers]
                for _ in range(2):
                    parts.append(numbers)
                self.total = sum(parts, [])
        """,
        "Sums([1]).total",
    ),
    "an empty line after an inner function": (
        """
        def f(SHAPE, x):
            def inner():
                return x + 1

            if SHAPE is not None:
                x = SHAPE(x)
            y = inner()
            return y * y
        """,
        "f(SHAPE, x)",
        {"SHAPE": (None,)},
        """
        def f(x):
            def inner():
                return x + 1

            y = inner()
            return y * y
        """,
        "f(x)",
    ),
    "brackets around what is left of a condition": (
        """
        def f(SHAPE, a, b):
            if SHAPE is None and (a or b):
                return 1
            return 2
        """,
        "f(SHAPE, x, y)",
        {"SHAPE": (None,)},
        """
        def f(a, b):
            if a or b:
                return 1
            return 2
        """,
        "f(x, y)",
    ),
    "exclusive branches stay exclusive": (
        """
        def f(TILE, x):
            if len(TILE) == 1:
                return x
            elif len(TILE) == 2:
                return x * 2
            else:
                return x * 3
        """,
        "f(tile, x)",
        {"len(TILE)": (1, 2)},
        """
        def f(TILE, x):
            if len(TILE) == 1:
                return x
            else:
                return x * 2
        """,
        "f(tile, x)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_folded_pieces(name):
    text, own, facts, expected, expected_own = CASES[name]
    found = folded(plain(text), own, **facts)
    assert found == (plain(expected), expected_own)


def test_what_is_not_known_stays():
    text = plain("""
    def f(x, mechanism):
        # a comment
        if mechanism.bias is None and x > 0:  # and another
            x = x + 1
        return [y for y in x if y]
    """)
    assert folded(text, "f(x, m)", mechanism__bias=(None, SOMETHING)) == (text, "f(x, m)")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("mechanism.bias is None", (True, False)),
        ("self.mechanism.score is None", (False,)),
        ("not mechanism.score", (False,)),
        ("mechanism.fields and mechanism.bias", ((),)),
        ("len(mechanism.fields) > 1", (False,)),
        ("mechanism.normalize == 'linear' or unknown", None),
        ("mechanism.normalize in ('softmax', 'none')", (True,)),
        ("mechanism.score == 1", None),
        ("unknown and mechanism.fields", (False,)),
    ],
)
def test_values(text, values):
    facts = Facts(
        {
            "mechanism.bias": (None, SOMETHING),
            "mechanism.score": (SOMETHING,),
            "mechanism.fields": ((),),
            "mechanism.normalize": ("softmax",),
        }
    )
    assert facts.values(cst.parse_expression(text)) == values


CONDITIONS = st.sampled_from(
    (
        "mechanism.bias is None",
        "mechanism.bias is not None",
        "mechanism.names",
        "not mechanism.names",
        "len(mechanism.names) > 1",
        "mechanism.mode == 'a'",
        "mechanism.mode in ('a', 'b')",
        "FLAG",
        "x > 1",
    )
)
VALUES = st.recursive(
    st.sampled_from(
        ("x", "1", "0", "FLAG", "len(mechanism.names)", "sum(at[name] for name in mechanism.names)")
    ),
    lambda inner: st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("({} - {})".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, CONDITIONS, inner),
        st.builds("g({}, {})".format, inner, st.sampled_from(("'a'", "'b'", "mechanism.mode"))),
        st.builds("h({}, mechanism, {})".format, inner, st.sampled_from(("True", "False"))),
    ),
    max_leaves=4,
)
TESTS = st.recursive(
    CONDITIONS,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(("and", "or")), inner),
    max_leaves=3,
)


def indented(lines):
    return [f"    {line}" for line in lines]


STATEMENTS = st.recursive(
    st.one_of(
        st.builds("x = {}".format, VALUES).map(lambda line: [line]),
        st.builds("if {}: return {}".format, TESTS, VALUES)
        .map(lambda t: t.split(": ", 1))
        .map(lambda parts: [f"{parts[0]}:", f"    {parts[1]}"]),
        VALUES.map(lambda value: ["for name in mechanism.names:", f"    x = x + at[name] - {value}"]),
    ),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda t, a, b: [f"if {t}:", *indented(a), "else:", *indented(b)], TESTS, inner, inner),
        st.builds(
            lambda a, b: [
                "match mechanism.mode:",
                *indented(["case 'a':", *indented(a), "case _:", *indented(b)]),
            ],
            inner,
            inner,
        ),
    ),
    max_leaves=5,
)
HELPERS = """
def g(x, mode):
    if mode == "a":
        return x + 1
    return x - 1


def h(x, mechanism, later):
    y = 2 if mechanism.bias is None else 3
    return x * y if later else x
"""


@thorough(150)
@given(STATEMENTS, st.data())
def test_folding_keeps_the_meaning(body, data):
    """Whatever else a value might be, as long as what it is is among the known possibilities."""
    text = "\n".join(["def f(x, mechanism, at, FLAG):", *indented(body), "    return x"]) + "\n\n" + HELPERS
    actual = {
        "bias": data.draw(st.sampled_from((None, len))),
        "names": data.draw(st.sampled_from(((), ("p",), ("p", "q")))),
        "mode": data.draw(st.sampled_from(("a", "b"))),
    }
    flag = data.draw(st.sampled_from((0, 1)))
    facts = {f"mechanism__{name}": (SOMETHING if value is len else value,) for name, value in actual.items()}
    if data.draw(st.booleans()):
        facts["mechanism__bias"] = (None, SOMETHING)
    own = f"result = f(x, mechanism, at, FLAG={flag})"
    new, new_own = folded(text, own, **facts)
    note(f"{text}\n---\n{new}\n{new_own}")
    results = []
    for program in (f"{text}\n{own}", f"{new}\n{new_own}"):
        for x in (0, 2):
            names = {"x": x, "mechanism": SimpleNamespace(**actual), "at": {"p": 5, "q": 7}}
            exec(compile(program, "<folded>", "exec"), names)
            results.append(names["result"])
    assert results[:2] == results[2:]


# --- how files look -------------------------------------------------------------------------------

LINES = (
    "def f(q, v):\n    return q + v",
    "total = function_of_many(" + ", ".join(f"argument{at}" for at in range(12)) + ")",
    "total = (" + " + ".join(f"(first{at} * second{at})" for at in range(9)) + ")",
    "total = (" + " & ".join(f"(one{at} == two{at})" for at in range(8)) + ")",
    "may = (first_condition <= another) | (" + " & ".join(f"(one{at} == two{at})" for at in range(6)) + ")",
    "power = base ** -0.5 + f(x) ** 2",
    "found = [function(element, 3) for element in a_long_sequence_of_elements if element is not None and element > 0]",
    "items = (first_element, *[second_element] * (argument is not None), *third_element.extents(sizes), last_one, 1)",
    "x = (\n    y + z\n)",
)


@pytest.mark.parametrize("line", LINES)
def test_laid_out_as_formatters_do(line, tmp_path):
    path = tmp_path / "line.py"
    path.write_text(laid_out(line, "") + "\n")
    assert formatted(path) == ""


def formatted(*paths):
    """What ruff would format differently."""
    command = ["-m", "ruff", "format", "--isolated", "--line-length", "110", "--diff", "--quiet"]
    done = subprocess.run([sys.executable, *command, *map(str, paths)], capture_output=True, text=True)
    return done.stdout + done.stderr


def lint(folder):
    """What ruff says under the rules of this project that do not ask for more documentation or annotations.

    Triton needs branches that exclude each other, `else` after `return` included.
    """
    rules = ["--select", "E,F,W,I,B,C4,PIE,RET,SIM,UP,RUF059", "--ignore", "B905,SIM300,RET505"]
    command = [
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--quiet",
        "--target-version",
        "py311",
        "--line-length",
        "110",
    ]
    done = subprocess.run([sys.executable, *command, *rules, str(folder)], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_files_of_examples_are_formatted_and_free_of_lint(tmp_path):
    for name in example_files():
        (tmp_path / f"{name}.py").write_text(attndsl.source(attndsl.load(name)))
    assert lint(tmp_path) == ""
    assert formatted(tmp_path) == ""


def test_docstrings_without_entries():
    text = '''"""Cut into boxes.

    Args:
        tile, steps: the sides of a tile,
            and more about it.
        offset: where it starts.
    """'''
    assert without_entries(text, {"steps"}) == text.replace("tile, steps", "tile")
    assert without_entries(text, {"steps", "offset"}).endswith('about it.\n    """')
    assert without_entries(text, {"tile", "steps", "offset"}) == '"""Cut into boxes."""'


def test_libcst_is_imported_for_generated_files_only():
    """Starting the other commands must not wait for it."""
    script = (
        "import sys; from attndsl.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit(code or 'libcst' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    for arguments in (["list"], ["explain", "swin"], ["show", "swin"], ["simulate", "swin"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, cwd=root)
        assert done.returncode == 0, done.stderr
