"""Values of parameters from outside: `--set` text and Python values."""

import numpy as np
import pytest

from attndsl.diagnostics import AttnError
from attndsl.language import load_text

SPEC = """
attention a(size = 7, sizes = (18, 24), wide = false, scale = 0.5) {
  tokens x[n]
  input q, k, v : x
  return attend(q, k, v, where = sliding(size) or wide, scale = scale)
}
"""


def parameters(**given):
    return load_text(SPEC, given=given).parameters


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"size": "9"}, 9),
        ({"size": " -9 "}, -9),
        ({"size": "(9)"}, 9),
        ({"size": 9}, 9),
        ({"size": np.int64(9)}, 9),
        ({"sizes": "(1, 2, 3)"}, (1, 2, 3)),
        ({"sizes": "1, 2"}, (1, 2)),
        ({"sizes": [1, (2, -3.5)]}, (1, (2, -3.5))),
        ({"wide": "true"}, True),
        ({"wide": True}, True),
        ({"scale": "1e-2"}, 0.01),
        ({"scale": np.float32(0.25)}, 0.25),
        ({"scale": "2"}, 2),
    ],
)
def test_values(given, expected):
    (name,) = given
    value = parameters(**given)[name]
    assert value == expected
    assert type(value) is type(expected)


def test_defaults_stay_where_nothing_is_given():
    assert parameters(size=3) == {"size": 3, "sizes": (18, 24), "wide": False, "scale": 0.5}


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"size": ""}, "E207", "give an integer"),
        ({"size": "seven"}, "E207", "`seven` is not a value for parameter `size`"),
        ({"size": "7 + 1"}, "E207", "`7 + 1` is not a value"),
        ({"size": "7)\n"}, "E207", "is not a value"),
        ({"size": "7\n) and (true"}, "E207", "is not a value"),
        ({"size": "__import__('os')"}, "E207", "is not a value"),
        ({"size": "1" * 100}, "E207", "is not a value"),
        ({"size": "(" * 100}, "E207", "is not a value"),
        ({"size": "\u202e7"}, "E207", "\N{REPLACEMENT CHARACTER}7"),
        ({"size": 2**62}, "E207", "is not a value"),
        ({"size": None}, "E207", "`None` is not a value"),
        ({"scale": float("nan")}, "E207", "`nan` is not a value"),
        ({"scale": float("inf")}, "E207", "`inf` is not a value"),
        ({"size": "(7, 7)"}, "E207", "its default is 7: give a single value"),
        ({"sizes": "7"}, "E207", "its default is (18, 24): give a tuple of 2 values"),
        ({"size": "true"}, "E207", "its default is 7"),
        ({"wide": 1}, "E207", "its default is false"),
        ({"siz": 3}, "E404", "did you mean `size`?"),
        ({"siz": 3, "sizzes": 4}, "E404", "did you mean `sizes`?"),
        ({"size": 0.5}, "E205", "are computed in integers"),
    ],
)
def test_other_values_are_refused(given, code, words):
    with pytest.raises(AttnError) as caught:
        parameters(**given)
    assert {diagnostic.problem.code for diagnostic in caught.value.diagnostics} == {code}
    assert words in str(caught.value)


def test_parameters_without_default_must_be_given():
    text = SPEC.replace("size = 7", "size")
    assert load_text(text, given={"size": 4}).parameters["size"] == 4
    with pytest.raises(AttnError, match="set it with --set size="):
        load_text(text)
    with pytest.raises(AttnError, match="it has no parameters"):
        load_text("attention a { tokens x[n]; input q : x; return attend(q, q, q) }", given={"size": 4})


def test_an_attention_is_chosen_by_name():
    text = SPEC + SPEC.replace("attention a", "attention other")
    assert load_text(text, attention="other").name == "other"
    with pytest.raises(AttnError, match="did you mean `other`"):
        load_text(text, attention="othre")
    with pytest.raises(AttnError, match="it defines: a, other"):
        load_text(text, attention="xyz")
    with pytest.raises(AttnError, match="choose one with --attention: a, other"):
        load_text(text)


def test_a_wrong_value_of_a_parameter_that_is_tuned_is_an_error():
    text = SPEC.replace("  tokens", "  tune sizes in ((1, 2), (3, 4))\n  tokens", 1)
    with pytest.raises(AttnError, match="give a tuple of 2 values"):
        load_text(text, given={"sizes": 1})
