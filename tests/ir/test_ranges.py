"""Conditions as one range of a coordinate, against every value; and what tiles then see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attndsl.ir.index import Var
from attndsl.ir.namespaces import EXACT
from attndsl.ir.ranges import range_of
from attndsl.ir.walk import evaluate
from attndsl.language import load_text
from attndsl_codegen.seen import ranges_seen
from tests.strategies import thorough

N, HEADS, TILE = 23, 2, 4
RANGES = {
    "true": (True, True),
    "causal": (True, True),
    "sliding(3)": (True, True),
    "causal and sliding(5)": (True, True),
    "block(4)": (True, True),
    "block(4, 3)": (True, True),
    "window(5)": (True, False),
    "window(5, 2)": (True, False),
    "sliding(head + 3)": (True, True),
    "j <= i and i < 2 * j": (True, True),
    "2 * i - 3 * j <= 4 and 3 * j - 2 * i < 9": (True, True),
    "abs(i - 2 * j + 5) <= 7": (True, True),
    "j // 3 == i // 5": (True, True),
    "i + j < x.n": (True, True),
    "j < i - 20": (True, True),
    "max(j, 2 * j - 9) <= i": (True, True),
    "min(j, 7) >= i - 9": (False, True),
    "sinks(4)": (True, False),
    "dilated(2)": (False, False),
    "causal and (sinks(2) or sliding(3))": (False, False),
    "i != j": (False, False),
    "abs(i - j) >= 3": (False, False),
    "doc[i] == doc[j]": (False, False),
}
"""Masks, and whether they show ranges of keys, and of queries."""


def attend_of(where):
    text = f"""attention a {{ tokens x[n]; input q, k, v : x; input doc : x int
      return attend(q, k, v, where = {where}) }}"""
    return load_text(text).attends[0].op


def value(expr, **at):
    return evaluate(expr, {"n": N, "last": N - 1, "x.n": N, **at}, EXACT)


def agrees(where, expected=None):
    """Whether ranges were found, of which every value has been compared with the mask."""
    op, found = attend_of(where), []
    for name, other in (("j.n", "i.n"), ("i.n", "j.n")):
        ends = range_of(op.where, name, Var("last"))
        found.append(ends is not None)
        if ends is None:
            continue
        for at in range(N):
            for head in range(HEADS):
                lo, hi = (value(end, head=head, **{other: at}) for end in (ends.lo, ends.hi))
                seen = [value(op.where, head=head, **{other: at, name: x}) for x in range(N)]
                assert seen == [lo <= x <= hi for x in range(N)], (name, at)
    return tuple(found)


@pytest.mark.parametrize("where", RANGES)
def test_ranges(where):
    assert agrees(where) == RANGES[where]


@st.composite
def conditions(draw):
    """Comparisons of sums, multiples, quotients, extremes and distances of coordinates, two of them or one."""

    def term(name):
        factor, offset = draw(st.integers(-3, 3).filter(bool)), draw(st.integers(-9, 9))
        divided = draw(
            st.sampled_from(["{}", "({}) // 2", "({}) // 5", "abs({})", "max({}, 2)", "min({}, 11)"])
        )
        return divided.format(f"{factor} * {name} + {offset}")

    def comparison():
        return f"{term('j')} {draw(st.sampled_from(['<=', '<', '>=', '==']))} {term('i')}"

    return " and ".join(comparison() for _ in range(draw(st.integers(1, 2))))


@thorough(60)
@given(conditions())
def test_random_conditions(where):
    agrees(where)


@pytest.mark.parametrize("where", [where for where, found in RANGES.items() if all(found)])
def test_what_tiles_see(where):
    """Ends from the first and last token of a tile: never too few tokens, and for these masks none too many."""
    op = attend_of(where)
    found = ranges_seen(op, split=False)
    assert not isinstance(found, str)
    for seen, (own, other) in zip(found, (("i.n", "j.n"), ("j.n", "i.n"))):
        for lo in range(0, N, TILE):
            tile = range(lo, min(lo + TILE, N))
            at = {f"{own}.lo": lo, f"{own}.hi": tile[-1], "head": 1}
            some_lo, some_hi, all_lo, all_hi = (value(end, **at) for end in seen.ends)
            rows = [{x for x in range(N) if value(op.where, head=1, **{own: t, other: x})} for t in tile]
            assert set.union(*rows) <= set(range(some_lo, some_hi + 1))
            if all(rows):
                assert {min(set.union(*rows)), max(set.union(*rows))} == {
                    max(some_lo, 0),
                    min(some_hi, N - 1),
                }
            assert set.intersection(*rows) == set(range(max(all_lo, 0), min(all_hi, N - 1) + 1))


REASONS = {
    "several ranges": ("x[h, w]", "h: sliding(1)"),
    "looks up fields": ("x[n]", "doc[i] == doc[j]"),
    "no single range": ("x[n]", "dilated(2)"),
}


@pytest.mark.parametrize("words", REASONS)
def test_why_tables_are_needed(words):
    tokens, where = REASONS[words]
    text = f"attention a {{ tokens {tokens}; input q, k, v : x; input doc : x int; return attend(q, k, v, where = {where}) }}"
    assert words in ranges_seen(load_text(text).attends[0].op, split=False)
    assert "residue classes" in ranges_seen(attend_of("causal"), split=True)
