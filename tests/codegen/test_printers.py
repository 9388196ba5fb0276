"""Printed Python means what the expression means: numpy and torch source is run and compared, point by point."""

import ast
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st

from attndsl.ir.index import Apply, Const, Load, Var, apply
from attndsl.ir.namespaces import EXACT
from attndsl.ir.rewrite import simplify
from attndsl.ir.text import show
from attndsl.ir.walk import evaluate, postorder
from attndsl_codegen.kernels import numbers
from attndsl_codegen.printers.body import Body, signature
from attndsl_codegen.printers.python import ArrayPrinter, NumpyPrinter, TorchPrinter, identifier
from tests.ir.strategies import NAMES, booleans, expressions, i, integers, j, n
from tests.strategies import thorough

GRID = np.mgrid[-5:6, -4:7].reshape(2, -1)
"""Values of i and j; n stays a plain number."""
TABLE = np.array([3, -1, 0, 2, 7, 1])
LOADS = {"lab": lambda at: int(TABLE[min(max(at, 0), 5)])}


def looked_up(at):
    """A field as both libraries see it; the coordinate may be a plain number."""
    if isinstance(at, torch.Tensor):
        return torch.from_numpy(TABLE)[at.clamp(0, 5)]
    return TABLE[np.clip(at, 0, 5)]


def power_of_two(x):
    return (np.asarray(x) > 0) & (np.asarray(x) & (np.asarray(x) - 1) == 0)


def power_above(x):
    return np.vectorize(lambda a: 1 << max(int(a) - 1, 0).bit_length())(x)


def known(printer, size):
    """What printed code may mention, with i and j as arrays of its library."""
    import math

    if isinstance(printer, TorchPrinter):
        helpers = {
            "torch": torch,
            "is_power_of_two": numbers.is_power_of_two,
            "at": {"real dtype": torch.float64},
        }
        helpers["power_of_two_above"] = numbers.power_of_two_above
        arrays = dict(zip("ij", torch.from_numpy(GRID)))
    else:
        helpers = {"np": np, "is_power_of_two": power_of_two, "power_of_two_above": power_above}
        arrays = dict(zip("ij", GRID))
    return {"math": math, "lab": looked_up, "n": size, **helpers, **arrays}


def expected(expr, size):
    """The exact value at every point."""
    values = [evaluate(expr, {"i": int(a), "j": int(b), "n": size}, EXACT, LOADS) for a, b in GRID.T]
    return np.array(values)


def agree(found, expr, size):
    """Equal for integers and conditions, to rounding for reals."""
    wanted = expected(expr, size)
    found = np.broadcast_to(np.asarray(found), wanted.shape)
    if expr.kind == "real":
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    else:
        np.testing.assert_array_equal(found, wanted)


PRINTERS = [NumpyPrinter, TorchPrinter]
SIZES = st.integers(-4, 9)


def reals(depth=2):
    """Real expressions that are finite everywhere."""
    a = integers(1)
    leaf = st.builds(lambda e: apply("real", e), a) | st.sampled_from((0.5, -0.25, 3.0)).map(Const)
    if depth == 0:
        return leaf
    r = reals(depth - 1)

    def tamed(e):
        return apply("abs", e) + Const(1.0)

    return st.one_of(
        leaf,
        st.builds(operator.add, r, r),
        st.builds(operator.sub, r, r),
        st.builds(operator.mul, r, r),
        st.builds(lambda e, f: apply("/", e, tamed(f)), r, r),
        st.builds(lambda e: apply("tanh", e), r),
        st.builds(lambda e: apply("log", tamed(e)), r),
        st.builds(lambda e: apply("sqrt", tamed(e)), r),
        st.builds(lambda e: apply("exp", -tamed(e)), r),
        st.builds(lambda e: apply("**", Const(2.0), -tamed(e)), r),
        st.builds(lambda c, e, f: apply("select", c, e, f), booleans(1), r, r),
        st.builds(lambda e, f: apply("min", e, f), r, r),
        st.builds(lambda e, f: apply("max", e, f), r, r),
    )


def with_loads():
    """Expressions in which some coordinates were looked up."""
    load = st.builds(lambda e: Load("lab", (e,)), integers(1))
    return st.one_of(
        st.builds(lambda a, b: apply("==", a, b), load, load),
        st.builds(lambda a, e: (a - e) % 3 < 2, load, integers(1)),
        st.builds(lambda c, a, e: apply("select", c, a, e), booleans(1), load, integers(1)),
    )


def everything():
    return expressions(3) | reals() | with_loads()


@pytest.mark.parametrize("printer", PRINTERS)
def test_printed_expressions(printer):
    @thorough(250)
    @given(everything(), SIZES)
    def check(expr, size):
        writer = printer({"i", "j"})
        text = writer.show(expr)
        note(f"{show(expr)}\n{text}")
        assert "\n" not in text
        agree(eval(text, known(writer, size)), expr, size)

    check()


@pytest.mark.parametrize("printer", PRINTERS)
def test_numbers_stay_numbers(printer):
    """Without arrays the text is plain Python: no library is mentioned."""

    @thorough(100)
    @given(expressions(2), SIZES, SIZES, SIZES)
    def check(expr, a, b, c):
        text = printer(set()).show(expr)
        assert "torch" not in text
        assert "np." not in text
        assert eval(text, {**known(printer(set()), c), "i": a, "j": b}) == evaluate(
            expr, {"i": a, "j": b, "n": c}, EXACT
        )

    check()


@pytest.mark.parametrize("printer", PRINTERS)
def test_names_replace_subexpressions(printer):
    """Bound names are used, with the parentheses that the rest needs."""

    @thorough(100)
    @given(expressions(3), SIZES, st.data())
    def check(expr, size, data):
        inner = [node for node in postorder([expr]) if isinstance(node, Apply)]
        if not inner:
            return
        chosen = data.draw(st.sampled_from(inner))
        writer = printer({"i", "j"})
        env = known(writer, size)
        env["part"] = eval(writer.show(chosen), env)
        writer.names[chosen] = "part"
        agree(eval(writer.show(expr), env), expr, size)

    check()


@pytest.mark.parametrize("printer", PRINTERS)
def test_bodies(printer):
    """Shared subexpressions become lines; the function returns the same values."""

    @thorough(200)
    @given(st.lists(everything(), min_size=1, max_size=3), SIZES, st.data())
    def check(results, size, data):
        writer = printer({"i", "j"})
        nodes = [node for node in postorder(results) if isinstance(node, Apply | Load)]
        labels = {}
        for name in (
            "near",
            "near",
            "offset",
            "n",
            "j",
            "lead",
        ):  # names clash with one another and with ours
            if nodes and data.draw(st.booleans()):
                labels[data.draw(st.sampled_from(nodes))] = name
        taken = {"i", "j", "n", "at", "lab"}
        body = Body(writer, labels, set(taken), tuple(f"out{at}" for at in range(len(results))))
        body.print(results)
        text = "\n".join(["def f(i, j, n, at):", *(f"    {line}" for line in body.lines)])
        note(text)
        bound = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)
                 and isinstance(node.ctx, ast.Store)]  # fmt: skip
        assert len(bound) == len(set(bound))
        assert not taken & set(bound)
        env = known(writer, size)
        exec(text, env)
        found = env["f"](env["i"], env["j"], size, env.get("at"))
        for value, result in zip(found if len(results) > 1 else [found], results):
            agree(value, result, size)
        assert all(len(line) < 400 for line in body.lines)

    check()


def test_shared_parts_are_named_once():
    near = (i // 7 - j // 7) % 4
    body = Body(TorchPrinter({"i", "j"}), {}, {"i", "j", "at"}, several_axes=False)
    body.print([(near <= 2) & apply("not", apply("==", near, 1))])
    assert len(body.lines) == 2
    assert body.lines[0].count("//") == 2
    assert body.lines[1].count("//") == 0


def test_labels_name_their_lines():
    first = apply("max", i - 3, 0)
    body = Body(TorchPrinter({"i", "j"}), {first: "first"}, {"i", "j", "at"}, several_axes=False)
    body.print([(first <= j) & (j < first + 7)])
    assert body.lines == ["first = (i - 3).clamp(min=0)", "return (first <= j) & (j < first + 7)"]


def test_names_say_their_axis():
    h = Var("i.h")
    first = apply("max", h - 3, 0)
    body = Body(TorchPrinter({"i.h", "j.h"}), {first: "first"}, {"i_h", "j_h", "at"})
    body.print([(first <= Var("j.h")) & (Var("j.h") < first + 7)])
    assert body.lines[0] == "first_h = (i_h - 3).clamp(min=0)"


def test_long_conditions_are_broken():
    tests = [apply("<", (i * at) % (at + 2), j + at) for at in range(2, 12)]
    expr = apply("and", *tests)
    body = Body(TorchPrinter({"i", "j"}), {}, {"i", "j", "at"})
    body.print([expr])
    assert max(map(len, body.lines)) < 100
    env = known(body.printer, 3)
    exec("\n".join(["def f(i, j, at):", *(f"    {line}" for line in body.lines)]), env)
    agree(env["f"](env["i"], env["j"], env["at"]), expr, 3)


def test_choices_of_numbers_keep_their_precision():
    """`torch.where(test, 0.3, -0.2)` alone would be float32, whatever the type of reals."""
    expr = apply("select", i < j, Const(0.3), Const(-0.2))
    printer = TorchPrinter({"i", "j"})
    found = eval(printer.show(expr), known(printer, 0))
    assert found.dtype == torch.float64
    agree(found, expr, 0)
    whole = TorchPrinter({"i", "j"}).show(apply("select", i < j, 3, 2))
    assert whole == "torch.where(i < j, 3, 2)"


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (apply("min", apply("max", i, 0), n - 1), "i.clamp(0, n - 1)"),
        (apply("min", i, 5), "i.clamp(max=5)"),
        (apply("max", i, j), "torch.maximum(i, j)"),
        (apply("max", n, 3), "max(n, 3)"),
        (apply("not", apply("==", i, j)), "i != j"),
        ((i < j) | apply("not", apply("ispow2", i)), "(i < j) | ~is_power_of_two(i)"),
        (apply("real", i) * 0.5, '0.5 * i.to(at["real dtype"])'),
        (apply("select", n < 3, i, j), "i if n < 3 else j"),
        (-(i + j) // 2, "(-i - j) // 2"),
        (i - (j - n), "i + n - j"),
        (apply("log", apply("real", n)), "math.log(n)"),
    ],
    ids=str,
)
def test_readable_torch(expr, text):
    assert TorchPrinter({"i", "j"}).show(expr) == text


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("i.h", "i_h"),
        ("q.width", "q_width"),
        ("lambda", "lambda_"),
        ("at", "at_"),
        ("torch", "torch_"),
        ("x.in", "x_in"),
    ],
)
def test_identifiers(name, spelt):
    assert identifier(name) == spelt
    assert spelt.isidentifier()


@pytest.mark.parametrize("count", [1, 4, 9, 40])
def test_signatures(count):
    parameters = [f"argument{at}: Tensor" for at in range(count)]
    lines = signature("forward", ["self", *parameters], "Any")
    assert max(map(len, lines)) <= 110
    tree = ast.parse("\n".join([*lines, "    pass"]))
    (function,) = tree.body
    assert [a.arg for a in function.args.args] == ["self", *(f"argument{at}" for at in range(count))]


def test_constants():
    printer = ArrayPrinter(set())
    assert printer.show(Const(True)) == "True"
    assert printer.show(Const(-3)) == "-3"
    assert printer.show(Const(-3) - Var("n")) == "-3 - n" or printer.show(Const(-3) - Var("n")) == "-n - 3"
    assert NAMES == ("i", "j", "n")


def test_simplified_expressions_print_the_same_values():
    """What the generator prints has been rewritten first."""

    @thorough(60)
    @given(booleans(3), SIZES)
    def check(expr, size):
        writer = TorchPrinter({"i", "j"})
        agree(eval(writer.show(simplify(expr)), known(writer, size)), expr, size)

    check()
