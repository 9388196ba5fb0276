"""Sizes read, checked and searched for; tile shapes that suit the mask."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attndsl
from attndsl.analysis.attention import analyse
from attndsl.analysis.layout import make_layout, slots, tile_count
from attndsl.diagnostics import AttnError
from attndsl.examples import example_files
from attndsl.language import load_text
from attndsl.planning.plan import plan_program, sample_fields, sizes_near, telling_sizes, visible_share
from attndsl.planning.sizes import SizeSearch, check_sizes, read_shape
from attndsl.planning.tiles import (
    FEW_QUERY_SLOTS,
    FINE_KEY_SLOTS,
    KEY_SLOTS,
    MOST_QUERY_SLOTS,
    QUERY_SLOTS,
    WHOLE,
    balanced,
    candidates,
    choose_tiles,
)
from tests.strategies import specs, thorough

SETS = load_text(
    "attention a { tokens x[h, w]; tokens y[m]; tokens c[t = 4, m // 2]; input q : x; input k, v : y; input u : c\n"
    " return attend(q, k, v, where = j.m < x.h) }"
)

# --- --shape --------------------------------------------------------------------------------------

GOOD = [
    (["x=3x4", "m=6"], {"h": 3, "w": 4, "m": 6}),
    (["x=3x4,y=6"], {"h": 3, "w": 4, "m": 6}),
    (["h=3", "w=4", "m=6"], {"h": 3, "w": 4, "m": 6}),
    ([" x = 3 x 4 ", "m=6"], {"h": 3, "w": 4, "m": 6}),
    (["x=3x4", "h=3", "m=6"], {"h": 3, "w": 4, "m": 6}),
    (["x=3x4", "m=7", "c=4x3"], {"h": 3, "w": 4, "m": 7}),
    (["x=1x1099511627776", "m=2"], {"h": 1, "w": 2**40, "m": 2}),
]


@pytest.mark.parametrize(("given_", "sizes"), GOOD, ids=str)
def test_shapes(given_, sizes):
    assert read_shape(SETS, given_) == sizes


BAD = [
    (["x=3x4"], "no extent for m"),
    ([], "no extent for h, w, m"),
    (["x"], "it is not of the form name=extent"),
    (["x="], "it is not of the form name=extent"),
    (["x=3x", "m=6"], "it is not of the form name=extent"),
    (["x=3*4", "m=6"], "it is not of the form name=extent"),
    (["x=-3x4", "m=6"], "it is not of the form name=extent"),
    (["x=3.5x4", "m=6"], "it is not of the form name=extent"),
    (["x=\u0663x4", "m=6"], "it is not of the form name=extent"),
    (["x=3x4x5", "m=6"], r"x\[h, w\] has 2 axes"),
    (["x=12", "m=6"], r"x\[h, w\] has 2 axes"),
    (["h=3x4", "m=6"], "h is one extent"),
    (["z=3"], "there is no token set or extent `z`"),
    (["x=3x4", "m=6", "c=5x3"], "axis t has 4 tokens in the spec"),
    (["x=3x4", "m=6", "c=4x5"], "has 4x3 tokens then"),
    (["x=3x4", "h=5", "m=6"], "h is 3 already"),
    (["m=6", "m=7", "x=3x4"], "m is 6 already"),
    (["x=0x4", "m=6"], "axis h of the shape cannot have 0 tokens"),
    (["x=1099511627777x4", "m=6"], "cannot have 1099511627777 tokens"),
    (["x=" + "9" * 400, "m=6"], "it is not of the form name=extent"),
]


@pytest.mark.parametrize(("given_", "message"), BAD, ids=lambda case: str(case)[:40])
def test_bad_shapes(given_, message):
    with pytest.raises(AttnError, match=message) as found:
        read_shape(SETS, given_)
    assert "help: " in str(found.value)


def test_the_suggested_shape_works():
    """What the help says can be typed."""
    with pytest.raises(AttnError) as found:
        read_shape(SETS, [])
    suggestion = str(found.value).split("e.g. ")[1].split("\n")[0]
    assert suggestion == "--shape x=64x64 --shape y=64"
    assert read_shape(SETS, suggestion.split("--shape ")[1:]) == {"h": 64, "w": 64, "m": 64}
    fixed = load_text("attention a { tokens x[h = 3]; input q, k, v : x; return attend(q, k, v) }")
    assert read_shape(fixed, []) == {}


@thorough(100)
@given(st.text(alphabet="xhwmc=0123456789, -xX\n", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        sizes = read_shape(SETS, [text])
    except AttnError:
        return
    assert set(sizes) == {"h", "w", "m"}
    assert all(1 <= size <= 2**40 for size in sizes.values())


# --- requirements ---------------------------------------------------------------------------------

REQUIRING = """attention needy(size = 7) {
  tokens x[h, w]
  tokens c[w // 4]
  input  q, k, v : x
  input  u : c
  require x.h % 2 == 0
  near = h: window(size) and w: window(size, 3)
  return attend(q, k, v, where = near)
}
"""


def failures(sizes):
    with pytest.raises(AttnError) as found:
        check_sizes(load_text(REQUIRING, "needy.attn"), sizes)
    return found.value.diagnostics, str(found.value)


def test_sizes_that_hold():
    check_sizes(load_text(REQUIRING), {"h": 8, "w": 7, "heads": 1})


def test_a_failed_requirement_points_at_the_call():
    (diagnostic,), text = failures({"h": 8, "w": 6, "heads": 1})
    assert (diagnostic.span.line, diagnostic.span.file) == (7, "needy.attn")
    assert "7 is larger than axis w (6 tokens)" in text
    assert "w: window(size, 3)" in text
    assert "requires size <= extent" in text
    assert "^^^" in text
    assert "help: " in text


def test_all_failures_are_reported():
    found, text = failures({"h": 5, "w": 3, "heads": 1})
    assert len(found) == 4  # x.h % 2, two windows, and c has no tokens
    assert "x.h % 2" in text
    assert "c cannot have 0 tokens" in text or "axis 0 of c" in text
    assert sorted(d.span.line for d in found if d.span) == [6, 7, 7]


def test_a_requirement_on_every_query():
    program = load_text(
        "pattern ahead(step) {\n  require i + step < extent\n  j == i + step\n}\n"
        "attention a { tokens x[n]; tokens y[m]; input q : x; input k, v : y\n"
        " return attend(q, k, v, where = ahead(3, i = i.n, j = j.m, extent = y.m)) }"
    )
    check_sizes(program, {"n": 5, "m": 8, "heads": 1})
    with pytest.raises(AttnError, match=r"i \+ step < extent"):
        check_sizes(program, {"n": 5, "m": 7, "heads": 1})


def test_requirements_on_huge_axes_are_bounded():
    """Bounds decide what they can; the rest is tried for some millions of coordinates at most."""
    text = (
        "pattern odd {{\n require {}\n j <= i\n}}\n"
        "attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = odd) }}"
    )
    periodic = load_text(text.format("i % 2 == 0 or i % 3 == 0 or i * i % 5 != 2"))
    check_sizes(periodic, {"n": 1000, "heads": 1})
    with pytest.raises(AttnError, match="E506.*cannot be checked for 1099511627776 coordinates"):
        check_sizes(periodic, {"n": 2**40, "heads": 1})
    check_sizes(load_text(text.format("i < 2 or i + 3 < 3 * extent")), {"n": 2**40, "heads": 1})
    with pytest.raises(AttnError, match="i is not smaller than 2000000000"):
        check_sizes(load_text(text.format("i < 2000000000")), {"n": 2**40, "heads": 1})


# --- the search for sizes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(example_files()))
@pytest.mark.parametrize(
    "targets", [{1: 1, 2: 1, 3: 1}, {1: 37, 2: 9, 3: 6}, {1: 1000, 2: 50, 3: 20}], ids=str
)
def test_sizes_for_every_example(name, targets):
    program = attndsl.load(name)
    for spread in (0, 2):
        sizes = sizes_near(program, targets, spread)
        assert set(sizes) == set(program.symbols)
        check_sizes(program, {**sizes, "heads": 4})


@thorough(80)
@given(specs(), st.integers(1, 60))
def test_sizes_for_random_specs(spec, target):
    """The spec is defined at its own sizes, so near them some are found; any that are found are good."""
    found = SizeSearch(spec.program, spec.heads).near(target)
    if found is not None:
        check_sizes(spec.program, {**found, "heads": spec.heads})
    near = SizeSearch(spec.program, spec.heads).near(
        max([v for k, v in spec.sizes.items() if k != "heads"], default=1)
    )
    assert near is not None


def test_the_nearest_sizes_are_taken():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; require n % 12 == 0; return attend(q, k, v) }"
    )
    assert SizeSearch(program).near(100) == {"n": 96}
    assert SizeSearch(program).near(103) == {"n": 108}
    assert SizeSearch(program).near(1) == {"n": 12}


def test_spread_makes_later_extents_smaller():
    program = load_text("attention a { tokens x[t, h, w]; input q, k, v : x; return attend(q, k, v) }")
    assert SizeSearch(program).near(20, spread=3) == {"t": 20, "h": 17, "w": 14}
    assert SizeSearch(program).near(2, spread=3) == {"t": 2, "h": 1, "w": 1}


def test_requirements_on_every_pair_stay_cheap():
    """Such a requirement is looked at for every pair: not at thousands of tokens."""
    program = load_text(
        "pattern apart(most) {\n  require i - j < most\n  j <= i\n}\n"
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = apart(12)) }"
    )
    assert SizeSearch(program).near(2560) == {"n": 12}
    assert plan_program(program).example == {"n": 12}


def test_impossible_requirements():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; require n % 7 == 3 and n % 7 == 4; return attend(q, k, v) }"
    )
    assert SizeSearch(program).near(10) is None
    with pytest.raises(AttnError, match="no small extents satisfy what the spec requires"):
        plan_program(program)


def test_telling_sizes_show_the_mask():
    """A window of 512 is not checked on 100 tokens, where it hides nothing."""
    wide = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = sliding(512)) }"
    )
    found = telling_sizes(wide)
    assert found["n"] > 1100
    assert visible_share(wide, found) < 0.9
    narrow = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = sliding(5)) }"
    )
    assert telling_sizes(narrow) == {"n": 100}
    dense = load_text("attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v) }")
    assert telling_sizes(dense) == {"n": 100}


def test_visible_shares():
    text = "attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = {}) }}"
    for where, share in (("causal", 0.5), ("i >= 0", 1.0), ("i < 0", 0.0), ("i % 4 == 0 or head > 5", 0.25)):
        assert visible_share(load_text(text.format(where)), {"n": 1000}) == pytest.approx(share, abs=0.05)


# --- fields for planning --------------------------------------------------------------------------


def test_sample_fields():
    """Labels in stretches, shaped as declared, the same every time."""
    program = load_text(
        "attention a { tokens x[h, w]; tokens y[m]; input q, k, v : x; input lab : x int; input flag : y bool\n"
        " input b : x scalar\n return attend(q, k, v, where = lab[i] == 1 and flag[i.h]) }"
    )
    sizes = {"h": 5, "w": 6, "m": 9}
    fields = sample_fields(program, sizes, batch=3, heads=2)
    assert set(fields) == {"lab", "flag"}
    assert fields["lab"].shape == (3, 5, 6)
    assert fields["flag"].shape == (3, 9)
    assert fields["flag"].dtype == bool
    assert (np.diff(fields["lab"].reshape(3, -1)) != 0).sum(1).max() <= 3
    again = sample_fields(program, sizes, batch=3, heads=2)
    assert all(np.array_equal(fields[name], again[name]) for name in fields)


# --- tiles ----------------------------------------------------------------------------------------


def tiles(where, axes="n", sizes=None):
    op = (
        load_text(
            f"attention a {{ tokens x[{axes}]; input q, k, v : x; input lab : x int; return attend(q, k, v, where = {where}) }}"
        )
        .attends[0]
        .op
    )
    names = [name.strip() for name in axes.split(",")]
    at = {**(sizes or dict.fromkeys(names, {1: 1024, 2: 56, 3: 24}[len(names)])), "heads": 1}
    return choose_tiles(op, at)


def test_windows_on_grids_take_bricks():
    found = tiles("h: window(13) and w: window(13)", "h, w")
    assert (found.query, found.key) == ((8, 8), (2, 2))
    found = tiles("t: window(9) and h: window(9) and w: window(9)", "t, h, w")
    assert min(found.query) >= 4
    assert max(found.key) <= 4


@pytest.mark.parametrize(("where", "long"), [("i.h == j.h", 1), ("i.w == j.w", 0)])
def test_axial_masks_take_tiles_along_the_axis(where, long):
    found = tiles(where, "h, w")
    other = 1 - long
    assert found.query[other] == found.key[other] == 1
    assert found.query[long] >= 32
    assert found.key[long] in (FINE_KEY_SLOTS, KEY_SLOTS)


def test_flat_windows_take_flat_tiles():
    """A window of one row and many columns."""
    found = tiles("h: sliding(0) and w: sliding(20)", "h, w")
    assert found.query[0] < found.query[1]


@pytest.mark.parametrize(
    ("where", "queries"),
    [("causal", 4 * QUERY_SLOTS), ("power(16)", QUERY_SLOTS), ("sliding(30)", FEW_QUERY_SLOTS)],
)
def test_tiles_of_queries_fit_the_mask(where, queries):
    """Many queries share the long rows of a causal mask; a narrow window has few keys to share."""
    found = tiles(where)
    assert (found.query, found.key) == ((queries,), (KEY_SLOTS,))
    assert found.backward_query == ((QUERY_SLOTS,) if queries == FEW_QUERY_SLOTS else None)


@pytest.mark.parametrize("axes", ["n", "h, w"])
def test_what_hides_nothing_is_one_tile(axes):
    found = tiles("true", axes)
    assert set(found.query + found.key) == {WHOLE}


def test_queries_that_share_their_keys_share_a_tile():
    """Windows with a stride: all queries of a 16 x 16 block see the same keys."""
    found = tiles("h: window(80, 16) and w: window(80, 16)", "h, w", {"h": 256, "w": 256})
    assert found.query == (16, 16)


def test_tiles_do_not_outgrow_small_grids():
    found = tiles("i.h >= 1", "h, w", {"h": 3, "w": 2})
    assert prod(found.query) <= 8


def test_visits_are_the_schedules():
    """With every query tile in the sample and bounds that are sharp, the estimate is the exact count."""
    for where, axes in (("causal", "n"), ("h: block(8) and w: block(8)", "h, w"), ("i.h == j.h", "h, w")):
        text = (
            f"attention a {{ tokens x[{axes}]; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
        )
        op = load_text(text).attends[0].op
        extents = (640,) if axes == "n" else (32, 40)
        sizes = {**dict(zip(axes.split(", "), extents)), "heads": 1}
        found = choose_tiles(op, sizes)
        query, key = make_layout(extents, found.query), make_layout(extents, found.key)
        (exact,) = analyse(op, sizes, query, key).classes
        assert tile_count(query) <= 48
        assert found.visits == pytest.approx(exact.counts.visited / prod(extents) * slots(query) * slots(key))


@thorough(200)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=3).map(tuple), st.sampled_from([16, 64, 128]))
def test_candidates(extents, count):
    """Powers of two of about `count` slots, no longer than needed to cover an axis."""
    found = list(candidates(extents, count))
    assert balanced(extents, count) in found
    assert len(found) == len(set(found))
    for tile in found:
        assert len(tile) == len(extents)
        assert prod(tile) <= count
        assert all(side & (side - 1) == 0 for side in tile)
        assert all(side < 2 * extent for side, extent in zip(tile, extents))
        assert prod(tile) == count or all(side >= extent for side, extent in zip(tile, extents))


@pytest.mark.parametrize("name", sorted(set(example_files()) - {"hunyuan_gna"}))
def test_every_example_is_planned(name):
    program = attndsl.load(name)
    plan = plan_program(program)
    check_sizes(program, {**plan.example, "heads": 4})
    assert set(plan.tiles) == {value.name for value in program.attends if value.op.kernel == "tiled"}
    for choice in plan.tiles.values():
        if set(choice.query) != {WHOLE}:
            assert prod(choice.query) <= MOST_QUERY_SLOTS
            assert prod(choice.key) <= KEY_SLOTS or choice.key == choice.query  # blocks of the mask
        assert choice.visits > 0
