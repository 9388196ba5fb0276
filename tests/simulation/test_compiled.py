"""Compiled kernels in the model: their numbers take the place of constants, and worse ones are never faster."""

import json
from dataclasses import replace

import pytest

import attndsl
from attndsl.cli.main import main
from attndsl.planning.layouts import Forced
from attndsl.planning.simulate import simulate, simulate_in_full
from attndsl.simulation.compiled import CompiledAttend, CompiledKernel
from attndsl.simulation.setting import make_setting

KERNEL = CompiledKernel(
    "forward", 90, "SASS", 128, 64, 8, 3, 146, 0, 65536, False, 1, "registers", 12.0, 8.0, 1.1, 256.0
)
SETTING = make_setting("h100", dim=64)


def report(way="fwd", name="sliding", tiles=((128,), (64,)), steps=((1,), (1,)), **changes):
    kernel = replace(KERNEL, **changes)
    passes = {"fwd": (kernel,), "bwd": (kernel, kernel)}
    attend = CompiledAttend(*tiles, *steps, passes)
    forced = Forced(compiled={"out": attend})
    return simulate(attndsl.load(name), {"n": 8192}, replace(SETTING, direction=way), forced)


@pytest.mark.parametrize("way", ["fwd", "bwd"])
@pytest.mark.parametrize(
    "worse", [{"slots": 24.0}, {"mask": 30.0}, {"special": 6.0}, {"flops": 2048.0}], ids=lambda c: next(iter(c))
)  # fmt: skip
def test_more_work_takes_longer(way, worse):
    assert report(way, **worse).seconds > report(way).seconds * 1.01


def test_more_blocks_overlap_more():
    assert report(blocks=2).seconds < report(blocks=1).seconds


def test_cycles_are_those_of_the_kernel():
    found = report().attends[0]
    scores, device = 128 * 64, SETTING.device
    assert found.part.time.full.issue == scores * KERNEL.slots / device.lanes
    assert found.part.time.partial.mask == scores * KERNEL.mask / device.lanes
    assert found.part.time.full.exp == pytest.approx(scores * KERNEL.special / device.exponentials)
    assert found.part.time.full.tensor == pytest.approx(scores * 256 / device.product_rate("bfloat16"))
    assert found.tiling.query == (128,)
    assert found.tiling.key == (64,)


def test_the_report_says_what_came_from_the_kernel():
    code = report().to_dict()["attends"][0]["machine_code"]
    rows = {row["name"]: (row["model"], row["kernel"]) for row in code["replaced"]}
    assert rows["issue slots of a full tile"] == (8.0, 12.0)
    assert rows["blocks on a unit"] == (2.0, 1.0)
    assert code["kernels"][0]["registers"] == 146
    assert "machine_code" not in attndsl.simulate(attndsl.load("sliding"), dim=64).to_dict()["attends"][0]
    assert {row["pass"] for row in report("both").to_dict()["attends"][0]["machine_code"]["replaced"]} == {
        "fwd",
        "bwd",
    }


def test_unknown_operations_leave_those_of_the_model():
    assert report(flops=None).attends[0].part.time.full.tensor == pytest.approx(
        report().attends[0].part.time.full.tensor
    )


def test_residue_classes_keep_their_tiles():
    """Every second token in a tile of 128: the tile map is that of tokens in residue classes."""
    found = report(name="dilated", steps=((2,), (2,)))
    plain = report(name="dilated")
    assert found.attends[0].tiling.query == (1, 128)
    assert found.attends[0].pairs == plain.attends[0].pairs
    assert found.attends[0].part.work.counts.visited < plain.attends[0].part.work.counts.visited


def test_the_crossover_is_of_the_kernel():
    program, attend = attndsl.load("sliding"), report().attends[0].tiling.compiled
    slow = replace(attend, passes={"fwd": (replace(KERNEL, slots=60.0),)})
    crossovers = [
        simulate_in_full(program, {"n": 8192}, SETTING, Forced(compiled={"out": found})).crossover
        for found in (attend, slow)
    ]
    assert crossovers[0] < crossovers[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["sliding", "--device", "cpu"], "is a CPU"),
        (["sliding", "--device", "mi300x"], "no NVIDIA device"),
        (["sliding", "--kernel", "flex"], "not generated here"),
        (["sliding", "--advise"], "one set of parameters"),
        (["sliding", "--sweep", "radius=4,8"], "one set of parameters"),
        (["linear"], "has Triton kernels"),
        (["sliding", "--dim", "512"], "up to 256"),
        (["neighborhood2d", "--tile-q", "64"], "one side per axis"),
        (["sliding", "--tile-q", "96"], "16, 32, 64"),
        (["sliding", "--tile-q", "4096"], "do not fit"),
    ],
)
def test_what_cannot_be_compiled(options, words, capsys, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert main(["simulate", *options, "--from-kernel"]) == 1
    assert words in capsys.readouterr().err


def test_without_triton(capsys, monkeypatch):
    from attndsl import machine_code

    monkeypatch.setattr(machine_code, "find_spec", lambda name: None)
    assert main(["simulate", "sliding", "--from-kernel"]) == 1
    assert "pip install 'attndsl[torch,triton]'" in capsys.readouterr().err


def test_compiling_for_a_device_names_the_kernels(tmp_path, capsys, monkeypatch):
    from attndsl import machine_code

    asked = []

    def compiled(program, extents, setting):
        asked.append((program.name, setting.device.name, setting.dim, setting.direction))
        return {"out": report().attends[0].tiling.compiled}

    monkeypatch.setattr(machine_code, "compiled_attends", compiled)
    command = ["compile", "sliding", "--device", "a100", "--dim", "64", "-o", str(tmp_path / "s.py")]
    assert main(command) == 0
    assert (
        "forward kernel (SASS of sm_90): 128x64 tiles, 8 warps, 3 stages, 146 registers"
        in capsys.readouterr().out
    )
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kernels"]["out"][0]["name"] == "forward"
    assert asked == [("sliding", "a100", 64, "both")] * 2
