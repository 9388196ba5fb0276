"""Parts of a joint that may show one key twice: when there is a warning, and that its absence is a proof."""

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attndsl
from attndsl.ir.ops import Attend
from attndsl.language import load_text

HEAD = "tokens x[n]; input q, k, v : x; input doc : x int; input keep : x bool"


def joint(*conditions, head=HEAD):
    parts = ", ".join(f"attend(q, k, v, where = {condition})" for condition in conditions)
    return load_text(f"attention a(g = 4, r = 8) {{ {head}\n return joint({parts}) }}")


def codes(program):
    return [found.problem.code for found in program.warnings]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("causal", "j > i"),
        ("causal and sliding(8)", "sinks(4) and j < i - 8"),
        ("causal and sliding(8) and not sinks(4)", "sinks(4)"),
        ("window(7)", "not window(7)"),
        ("causal and not window(7, stride = 3)", "window(7, stride = 3) and true"),
        ("block(8)", "i // 8 > j // 8"),
        ("j % 2 == 0", "j % 2 == 1"),
        ("j // g < max(0, (i + 1 - r) // g)", "max(0, (i + 1 - r) // g) * g <= j and j <= i"),
        ("document(doc)", "doc[i] < doc[j]"),
        ("document(doc)", "causal and not document(doc)"),
        ("keep[j]", "not keep[j] and causal"),
        ("head < 2", "head >= 2"),
        ("power(4)", "not power(4)"),
        ("causal if head < 2 else j > i", "j > i if head < 2 else causal"),
        ("causal", "j >= n"),
        ("abs(i - j) <= 4", "i - j > 4 or j - i > 4"),
    ],
)
def test_conditions_that_exclude_each_other(a, b):
    assert codes(joint(a, b)) == []
    assert codes(joint(b, a)) == []


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("causal", "sinks(4)"),
        ("causal and sliding(8)", "sinks(4) and j < i - 7"),
        ("window(7)", "not window(5)"),
        ("true", "j < 0 or i == 3"),
        ("document(doc)", "keep[j]"),
        ("block(8)", "i // 8 >= j // 8"),
        ("j // g < (i + 1) // g", "(i + 1) // g * g - 1 <= j"),
    ],
)
def test_conditions_that_overlap(a, b):
    assert codes(joint(a, b)) == ["W301"]


def test_the_warning_shows_the_joint_and_both_parts():
    text = (
        "attention a {\n  tokens x[n]\n  input q, k, v : x\n"
        "  near = attend(q, k, v, where = causal)\n"
        "  far = attend(q, k, v, where = sinks(4))\n"
        "  return joint(near, far)\n}"
    )
    (found,) = load_text(text).warnings
    assert found.problem.severity == "warning"
    assert found.span.line == 6
    assert [span.line for _, span in found.notes] == [4, 5]
    assert found.problem.words(found.problem.title) == "`joint` may count keys of `k` twice"


def test_other_keys_do_not_overlap():
    for parts in ("attend(q, k, v), attend(q, v, v)", "attend(q, k, v), attend(q, m, m)"):
        text = f"attention a {{ tokens x[n]; tokens r[4]; input q, k, v : x; input m : r; return joint({parts}) }}"
        assert load_text(text).warnings == ()


def test_one_attend_twice():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; z = attend(q, k, v); return joint(z, z) }"
    )
    assert codes(program) == ["W301"]
    assert len(program.warnings[0].notes) == 1


def test_parts_of_parts_are_compared_once():
    inner = "joint(attend(q, k, v, where = causal), attend(q, k, v, where = j > i))"
    text = f"attention a {{ tokens x[n]; input q, k, v : x; return joint({inner}, attend(q, k, v, where = i == j)) }}"
    assert codes(load_text(text)) == ["W301"]


def test_examples_of_exact_splits_have_no_warning():
    folder = Path(__file__).parents[2] / "examples"
    for path in sorted(folder.glob("*.attn")):
        assert codes(attndsl.load(path)) == [], path.name


def calls_of(action):
    """How many calls of Python functions an action takes: unlike seconds, the same on every machine."""
    count = 0

    def tally(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(tally)
    try:
        return action(), count
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(
    ("condition", "most"),
    [("j % 200 == {0}", 600_000), ("window({0} + 5) and not window({0} + 4)", 3_500_000)],
)
def test_many_parts_take_no_time(condition, most):
    """Forty parts are 780 pairs, and each is compared once; nothing is after the first that may overlap."""
    parts = [condition.format(at) for at in range(40)]
    program, calls = calls_of(lambda: joint(*parts, head="tokens x[n]; input q, k, v : x"))
    assert len(program.warnings) <= 1
    assert calls < most


ATOMS = (
    "j <= i", "i < j", "abs(i - j) <= 2", "j % 3 == 1", "i // 4 == j // 4", "j // 2 <= i // 2", "j < 3",
    "i >= 5", "j - i <= -2", "min(i, j) < 4", "max(i - 1, j) <= 6", "window(3)", "head == 0", "j == i + 1",
)  # fmt: skip
conditions = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=120, deadline=None)
@given(conditions, conditions)
def test_without_a_warning_no_pair_is_seen_twice(a, b):
    program = joint(a, b, head="tokens x[n]; input q, k, v : x")
    parts = [value.name for value in program.attends if isinstance(value.op, Attend)]
    if not program.warnings and len(parts) == 2:
        for n in (3, 9, 13):
            first, second = (attndsl.mask(program, attend=part, heads=2, n=n) for part in parts)
            assert not (first & second).any()


def test_the_proofs_are_strong_enough_for_single_atoms():
    """Of the pairs of atoms that exclude each other for all sizes, nearly all are recognised."""
    missed = []
    for a, b in itertools.combinations(ATOMS, 2):
        program = joint(a, b, head="tokens x[n]; input q, k, v : x")
        parts = [value.name for value in program.attends]
        masks = [[attndsl.mask(program, attend=part, heads=2, n=n) for part in parts] for n in (3, 8, 19)]
        if program.warnings and not any((first & second).any() for first, second in masks):
            missed.append((a, b))
    assert missed == []
