"""Every construct of the language: what it means, and what program comes of it."""

import numpy as np
import pytest

from attndsl.ir.index import Var
from attndsl.ir.ops import Attend, Input
from attndsl.ir.text import show
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.language import load_text
from tests.language.masks import attention, expression, mask, masked, pairs, value

# --- expressions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2 * 3", "(1 + 2) * 3", "1 - 2 - 3", "1 - (2 - 3)", "7 // 2 * 2", "7 * 2 // 4 % 3", "2 * 7 % 4",
        "-7 // 2", "-7 % 3", "7 // -2", "7 % -3", "-2 ** 2", "(-2) ** 2", "2 ** 3 ** 2", "2 ** -1",
        "-2 ** -2",
        "+3 - -3", "- - 3", "10 - 2 ** 3", "1 / 2", "7 / 2 * 2", "1.5e3", "2.5 + 1", "1e-3", "0.5 ** 2",
        "007",
        "1 < 2", "1 < 2 < 3", "1 < 3 < 2", "3 > 2 >= 2 != 1", "1 == 1 == 1", "1 + 1 == 2", "2 <= 1 + 1",
        "not 1 == 2", "not not 1 == 1", "1 == 1 or 1 == 2 and 1 == 3", "(1 == 1 or 1 == 2) and 1 == 3",
        "not 1 == 1 or 2 == 2", "not (1 == 1 or 2 == 2)", "1 == 2 or not 2 == 3 and 3 == 3",
        "1 if 2 < 3 else 4", "1 if 3 < 2 else 4", "1 if 3 < 2 else 2 if 2 < 1 else 3",
        "(1 if 2 < 3 else 4) + 5",
        "1 + 2 if 1 < 2 and 2 < 3 else 3 * 4", "min(3, 1, 2)", "max(3, 1, 2)", "abs(-4)", "abs(2 - 5) ** 2",
        "(1, 2, 3)[1]", "(1, (2, 3))[1][0]", "(4, 5)[3 - 2]", "(1,)[0]", "(1 < 2) == (3 < 4)",
        "(1 < 2) != (3 < 4)",
        "4611686018427387903", "3 % 1", "0 * 5", "1 - 1",
    ],
)  # fmt: skip
def test_arithmetic_is_that_of_python(text):
    expected = eval(text.replace("007", "7"))
    given = attention("return attend(q, k, v)", parameters=f"p = {text}").parameters["p"]
    assert given == expected
    assert type(given) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clamp(7, 1, 4)", 4),
        ("clamp(-7, 1, 4)", 1),
        ("clamp(2, 1, 4)", 2),
        ("1 if ispow2(64) else 0", 1),
        ("1 if ispow2(0) or ispow2(-4) or ispow2(48) else 0", 0),
        ("true", True),
        ("not true", False),
        ("(18, 24, 24)", (18, 24, 24)),
        ("(1, 2,)", (1, 2)),
        ("(1, (true, 0.5))", (1, (True, 0.5))),
        ("exp(0)", 1.0),
        ("sqrt(4)", 2.0),
        ("log(1)", 0.0),
        ("tanh(0.0)", 0.0),
        ("1 + 1 / 2", 1.5),
        ("min(3)", 3),
    ],
)
def test_values_of_our_own(text, expected):
    assert attention("return attend(q, k, v)", parameters=f"p = {text}").parameters["p"] == expected


def test_parameters_may_use_earlier_ones():
    program = attention("return attend(q, k, v)", parameters="P = 7, shift = P // 2, both = (P, shift),")
    assert program.parameters == {"P": 7, "shift": 3, "both": (7, 3)}


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("0 <= i - j < 4", "0 <= i.n - j.n and i.n - j.n < 4"),
        ("i != j", "i.n != j.n"),
        ("i > j >= 2", "j.n < i.n and 2 <= j.n"),
        ("(i if head < 2 else j) < 4", "(i.n if head < 2 else j.n) < 4"),
        ("(causal) == (sliding(2))", None),
        ("causal != sliding(2)", None),
        ("x.n - 1 == j", None),
        ("i ** 2 <= j", None),
        ("i.n == j.n", "i.n == j.n"),
        ("heads - 1 == head or causal", None),
        ("i % n == j", "i.n == j.n"),
    ],
)
def test_pair_expressions(where, shown):
    program = masked(where)
    if shown is not None:
        assert expression(program) == shown
    names = {"causal": lambda i, j: j <= i, "sliding": lambda i, j: abs(i - j) <= 2}
    text = where.replace("sliding(2)", "sliding").replace("x.n", "n").replace("i.n", "i").replace("j.n", "j")

    def rule(i, j):
        known = {name: condition(i, j) for name, condition in names.items()}
        return eval(text, {"i": i, "j": j, "n": 9, "head": 3, "heads": 4, **known})

    assert np.array_equal(mask(program, head=3, n=9, heads=4), pairs(rule, 9))


# --- lines --------------------------------------------------------------------------------------

EXPECTED = pairs(lambda i, j: (j <= i and abs(i - j) <= 8) or j < 2, 20)


@pytest.mark.parametrize(
    "near",
    [
        "near = causal and sliding(8) or sinks(2)",
        "near = causal and\n  sliding(8) or\n\n  sinks(2)",
        "near = causal\n  and sliding(8)\n  or sinks(2)",
        "near =\n  causal and sliding(8) or sinks(2)",
        "near\n  = causal and sliding(8) or sinks(2)",
        "near = causal   # behind the query\n  # and near it\n  and sliding(8) or sinks(2)",
        "near = (causal\n and sliding(\n8\n)\n or sinks(2)\n)",
        "a = causal; b = sliding(8);; c = sinks(2);\nnear = a and b or c",
        "; a = causal and sliding(8) ;\n;\n\nnear = a or sinks(2)",
        "near = sinks(2) if not (causal and sliding(8)) else\n  true",
        "near = true if causal and sliding(8)\n  else sinks(2)",
        "near = true\n  if causal and sliding(8) else sinks(2)",
        "near = j\n  <= i and abs(i - j) <=\n 8 or j < 2",
        "near = j <= i and abs(i -\n j) <= 2\n * 4 or j < 2",
        "near = j <= i and abs(i\n  - j\n) <= 8 or j < 2",
        "near = not\n i < j and\n sliding(-\n-8) or n:\nsinks(2)",
        "near = causal and sliding(8) or sinks(2)\r",
        "near = causal and\tsliding(8) or sinks(2)#",
    ],
)
def test_lines_go_on_where_they_cannot_end(near):
    assert np.array_equal(mask(attention(f"{near}\n return attend(q, k, v, where = near)"), n=20), EXPECTED)


def test_lines_go_on_inside_brackets():
    body = "return attend(\n  q, k,\n\n  v,\n  where = causal and sliding(\n 8) or\n sinks(2),\n);"
    assert np.array_equal(mask(attention(body, "x[\n n,\n]"), n=20), EXPECTED)


def test_braces_on_their_own_lines():
    program = load_text(
        "pattern near(r)\n{\n  abs(i - j) <= r\n}\n\nattention a\n{ tokens x[n]; input q, k, v : x\n"
        "  return attend(q, k, v, where = near(2)) }"
    )
    assert expression(program) == "abs(i.n - j.n) <= 2"


def test_a_file_without_final_newline_and_with_a_byte_order_mark():
    text = "\ufeff# a spec\nattention a { tokens x[n]; input q, k, v : x; return attend(q, k, v) }"
    assert load_text(text).name == "a"


def test_comments_may_hold_anything():
    assert masked('causal  # ((( "naïve" λ ≤ && } ]\n').symbols == ("n",)


# --- tokens -------------------------------------------------------------------------------------


def test_token_sets_and_symbols():
    program = load_text("""
    attention a(w = 16) {
      tokens x[t = 2, h, w]
      tokens y[h, 4]
      tokens c[n = h // 2, m]
      input q : x
      input k, v : c
      return attend(q, k, v, where = i.h // 2 == j.n and i.w < x.w // 2 and j.m < y.1)
    }""")
    assert [str(tokens) for tokens in program.token_sets] == [
        "x[t = 2, h, w = 16]",
        "y[h, 1 = 4]",
        "c[n = h // 2, m]",
    ]
    assert program.symbols == ("h", "m")
    assert expression(program) == "i.h // 2 == j.n and i.w < 8 and j.m < 4"


def test_extents_are_numbers():
    program = attention("half = n // 2; return attend(q, k, v, where = i < half or j == x.n, scale = 1 / n)")
    assert expression(program) == "i.n < n // 2"
    assert value(program, "scale", {"n": 4})[0, 0] == 0.25


# --- inputs -------------------------------------------------------------------------------------


def test_types_of_inputs():
    program = attention(
        "input gate : x scalar; input label : x int; input keep : x bool\nreturn attend(q, k, v)"
    )
    types = {v.name: v.type for v in program.inputs}
    assert types["q"].shape_words == "(batch, heads, n, width)"
    assert types["gate"].shape_words == "(batch, heads, n)"
    assert types["label"].shape_words == types["keep"].shape_words == "(batch, n)"
    assert (types["gate"].kind, types["label"].kind, types["keep"].kind) == ("real", "int", "bool")
    assert [v.name for v in program.inputs] == ["q", "k", "v", "gate", "label", "keep"]


def test_inputs_used_as_keys_or_values_only_may_have_fewer_heads():
    program = attention("a = attend(q, k, v)\nreturn attend(a, k, v)")
    heads = {v.name: v.type.heads for v in program.inputs}
    assert heads == {"q": HEADS, "k": KV_HEADS, "v": KV_HEADS}
    assert program.grouped
    assert not attention("return attend(q, q, q)").grouped


def test_keys_and_values_have_equally_many_heads():
    """`v` goes with the key `q` once, so it has as many heads as the queries; then so has `k`."""
    program = attention("a = attend(q, k, v)\nreturn attend(a, q, v)")
    assert {v.type.heads for v in program.inputs} == {HEADS}


def test_names_of_python_and_torch_are_names():
    program = load_text("""
    attention import(class = 3) {
      tokens lambda[self]
      input forward, def, None : lambda
      with = sliding(class)
      return attend(forward, def, None, where = with)
    }""")
    assert program.name == "import"
    assert expression(program) == "abs(i.self - j.self) <= 3"


# --- attend -------------------------------------------------------------------------------------


def test_arguments_of_attend():
    program = attention("return attend(v = v, q = q, k = k)")
    (result,) = program.attends
    assert (result.op.q, result.op.k, result.op.v) == ("q", "k", "v")
    assert expression(program, "scale") == "q.width ** -0.5"
    assert expression(program) == "true"
    assert result.op.bias is result.op.score is None


def test_bias_score_and_scale():
    body = """
    slope = 2 ** -(8 * (head + 1) / heads)
    capped = 50 * tanh(s / 50)
    scale = 1 / sqrt(2 * q.width)
    return attend(q, k, v, where = causal, bias = -slope * (i - j), score = capped, scale = scale)
    """
    program = attention(body)
    assert expression(program, "score") == "50.0 * tanh(s / 50.0)"
    bias = value(program, "bias", {"n": 4}, head=3, heads=8)
    expected = [[-(2.0**-4) * (i - j) for j in range(4)] for i in range(4)]
    assert np.allclose(bias, expected)
    assert value(program, "scale", {"n": 4, "q.width": 8})[0, 0] == 0.25


def test_fields_in_bias():
    program = attention(
        "input gate : x scalar; input d : x int\nreturn attend(q, k, v, bias = gate[j] * d[i] + d[j // 2])"
    )
    gate, d = np.array([0.5, 1.5, 2.5]), np.array([1, 2, 3])
    bias = value(program, "bias", {"n": 3}, {"gate": gate, "d": d})
    assert np.allclose(bias, [[gate[j] * d[i] + d[j // 2] for j in range(3)] for i in range(3)])


def test_fields_on_a_grid():
    where = "depth[i] == depth[j.h, i.w] or depth[(j.h, j.w)] == 0"
    program = masked(where, "x[h, w]", statements="input depth : x int")
    depth = np.array([[0, 1, 2], [1, 1, 0]])
    seen = mask(program, {"depth": depth}, h=2, w=3).reshape(2, 3, 2, 3)
    for a, b, c, d in np.ndindex(seen.shape):
        assert seen[a, b, c, d] == (depth[a, b] == depth[c, b] or depth[c, d] == 0)


@pytest.mark.parametrize(
    "lookup",
    [
        "label[i // 2]", "label[max(i - 1, 0)]", "label[clamp(j + 3, 0, extent - 1)]",
        "label[x.n - 1 - j]", "label[0]",
        "label[min(j * 2, x.n - 1)]", "label[clamp(label[j], 0, n - 1)]", "label[j if i < 3 else i]",
        "label[i % n]",
        "label[(i + j) // 2]", "label[i // 4 * 4]",
    ],
)  # fmt: skip
def test_lookups_that_are_seen_to_stay_inside(lookup):
    program = masked(f"{lookup} == 1", statements="input label : x int")
    assert program.requirements == ()


def test_lookups_that_stay_inside_at_some_sizes_only():
    program = masked("label[4 + i % 3] == 1", statements="input label : x int")
    (requirement,) = program.requirements
    assert requirement.holds({"n": 7})
    assert not requirement.holds({"n": 6})
    assert requirement.failure({"n": 6}).code == "E208"


def test_divisors_of_extents_are_checked_with_the_sizes():
    program = masked("i % (n - 4) == 0")
    (requirement,) = program.requirements
    assert requirement.failure({"n": 4}).code == "E202"
    assert requirement.failure({"n": 5}) is None


def test_divisors_that_are_seen_to_differ_from_zero():
    where = "i // n == 0 and i % (j + 1) == 0 and i // max(label[j], 1) == 0 and j % (n - i) < i // heads"
    assert masked(where, statements="input label : x int").requirements == ()


# --- requirements -------------------------------------------------------------------------------


def test_requirements_wait_for_the_sizes():
    program = masked("h: window(7) and w: window(5, 2)", "x[h, w = 5]")
    assert [show(r.condition) for r in program.requirements] == ["7 <= h"]
    (requirement,) = program.requirements
    assert requirement.failure({"h": 6}).title.format(what=requirement.failure({"h": 6}).what) == (
        "window size 7 is larger than axis h (6 tokens)"
    )
    assert requirement.failure({"h": 7}) is None


def test_requirements_of_the_attention():
    program = attention("require n % P == 0 and n >= 2 * P\nreturn attend(q, k, v)", parameters="P = 4")
    assert [show(r.condition) for r in program.requirements] == ["n % 4 == 0", "8 <= n"]
    assert [r.holds({"n": 12}) for r in program.requirements] == [True, True]
    assert [r.holds({"n": 4}) for r in program.requirements] == [True, False]


def test_requirements_on_the_query_hold_for_every_query():
    before = "pattern shifted(by) {\n require i + by < extent or i < 2\n j == i }"
    program = masked("shifted(0)", before=before)
    assert program.requirements == ()
    program = masked("shifted(3)", before=before)
    (requirement,) = program.requirements
    assert requirement.coordinates == (("i.n", Var("n")),)
    assert requirement.holds({"n": 2})
    assert not requirement.holds({"n": 3})


def test_requirements_that_hold_leave_nothing():
    program = attention("require P > 2 and P < 9 and n >= 1\nreturn attend(q, k, v)", parameters="P = 4")
    assert program.requirements == ()


def test_requirements_may_be_any_condition():
    program = attention(
        "require true\nrequire n == 3 or not n < 8\nrequire wide\nreturn attend(q, k, v)",
        parameters="wide = true",
    )
    (requirement,) = program.requirements
    assert [requirement.holds({"n": n}) for n in (3, 4, 8)] == [True, False, True]


# --- results ------------------------------------------------------------------------------------


def test_results_are_named_after_what_they_are_bound_to():
    program = load_text("""
    attention chain {
      tokens x[n]
      tokens a[g = 4]
      input q, k, v : x
      input agent : a
      z = attend(agent, k, v)
      y, w = (attend(q, agent, z), z)
      return attend(q, agent, w), y, attend(q, k, v)
    }""")
    assert [v.name for v in program.attends] == ["z", "y", "out0", "out2"]
    assert program.results == ("out0", "y", "out2")
    assert program.value("out0").op.v == "z"
    assert list(program.graph().predecessors("y")) == ["q", "agent", "z"]


def test_a_single_result_is_called_out_if_that_is_free():
    assert attention("return attend(q, k, v)").results == ("out",)
    assert attention("input out : x\nreturn attend(q, k, out)").results == ("out2",)


def test_nested_attends_come_first():
    program = attention("return attend(q, k, attend(attend(q, q, q), k, v))")
    assert [v.name for v in program.attends] == ["attend", "attend2", "out"]
    assert [type(v.op) for v in program.values] == [Input] * 3 + [Attend] * 3
    assert program.value("out").op.operands == ("q", "k", "attend2")


def test_types_of_results():
    program = load_text("""
    attention cross { tokens x[n]; tokens y[m]; input q : x; input k : y; input values : y
      return attend(q, k, values) }""")
    assert program.value("out").type.tokens == program.token_sets[0]
    assert program.value("out").type.width is Var("values.width")
    assert program.value("out").type.heads is HEADS


# --- names --------------------------------------------------------------------------------------


def test_named_conditions_are_evaluated_where_they_are_used():
    program = load_text("""
    attention two {
      tokens x[n]
      tokens y[m]
      input q : x
      input k, v : y
      near = 2 * j <= i
      last = extent - 1
      a = attend(k, k, v, where = near and j < last)
      return attend(q, k, a, where = near and j < last)
    }""")
    assert [show(v.op.where) for v in program.attends] == [
        "2 * j.m <= i.m and j.m < m - 1",
        "2 * j.m <= i.n and j.m < m - 1",
    ]


def test_one_name_for_several_uses():
    program = attention("""
    distance = abs(i - j)
    near = distance <= 4
    return attend(q, k, v, where = near and causal, bias = -distance / 8)
    """)
    assert expression(program) == "abs(i.n - j.n) <= 4 and j.n <= i.n"
    assert expression(program, "bias") == "-abs(i.n - j.n) / 8.0"


def test_names_of_the_spec_are_kept_as_labels():
    program = attention(
        "distance = abs(i - j)\nnear = h: window(7)\nreturn attend(q, k, v, where = near)", "x[h]"
    )
    assert {"near", "first"} <= set(program.labels.values())


def test_a_name_may_be_a_condition_that_was_never_used():
    assert expression(attention("unused = window(3)\nreturn attend(q, k, v, where = causal)")) == "j.n <= i.n"


def test_where_a_value_stands():
    text = "attention a {\n  tokens x[n]\n  input q, k, v : x\n  z = attend(q, k, v)\n  return z\n}"
    program = load_text(text, "a.attn")
    span = program.value("z").span
    assert (span.file, span.line, span.column, span.end_column) == ("a.attn", 4, 7, 22)
    assert program.sources["a.attn"] == text
    assert program.spec == text + "\n"


def test_the_spec_of_one_of_several_attentions():
    text = """
pattern near(r) = abs(i - j) <= r
pattern far(r) = abs(i - j) > r

attention one { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = near(2)) }

attention two {
  tokens x[n]
  input q, k, v : x
  return attend(q, k, v, where = far(2))
}
"""
    program = load_text(text, attention="two")
    assert program.spec.startswith("pattern far(r)")
    assert program.spec.endswith("where = far(2))\n}\n")
    assert "near" not in program.spec
    assert load_text(program.spec).name == "two"
