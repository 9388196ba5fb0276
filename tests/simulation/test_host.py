"""The CPU model: more work is never faster, dearer machines never slower, tiles are the generated file's."""

import json
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attndsl
from attndsl.analysis.layout import Brick
from attndsl.bench.calibrate import calibrate
from attndsl.cli.main import main
from attndsl.language import load_text
from attndsl.planning.host import plan_on_host
from attndsl.planning.plan import plan_program
from attndsl.simulation import groups as step_groups
from attndsl.simulation import host
from attndsl.simulation.attention import AttendWork, attend_time
from attndsl.simulation.costs import Host
from attndsl.simulation.counts import ClassCounts, TileCounts
from attndsl.simulation.cycles import TileKind
from attndsl.simulation.device import load_device, read_device
from attndsl.simulation.host import Access
from attndsl.simulation.profile import PROFILES
from attndsl.simulation.setting import make_setting
from attndsl.simulation.slots import PairCost, score_cost
from attndsl.simulation.tiles import Widths
from attndsl_codegen.kernels import groups, steps

RATES = {"gather_gbps", "fresh_gbps", "scatter_gbps"}
"""Costs of which more is better."""
kinds = st.lists(st.sampled_from([0, 1, 2]), min_size=24, max_size=24)
"""Six query tiles against four key tiles: empty, full, partial."""
PLANNED = Access(in_place=False, run=2, query_run=4, anew=0.5, remade=0.5)
accesses = st.sampled_from([Access(), Access(in_place=False, run=2), Access(whole=True), PLANNED])
KEPT = 1 << 17
"""Bytes of masks that stay: of these few tiles, some may have more."""
directions = st.sampled_from(["fwd", "bwd"])


def seconds(tiles, access, direction, device, queries=64, held=False, row_bias=False, keys=64, other=None):
    """The time of one attend of three heads; with `other`, of three with one mask and three with another."""
    classes = [found_tiles(some) for some in (tiles, other) if some is not None]
    layouts = Brick((6 * queries,), (queries,)), Brick((4 * keys,), (keys,))
    kind = TileKind(queries, keys, Widths(64, 64), PairCost(2.0), "float32", direction, held, row_bias)
    work = AttendWork(TileCounts(*layouts, tuple(classes)), kind, 1, 3 * len(classes), False, access)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "KEPT", KEPT)
        return attend_time(work, device, PROFILES["attndsl"]).total


def found_tiles(tiles):
    """The counts of three heads."""
    tiles = np.array(tiles).reshape(6, 4)
    full, partial = (tiles == 1).sum(1), (tiles == 2).sum(1)
    return ClassCounts(3, int((tiles > 0).sum()) * 1000, full, partial, 4.0)


NEARLY_ALIKE = [1] * 23 + [0]
ALIKE_BUT_PARTIAL = [2] + [1] * 23
"""Alike, all tiles are computed in one step, and none has a mask."""


@given(kinds, kinds, accesses, directions, st.booleans(), st.booleans(), st.sampled_from([4, 64, 512]))
@example(NEARLY_ALIKE, [1] * 24, Access(), "fwd", False, False, 64)
@example([1] * 20 + [0] * 4, [1] * 24, Access(), "fwd", True, True, 64)
@example([1] * 24, ALIKE_BUT_PARTIAL, Access(), "fwd", False, False, 64)
@settings(max_examples=200, deadline=None)
def test_more_tiles_or_fewer_full_ones_are_never_faster(
    tiles, more, access, direction, row_bias, second, keys
):
    """Groups of query tiles and masks are what the simulator makes of the same tiles."""
    device = load_device("cpu")
    harder = [max(pair) for pair in zip(tiles, more)]
    before, after = (
        seconds(
            found, access, direction, device, row_bias=row_bias, keys=keys, other=more if second else None
        )
        for found in (tiles, harder)
    )
    assert before <= after * (1 + 1e-12)


@given(kinds, accesses, directions, st.sampled_from([f.name for f in fields(Host)]), st.floats(1.1, 4.0))
@settings(max_examples=100, deadline=None)
def test_a_machine_that_is_better_in_one_cost_is_never_slower(tiles, access, direction, name, factor):
    device = load_device("cpu")
    value = getattr(device.host, name)
    better = replace(device.host, **{name: value * factor if name in RATES else value / factor})
    for how in ((64, False, False), (64, False, True), (256, False, False, 4), (1024, True, False)):
        before = seconds(tiles, access, direction, device, *how)
        after = seconds(tiles, access, direction, replace(device, host=better), *how)
        assert after <= before * (1 + 1e-12)


@pytest.mark.parametrize("name", ["sliding", "neighborhood2d", "dilated", "causal"])
def test_tiles_are_those_of_the_generated_file(name):
    program = attndsl.load(name)
    (found,) = attndsl.simulate(program, "cpu").to_dict()["attends"]
    (choice,) = plan_program(program).tiles.values()
    assert found["tile"] == {"q": list(choice.query), "k": list(choice.key)}


def test_the_model_knows_when_the_generated_file_computes_keys_apart_and_how_many_it_gathers():
    assert (host.FULL_KEYS, host.WORKSPACE) == (groups.FULL_KEYS, steps.WORKSPACE)
    assert (host.SHARED, host.KEPT) == (groups.SHARED, steps.KEPT)


@pytest.mark.parametrize(
    ("spec", "sizes", "share"),
    [
        ("neighborhood2d", {"h": 64, "w": 128}, 0.67),  # as the generated file: windows stay at the borders
        ("axial_columns", {"h": 64, "w": 128}, 1.0),  # the next tile of a column sees no later keys
        ("sliding", {"n": 4096}, 1.0),  # read in place
        ("longformer", {"n": 8192}, 1.0),  # global keys stay where the others slide
    ],
)
def test_tiles_in_a_column_gather_only_what_is_new(spec, sizes, share):
    sizes = {**sizes, "heads": 8, "kv heads": 8, "q.width": 64, "k.width": 64, "v.width": 64}
    (planned,) = plan_on_host(attndsl.load(spec), sizes, make_setting("cpu"), {}, None).values()
    assert planned.tiling.access.anew == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize(
    ("spec", "sizes", "query_run", "remade"),
    [
        ("causal", {"n": 2048}, 0, 0.0),
        ("sliding", {"n": 8192}, 0, 0.1),  # a mask that most tiles have stays in the cache
        ("dilated", {"n": 2048}, 1, 1.0),  # four tiles, two masks of two tiles each
        ("neighborhood2d", {"h": 64, "w": 128}, 8, 0.12),
        ("axial_rows", {"h": 64, "w": 128}, 0, 0.0),
    ],
)
def test_what_a_plan_does_with_queries_and_masks_is_known(spec, sizes, query_run, remade):
    """As the plans of the generated files, looked into."""
    sizes = {**sizes, "heads": 8, "kv heads": 8, "q.width": 64, "k.width": 64, "v.width": 64}
    (planned,) = plan_on_host(attndsl.load(spec), sizes, make_setting("cpu"), {}, None).values()
    assert planned.work is not None
    access = planned.work.access
    assert access.query_run == query_run
    assert access.remade == pytest.approx(remade, abs=0.06)


BIASED = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal, bias = BIAS) }"


@pytest.mark.parametrize(("bias", "row"), [("head * (j - i)", True), ("-abs(i * j)", False)])
def test_a_bias_of_a_query_and_a_key_apart_is_a_row_as_in_the_generated_file(bias, row):
    program = load_text(BIASED.replace("BIAS", bias))
    sizes = {"n": 2048, "heads": 8, "kv heads": 8, "q.width": 64, "k.width": 64, "v.width": 64}
    (planned,) = plan_on_host(program, sizes, make_setting("cpu"), {}, None).values()
    assert planned.work is not None
    assert planned.work.kind.row_bias == row == program.attends[0].op.separable_bias


def test_alike_tiles_share_their_steps():
    """As many pairs of tiles: alike, nearly so, and each another number of keys."""
    device = load_device("cpu")
    rows = [[2, 2, 2, 2], [1, 2, 2, 3], [0, 1, 3, 4]]
    tiles = ([[1] * n + [0] * (4 - n) for n in (*row, 2, 2)] for row in rows)
    times = [seconds(found, Access(), "fwd", device, 32, keys=16) for found in tiles]
    assert times == sorted(times)
    assert times[2] > 1.3 * times[0]


def test_full_keys_have_masks_or_are_computed_apart():
    """Those beyond what a mask is worth cost no more of it, unless scores are held in memory."""
    device = load_device("cpu")
    for held in (False, True):
        masks = []
        for full in (1, 2, 3):
            tiles = [1] * full + [0] * (3 - full) + [2] + [0] * 20
            found = [
                seconds(some, Access(), "fwd", device, held=held, keys=4096)
                for some in (tiles, [min(tile, 1) for tile in tiles])
            ]
            masks.append(found[0] - found[1])
        assert (masks[2] - masks[1] < 1e-12) != held


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.floats(0.1, 8), st.floats(0.1, 3))
@settings(max_examples=200, deadline=None)
def test_bounds_of_groups_are_those_over_all_schedules(counts, group, unit):
    """Cheapest with more tiles, dearest with fewer."""
    sizes, members = np.unique([count for count in counts if count], return_counts=True)

    def cost(other):
        return group * len(set(other) - {0})

    more = product(*(range(count, max(counts) + 1) if count else [0] for count in counts))
    fewer = product(*(range(count + 1) for count in counts))
    most = max(cost(other) - unit * (sum(counts) - sum(other)) for other in fewer)
    least = min(cost(other) + unit * (sum(other) - sum(counts)) for other in more)
    assert step_groups.least(sizes, members, group, unit) == pytest.approx(least)
    assert step_groups.most(sizes, members, group, unit) == pytest.approx(most)


@pytest.mark.parametrize(
    "worse",
    [{"query_run": 8}, {"query_run": 1}, {"remade": 0.5}],
    ids=lambda entry: str(entry),
)
def test_what_a_plan_does_with_queries_and_masks_costs_time(worse):
    device = load_device("cpu")
    for tiles in ([1, 2] * 12, [2] * 24):
        before, after = (seconds(tiles, found, "fwd", device) for found in (Access(), Access(**worse)))
        assert before < after


def test_small_masks_are_made_once():
    device = load_device("cpu")
    for tiles, more in (([1, 2, 0, 0] + [0] * 20, False), ([2] * 24, True)):
        before, after = (seconds(tiles, Access(remade=share), "fwd", device) for share in (0.0, 0.5))
        assert (before < after) == more


@pytest.mark.parametrize(("direction", "gains"), [("fwd", True), ("bwd", False)])
def test_keys_of_the_tile_before_are_gathered_again_only_in_the_backward_pass(direction, gains):
    device = load_device("cpu")
    accesses = (Access(in_place=False, run=2, anew=share) for share in (0.5, 1.0))
    half, every = (seconds([1] * 24, access, direction, device) for access in accesses)
    assert (half < every) == gains


PLACES = """
attention a {
  tokens x[h, w]
  input q, k, v : x
  learn row : [64, 64] scalar
  learn table : [64, 64] scalar
  return attend(q, k, v, bias = BIAS)
}
"""


def test_what_some_axis_does_not_matter_to_is_not_looked_up_for_every_pair():
    """Rows of a grid are far fewer than its tokens."""
    every = "table[abs(i.h - j.h), abs(i.w - j.w)]"
    costs = []
    for bias in (every, f"row[i.h, j.h] + {every}", f"row[abs(i.w - j.w), j.h] + {every}"):
        (value,) = load_text(PLACES.replace("BIAS", bias)).attends
        costs.append(score_cost(value.op))
    assert [cost.look_ups for cost in costs] == [1, 1, 1]
    assert costs[1].slots > costs[0].slots  # a kernel on a GPU looks them up all the same
    (value,) = load_text(PLACES.replace("BIAS", "row[i.h, j.h]")).attends
    assert score_cost(value.op).look_ups == 1  # then there is nothing larger


def test_coordinates_of_pairs_take_operations_of_their_own():
    """Those of a query or of a key alone are few."""
    costs = []
    for bias in ("table[i.h, j.w] + row[i.w, j.h]", "table[abs(i.h - j.h), abs(i.w - j.w)] + row[i.w, j.h]"):
        (value,) = load_text(PLACES.replace("BIAS", bias)).attends
        costs.append(score_cost(value.op))
    assert costs[1].shared - costs[0].shared >= 2


@pytest.mark.parametrize(
    ("name", "in_place"),
    [("causal", True), ("sliding", True), ("streaming_llm", False), ("neighborhood2d", False)],
)
def test_only_keys_that_are_not_consecutive_are_gathered(name, in_place):
    losses = attndsl.simulate(attndsl.load(name), "cpu").to_dict()["losses"]
    assert ("gathered keys" in [loss["step"] for loss in losses]) != in_place


def test_what_a_cpu_does_not_know_is_refused():
    program = attndsl.load("sliding")
    for options in ({"kernel": "flex"}, {"tile_q": (64,)}, {"dtype": "bfloat16"}):
        with pytest.raises(attndsl.AttnError):
            attndsl.simulate(program, "cpu", **options)


def test_a_calibration_is_a_device(tmp_path, capsys):
    path = tmp_path / "here.toml"
    assert main(["calibrate", "-o", str(path), "--rounds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(path)
    device = load_device(str(path))
    assert device.host is not None
    path.write_text(path.read_text().replace("units", "unit"))
    assert main(["calibrate", "-o", str(path), "--rounds", "1"]) == 1, "edited files are kept"
    assert "edited" in capsys.readouterr().err


def test_calibration_tells_the_parts_of_a_cost_apart():
    found = calibrate(rounds=1).host
    assert all(getattr(found, entry.name) > 0 for entry in fields(Host))
    assert max(found.middle, found.large) <= 1


def test_device_files_of_cpus_are_checked():
    text = (Path(attndsl.__file__).parent / "simulation/devices/cpu.toml").read_text()
    with pytest.raises(attndsl.AttnError, match="score_ns"):
        read_device("x", text.replace("score_ns", "score"))


def test_old_device_files_of_cpus_are_to_be_measured_again(tmp_path, capsys):
    text = (Path(attndsl.__file__).parent / "simulation/devices/cpu.toml").read_text()
    path = tmp_path / "old.toml"
    for old in (text.replace("far_ns", "# far_ns"), text + "spent_ns = 3\n"):
        path.write_text(old)
        assert main(["simulate", "sliding", "--device", str(path)]) == 1
        assert "attndsl calibrate" in capsys.readouterr().err
