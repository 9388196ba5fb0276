"""The boxes of GPU kernels: the best of all that there are, safe on short axes, with a reason."""

from itertools import product
from math import prod

import pytest

import attndsl
from attndsl.language import load_text
from attndsl.planning.gpu_tiles import FIRST, even, gpu_tiles
from attndsl.planning.outlook import EXTENTS, outlook, program_boxes
from attndsl.planning.plan import sizes_near
from attndsl.planning.ranking import Ranking, bricks
from attndsl.simulation.setting import make_setting
from attndsl.simulation.tiling import counted, tiling


def ranking_of(program, **extents):
    setting = make_setting()
    return Ranking(setting.sizes(program, extents), setting, {})


def spec(where, tokens="x[h, w]"):
    return load_text(
        f"attention a {{ tokens {tokens}; input q, k, v : x; return attend(q, k, v, where = {where}) }}"
    )


def test_a_strided_video_window_gets_the_boxes_that_make_all_tiles_full():
    program = attndsl.load("hunyuan_gna")
    found = program_boxes(program, ["out"])["out"]
    assert (found.query[128], found.key[64]) == ((2, 8, 8), (1, 8, 8))
    assert all(prod(tile) == slots for side in (found.query, found.key) for slots, tile in side.items())
    assert "2x8x8 queries, 1x8x8 keys; 1.24x fewer cycles" in found.why
    rank, op = ranking_of(program), program.attends[0].op
    own, plain = (
        counted(tiling(op, *pair), rank.sizes, rank.setting, {}).work.counts
        for pair in ((found.query[128], found.key[64]), (even(128, 3), even(64, 3)))
    )
    assert own.partial == 0 < plain.partial


@pytest.mark.parametrize("where", ["h: window(3) and w: window(24, 8)", "h: sliding(1) and w: block(16)"])
def test_no_box_is_faster_than_the_chosen_ones(where):
    program = spec(where, "x[h = 48, w = 64]")
    rank, op = ranking_of(program), program.attends[0].op
    found = gpu_tiles(op, [rank])
    shapes = product(bricks((48, 64), FIRST[0]), bricks((48, 64), FIRST[1]))
    least = min(rank.cycles(tiling(op, *pair)) for pair in shapes)
    assert rank.cycles(tiling(op, found.query[128], found.key[64])) == least
    assert least < rank.cycles(tiling(op, even(128, 2), even(64, 2)))


def test_even_boxes_stay_where_none_is_faster():
    found = program_boxes(attndsl.load("neighborhood2d"), ["out"])["out"]
    assert not found.query
    assert "none is faster" in found.why


def test_boxes_that_are_slow_on_short_axes_are_not_taken():
    program = spec("h: window(8) and w: window(64)")
    long, narrow, flat = (ranking_of(program, h=h, w=w) for h, w in ((256, 256), (256, 64), (8, 512)))
    op = program.attends[0].op
    assert gpu_tiles(op, [long, narrow]).query[128] == (4, 32)
    refused = gpu_tiles(op, [long, narrow, flat])
    assert not refused.query
    assert refused.why == "the most even boxes; faster ones for long axes are slower at 8x512"


def test_nothing_is_chosen_on_one_axis_or_for_all_keys():
    assert program_boxes(attndsl.load("sliding"), ["out"]) == {}
    assert program_boxes(attndsl.load("dense"), ["out"]) == {}


def test_the_summary_says_what_the_simulator_says():
    program = attndsl.load("sliding")
    report = attndsl.simulate(program, shape=sizes_near(program, EXTENTS))
    first, second = outlook(program, []).summary
    assert first == "Simulated on h100, bfloat16, 16 heads of width 128, x = 4096:"
    fall = report.waterfall
    assert second.startswith(
        f"flop_bound {fall.flop_bound:.3g}, tile_bound {fall.tile_bound:.3g}, predicted "
    )
    assert f"predicted {fall.predicted:.3g} times" in second
    assert attndsl.source(program).count(second) == 1


def test_a_program_that_takes_long_to_count_has_no_summary():
    assert outlook(spec("(i * i + j * j) % 7 == 0", "x[n = 1048576]"), []).summary == ()
