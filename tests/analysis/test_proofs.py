"""Proofs agree with brute force, and their counter-examples are real."""

import numpy as np
import pytest

from attndsl.analysis.attention import analyse, dense_mask, head_classes
from attndsl.analysis.layout import Brick, Raster
from attndsl.analysis.proofs import prove_all, prove_causal, prove_disjoint
from attndsl.language import load_text

LINE = "attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = {}) }}"
PLANE = "attention a {{ tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = {}) }}"


def op(template, condition):
    return load_text(template.format(condition)).attends[0].op


def statements(template, condition, layouts, **sizes):
    attend = op(template, condition)
    (found,) = analyse(attend, {**sizes, "heads": 1}, *layouts).classes
    return {proof.statement.split(" (")[0]: proof for proof in prove_all(found)}, dense_mask(
        attend, {**sizes, "heads": 1}
    )[0, 0]


@pytest.mark.parametrize(
    ("condition", "count"), [("window(5)", 5), ("i == j", 1), ("block(6)", 6), ("j >= 0", 24)]
)
def test_equal_counts(condition, count):
    proofs, mask = statements(LINE, condition, (Raster((24,), 7), Raster((24,), 5)), n=24)
    assert proofs[f"every query sees exactly {count} keys"].holds
    assert (mask.sum(-1) == count).all()


def test_unequal_counts_name_the_poorest_query():
    proofs, mask = statements(LINE, "sliding(3)", (Raster((24,), 7), Raster((24,), 5)), n=24)
    proof = proofs["every query sees equally many keys"]
    assert not proof.holds
    assert mask[proof.query].sum() == mask.sum(-1).min()


def test_an_empty_row_is_found():
    proofs, mask = statements(PLANE, "h: (j < i) and w: sliding(1)", (Brick((5, 6), (2, 3)),) * 2, h=5, w=6)
    proof = proofs["every query sees a key"]
    assert not proof.holds
    assert not mask.reshape(5, 6, -1)[proof.query].any()


@pytest.mark.parametrize(
    ("condition", "causal"),
    [("causal", True), ("causal and sliding(3)", True), ("i // 4 >= j // 4", False), ("j <= i + 1", False),
     ("(j - i) % 5 == 0 and j <= i + 9", False), ("power(2) and causal", True)],
)  # fmt: skip
def test_causality_on_a_line(condition, causal):
    for n in (1, 23, 150):
        attend = op(LINE, condition)
        (members,) = head_classes(attend, {"n": n, "heads": 1})
        (proof,) = prove_causal(members.predicate)
        mask = dense_mask(attend, {"n": n, "heads": 1})[0, 0]
        assert proof.holds == (not np.triu(mask, 1).any())
        assert proof.holds == causal or n == 1
        if not proof.holds:
            (i,), (j,) = proof.query, proof.key
            assert i < j
            assert mask[i, j]


def test_causality_per_axis():
    (members,) = head_classes(op(PLANE, "h: causal and w: sliding(2)"), {"h": 6, "w": 7, "heads": 1})
    along_h, along_w = prove_causal(members.predicate)
    assert along_h.holds
    assert not along_w.holds
    assert along_w.query[1] < along_w.key[1]


@pytest.mark.parametrize(
    ("a", "b", "disjoint"),
    [("causal", "i < j", True), ("j < 3", "j >= 3", True), ("sliding(3)", "i % 7 == 0 and j == i", False),
     ("block(4)", "i // 4 != j // 4", True), ("j < 4", "i - j == 20", False)],
)  # fmt: skip
def test_disjointness(a, b, disjoint):
    sizes = {"n": 40, "heads": 1}
    first, second = (head_classes(op(LINE, condition), sizes)[0].predicate for condition in (a, b))
    proof = prove_disjoint(first, second)
    both = dense_mask(op(LINE, a), sizes)[0, 0] & dense_mask(op(LINE, b), sizes)[0, 0]
    assert proof.holds == disjoint == (not both.any())
    if not disjoint:
        assert both[proof.query[0], proof.key[0]]
