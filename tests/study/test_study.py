"""Sweeps, advice and end-to-end figures."""

import csv
import io

import pytest

import attndsl
from attndsl.planning.layouts import Forced
from attndsl.planning.simulate import simulate
from attndsl.simulation.setting import make_setting
from attndsl.study.advise import advise
from attndsl.study.share import end_to_end
from attndsl.study.sweep import read_values, run_sweep

H100 = make_setting("h100", heads=24)


def test_advice_finds_the_stride_that_makes_every_tile_full():
    program = attndsl.load("hunyuan_gna", stride=(1, 1, 1))
    forced = Forced("4x8x8", "2x8x8")
    report = simulate(program, {}, H100, forced)
    best, *others = advise(program, {}, H100, report, forced)
    assert best.change == "stride = (16, 8, 8)"
    assert best.report.waterfall.tile_bound_worst == pytest.approx(11.11, abs=0.005)
    assert best.report.attends[0].part.work.counts.partial == 0
    assert "every visited tile full" in best.words
    assert best.gain > max(advice.gain for advice in others) >= 1
    assert best.gain == pytest.approx(report.seconds / best.report.seconds)


def test_nothing_is_advised_where_nothing_is_tunable():
    program = attndsl.load("sliding")
    report = simulate(program, {"n": 4096}, H100)
    assert advise(program, {"n": 4096}, H100, report) == []


def test_a_sweep_simulates_every_value():
    program = attndsl.load("sliding")
    sweep = run_sweep(program, {"n": 1024}, H100, "n=1k..8k")
    assert [point.value for point in sweep.points] == ["1024", "2048", "4096", "8192"]
    alone = simulate(program, {"n": 4096}, H100)
    assert sweep.points[2].report.seconds == alone.seconds
    rows = list(csv.reader(io.StringIO(sweep.to_csv())))
    assert rows[0][0] == "n"
    assert float(rows[3][4]) == alone.speedup


def test_a_sweep_of_a_parameter_reloads_the_spec():
    sweep = run_sweep(attndsl.load("neighborhood2d"), {"h": 48, "w": 48}, H100, "size=(5,5),(9,9)")
    pairs = [point.report.attends[0].pairs for point in sweep.points]
    assert pairs == [24 * 48 * 48 * 25, 24 * 48 * 48 * 81]


def test_values_of_sweeps():
    assert read_values("", "1k..4k") == [1024, 2048, 4096]
    assert read_values("", "1, 2,4") == [1, 2, 4]
    assert read_values("", "(1,2),(3,4)") == [(1, 2), (3, 4)]


@pytest.mark.parametrize("given", ["n", "n=", "n=x", "m=1,2", "n=4k..1k", "n=1..9999999999999"])
def test_wrong_sweeps_are_refused(given):
    with pytest.raises(attndsl.AttnError) as error:
        run_sweep(attndsl.load("sliding"), {"n": 1024}, H100, given)
    assert error.value.diagnostics[0].problem.code == "E907"


def test_shares_follow_amdahl():
    assert end_to_end(4.0, 0.6, None).speedup == pytest.approx(1 / (0.4 + 0.6 / 4))
    found = end_to_end(2.0, 0.5, "15/50")
    assert found.speedup == pytest.approx(1 / (0.5 + 0.5 * (0.3 + 0.7 / 2)))
    assert found.limit == pytest.approx(1 / (0.5 + 0.15))


@pytest.mark.parametrize(
    ("share", "steps"), [(0.0, None), (1.5, None), (0.5, "51/50"), (0.5, "1"), (0.5, "0/0")]
)
def test_impossible_shares_are_refused(share, steps):
    with pytest.raises(attndsl.AttnError):
        end_to_end(2.0, share, steps)
