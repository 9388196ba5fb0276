"""More work is never faster, and a better device is never slower."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attndsl.analysis.layout import Brick
from attndsl.simulation import launch
from attndsl.simulation.attention import AttendWork, attend_time
from attndsl.simulation.counts import ClassCounts, TileCounts
from attndsl.simulation.cycles import TileKind
from attndsl.simulation.device import load_device
from attndsl.simulation.launch import makespan
from attndsl.simulation.profile import PROFILES
from attndsl.simulation.slots import PairCost
from attndsl.simulation.tiles import Widths

profiles = st.sampled_from(list(PROFILES.values()))
directions = st.sampled_from(["fwd", "bwd"])
kinds = st.lists(st.sampled_from([0, 1, 2]), min_size=24, max_size=24)
"""Six query tiles against four key tiles: empty, partial, full."""


def work(tiles, heads, mask, width, direction):
    tiles = np.array(tiles).reshape(6, 4)
    full, partial = (tiles == 2).sum(1), (tiles == 1).sum(1)
    found = ClassCounts(heads, int(tiles.sum()) * 1000, full, partial, mask)
    layouts = Brick((6 * 64,), (64,)), Brick((4 * 64,), (64,))
    kind = TileKind(64, 64, Widths(width, width), PairCost(), "bfloat16", direction)
    return AttendWork(TileCounts(*layouts, (found,)), kind, 1, heads, False)


@given(kinds, kinds, st.integers(1, 60), st.floats(0.5, 12), st.sampled_from([64, 128]), profiles, directions)
@settings(max_examples=150, deadline=None)
def test_more_tiles_or_fewer_full_ones_are_never_faster(tiles, more, heads, mask, width, profile, direction):
    """Work grows from empty over full to partial."""
    rank = {0: 0, 2: 1, 1: 2}
    harder = [max(a, b, key=lambda kind: rank[kind]) for a, b in zip(tiles, more)]
    device = load_device("h100")
    before, after = (
        attend_time(work(t, heads, mask, width, direction), device, profile) for t in (tiles, harder)
    )
    assert after.total >= before.total * (1 - 1e-9)


RATES = ("memory_gbps", "exponentials", "lanes", "units")
MEASURED = ("clock_ghz", "memory_efficiency", "l2_gbps")


@given(
    kinds,
    st.integers(1, 200),
    st.sampled_from([64, 128]),
    profiles,
    directions,
    st.lists(st.sampled_from([1.0, 1.1, 1.7, 3.0]), min_size=8, max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_a_better_device_is_never_slower(tiles, heads, width, profile, direction, factors):
    device = load_device("a100")
    better = {name: getattr(device, name) * factor for name, factor in zip(RATES, factors)}
    better["units"] = int(better["units"])
    grown = better["units"] / device.units
    tflops = {dtype: rate * grown * factors[4] for dtype, rate in device.tflops.items()}
    measured = {name: getattr(device.measured, name) * f for name, f in zip(MEASURED, factors[5:])}
    other = replace(device, **better, tflops=tflops, measured=replace(device.measured, **measured))
    task = work(tiles, heads, 4.5, width, direction)
    assert attend_time(task, other, profile).total <= attend_time(task, device, profile).total * (1 + 1e-9)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.integers(1, 9),
    st.sampled_from([3, 1000]),
    st.data(),
)
def test_list_scheduling_has_no_anomalies(durations, slots, exact, data):
    """Nor have sums over so many items that they are not scheduled one by one."""
    shorter = [data.draw(st.integers(0, duration)) for duration in durations]
    durations, shorter = (np.array(d, dtype=float) for d in (durations, shorter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "EXACT_ITEMS", exact)
        found = makespan(durations, slots)
        assert makespan(shorter, slots) <= found * (1 + 1e-12)
        assert makespan(durations, slots + 1) <= found * (1 + 1e-12)
    assert found >= max(durations.sum() / slots, durations.max()) * (1 - 1e-12)


def test_many_equal_items_are_no_faster_than_with_a_shorter_one(monkeypatch):
    monkeypatch.setattr(launch, "EXACT_ITEMS", 3)
    equal = np.ones(12)
    assert makespan(equal, 4) >= makespan(np.append(equal[1:], 0.5), 4)
