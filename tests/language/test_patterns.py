"""The standard library and patterns of users: which pairs they let through."""

import numpy as np
import pytest

from attndsl.language import load_text
from tests.language.masks import expression, mask, masked, pairs

N = 13


def is_power_of_two(a):
    return a in (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("causal", lambda i, j: j <= i),
        ("sliding(3)", lambda i, j: abs(i - j) <= 3),
        ("sliding(radius = 0)", lambda i, j: i == j),
        ("dilated(3)", lambda i, j: (i - j) % 3 == 0),
        ("block(4)", lambda i, j: i // 4 == j // 4),
        ("block(4, 3)", lambda i, j: (i - 3) // 4 == (j - 3) // 4),
        ("block(4, shift = -1)", lambda i, j: (i + 1) // 4 == (j + 1) // 4),
        ("sinks(2)", lambda i, j: j < 2),
        ("global(2)", lambda i, j: i < 2 or j < 2),
        ("power(1)", lambda i, j: i == j or is_power_of_two(i - j)),
        ("power(3)", lambda i, j: i // 3 == j // 3 or is_power_of_two(i // 3 - j // 3)),
        ("causal and (sinks(1) or sliding(2))", lambda i, j: j <= i and (j < 1 or abs(i - j) <= 2)),
        ("not causal", lambda i, j: j > i),
        ("causal(j = j + 2)", lambda i, j: j + 2 <= i),
        ("causal(i = j, j = i)", lambda i, j: i <= j),
        ("block(shift = 3, 4)", lambda i, j: (i - 3) // 4 == (j - 3) // 4),
        ("block(size = 2, i = i // 2, j = j // 2)", lambda i, j: i // 4 == j // 4),
        ("true", lambda i, j: True),
        ("false", lambda i, j: False),
        ("extent - j > i", lambda i, j: N - j > i),
        ("i == x.n - 1 or n <= 2 * j", lambda i, j: i == N - 1 or 2 * j >= N),
    ],
)
def test_on_one_axis(where, rule):
    assert np.array_equal(mask(masked(where), n=N), pairs(rule, N))


def test_document_compares_labels():
    program = masked("causal and document(doc)", statements="  input doc : x int")
    doc = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    assert np.array_equal(
        mask(program, {"doc": doc}, n=8), pairs(lambda i, j: j <= i and doc[i] == doc[j], 8)
    )


def test_bool_fields_are_conditions():
    program = masked("keep[j] and not keep[i]", statements="  input keep : x bool")
    keep = np.array([True, False, True, False])
    assert np.array_equal(mask(program, {"keep": keep}, n=4), pairs(lambda i, j: keep[j] and not keep[i], 4))


@pytest.mark.parametrize(
    "lifted",
    [
        "h: window(3) and w: causal",
        "h: window(3, 1) and (w: causal)",
        "(h: window(3)) and w: (causal)",
        "(h: (window(3))) and w: (j <= i)",
        "window(3, i = i.h, j = j.h, extent = x.h) and causal(i = i.w, j = j.w, extent = x.w)",
        "window(3, i = i.h, j = j.h, extent = extent.h) and j.w <= i.w",
    ],
)
def test_lifts_stand_for_explicit_coordinates(lifted):
    expected = mask(masked("h: window(3) and w: causal", "x[h, w]"), h=5, w=4)
    assert np.array_equal(mask(masked(lifted, "x[h, w]"), h=5, w=4), expected)
    by_hand = [[(a, b), (c, d)] for a in range(5) for b in range(4) for c in range(5) for d in range(4)]
    first = [min(max(a - 1, 0), 2) for a in range(5)]
    rule = [first[i[0]] <= j[0] < first[i[0]] + 3 and j[1] <= i[1] for i, j in by_hand]
    assert np.array_equal(expected.reshape(-1), rule)


def test_lifts_of_names_bound_in_the_attention_are_not_patterns():
    program = masked("h: (near(i) and near(j))", "x[h, w]", before="pattern near(p) = p < 2")
    assert expression(program) == "i.h < 2 and j.h < 2"


def test_three_axes():
    program = masked("t: causal and h: sliding(1) and w: block(2)", "x[t, h, w]")
    seen = mask(program, t=2, h=3, w=4).reshape(2, 3, 4, 2, 3, 4)
    for t, h, w, u, y, z in np.ndindex(seen.shape):
        assert seen[t, h, w, u, y, z] == (u <= t and abs(h - y) <= 1 and w // 2 == z // 2)


def test_anonymous_axes_have_numbers():
    program = masked("i.0 == j.0 and i.1 <= j.1", "x[3, 4]")
    seen = mask(program).reshape(3, 4, 3, 4)
    for a, b, c, d in np.ndindex(seen.shape):
        assert seen[a, b, c, d] == (a == c and b <= d)


def test_user_pattern_with_a_body():
    before = """
    pattern near(radius, factor = 2) {
      require 1 <= radius and radius < 100
      distance = abs(i - j)      # in tokens
      limit = radius * factor

      distance <= limit
    }
    """
    assert np.array_equal(mask(masked("near(2)", before=before), n=N), pairs(lambda i, j: abs(i - j) <= 4, N))


def test_defaults_may_use_earlier_parameters_and_the_extent():
    before = "pattern near(a, b = a + 1, c = extent - b) = i < a or j < b or j == c"
    expected = pairs(lambda i, j: i < 2 or j < 3 or j == N - 3, N)
    assert np.array_equal(mask(masked("near(2)", before=before), n=N), expected)


def test_patterns_call_patterns():
    before = """
    pattern inner(r) = abs(i - j) <= r
    pattern middle(r) = inner(r) and causal
    pattern outer = middle(2, i = i // 2, j = j // 2) or inner(r = 0)
    """
    expected = pairs(lambda i, j: (abs(i // 2 - j // 2) <= 2 and j // 2 <= i // 2) or i == j, N)
    assert np.array_equal(mask(masked("outer", before=before), n=N), expected)


def test_patterns_may_be_declared_after_their_use():
    before = "pattern first = second(3)\npattern second(r) = i - j == r"
    assert np.array_equal(mask(masked("first", before=before), n=N), pairs(lambda i, j: i - j == 3, N))


def test_a_lift_inside_a_pattern():
    before = "pattern square(r) = (h: sliding(r)) and w: sliding(r)"
    program = masked("square(1)", "x[h, w]", before=before)
    assert expression(program) == expression(masked("h: sliding(1) and w: sliding(1)", "x[h, w]"))


def test_a_user_pattern_shadows_the_library():
    before = "pattern causal = j < i\npattern strict = causal"
    assert expression(masked("causal", before=before)) == "j.n < i.n"
    assert expression(masked("strict", before=before)) == "j.n < i.n"


def test_library_patterns_keep_their_own_callees():
    before = "pattern window(size) = i == j"
    program = masked("dilated_window(3, 2)", "x[n = 12]", before=before)
    assert mask(program).sum(axis=1).tolist() == [3] * 12


def test_names_of_values_and_of_patterns_do_not_collide():
    program = masked("h: block(block) and w: window(window)", "x[h, w]", "block = 4, window = 3")
    assert expression(program) == expression(masked("h: block(4) and w: window(3)", "x[h, w]"))


def test_patterns_by_head():
    mixed = masked("(head < 4 and sliding(1)) or (head >= 4 and sliding(3))")
    tuples = masked("sliding((1, 3)[head // 4 % 2])")
    chosen = masked("sliding(1 if head < 4 else 3)")
    branches = masked("sliding(1) if head < 4 else sliding(3)")
    whole = masked("(sliding(1), sliding(3))[min(head // 4, 1)]")
    for program in (mixed, tuples, chosen, branches, whole):
        for head in (0, 3, 4, 7):
            radius = 1 if head < 4 else 3
            seen = mask(program, head=head, n=N)
            assert np.array_equal(seen, pairs(lambda i, j, r=radius: abs(i - j) <= r, N))


def test_windows_of_every_head_satisfy_their_requirements():
    program = masked("window((3, 5)[head % 2], stride = (1, 2)[head % 2])", "x[n = 12]")
    assert mask(program, head=0).sum(axis=1).tolist() == [3] * 12
    assert mask(program, head=1).sum(axis=1).tolist() == [5] * 12
    assert program.requirements == ()


def test_cross_attention_with_explicit_coordinates():
    program = load_text("""
    attention pooled(group = 4) {
      tokens x[n]
      tokens c[n // group]
      input q : x
      input k, v : c
      return attend(q, k, v, where = causal(j = j * group + group - 1))
    }""")
    assert np.array_equal(mask(program, n=N), pairs(lambda i, j: j * 4 + 3 <= i, N, 3))


def test_cross_attention_without_patterns_needs_nothing_more():
    program = load_text("""
    attention cross { tokens x[n]; tokens y[m]; input q : x; input k, v : y
      return attend(q, k, v, where = 2 * j <= i and j < m - 1) }""")
    assert np.array_equal(mask(program, n=5, m=4), pairs(lambda i, j: 2 * j <= i and j < 3, 5, 4))
