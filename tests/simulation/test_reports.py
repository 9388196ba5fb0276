"""Whole programs: the document's contract, exact formulas, crossovers, decoding, errors."""

import json
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

import attndsl
from attndsl.cli.main import main
from attndsl.examples import example_files
from attndsl.planning.growth import complexity
from attndsl.simulation.device import device_names, load_device, read_device
from attndsl.simulation.profile import PROFILES

KEYS = {
    "attention", "device", "kernel", "dense_kernel", "dtype", "batch", "heads", "dim", "shape", "dense", "program",
    "flop_bound", "tile_bound", "tile_bound_worst", "schedule_bound", "predicted_speedup", "complexity", "crossover",
    "attends", "losses",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(example_files()))
def test_every_example_simulates(name, capsys):
    code = main(["simulate", name, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found.keys() >= KEYS
    assert found["program"]["time_us"] > 0
    losses = prod(loss["factor"] for loss in found["losses"])
    assert found["flop_bound"] / found["predicted_speedup"] == pytest.approx(losses, rel=0.01)
    for attend in found["attends"]:
        tiles = attend["tiles"]
        assert tiles["visited"] == tiles["full"] + tiles["partial"] <= tiles["total"]
        assert attend["cycles"].keys() == {"tensor", "exp", "issue", "mask", "prologue"}


@pytest.mark.parametrize("direction", ["fwd", "bwd", "both"])
@pytest.mark.parametrize("kernel", sorted(PROFILES))
def test_passes_add_up(kernel, direction):
    program = attndsl.load("sliding")
    found = attndsl.simulate(program, kernel=kernel, shape={"n": 2048}, direction=direction)
    parts = {"fwd": 1.0, "bwd": 2.5, "both": 3.5}
    assert found.flops == parts[direction] * attndsl.simulate(program, shape={"n": 2048}).flops
    assert found.dense_flops == parts[direction] * 4 * 16 * 2048**2 * 128


def test_one_pass_is_faster_than_both():
    program = attndsl.load("neighborhood2d")
    forward, backward, both = (
        attndsl.simulate(program, shape={"h": 32, "w": 32}, direction=way).seconds
        for way in ("fwd", "bwd", "both")
    )
    assert forward < backward < both == pytest.approx(forward + backward)


@pytest.mark.parametrize(
    ("name", "total", "leading"),
    [
        ("causal", "2 * ((n * n + n) * heads * d)", "2 * (n * n * heads * d)"),
        ("neighborhood2d", "676 * (h * w * heads * d)", "676 * (h * w * heads * d)"),
        ("dense", "4 * (n * n * heads * d)", "4 * (n * n * heads * d)"),
    ],
)
def test_costs_are_formulas(name, total, leading):
    report = attndsl.simulate(attndsl.load(name))
    assert (report.complexity, report.leading) == (total, leading)


@pytest.mark.parametrize("name", ["causal", "sliding", "longformer", "core_context", "criss_cross"])
def test_formulas_give_the_operations(name):
    from attndsl.ir.namespaces import EXACT
    from attndsl.ir.walk import evaluate

    program = attndsl.load(name)
    report = attndsl.simulate(program, heads=3, dim=32)
    extents = {symbol: value for axes in report.shape.values() for symbol, value in axes.items()}
    sizes = {**report.setting.sizes(program, extents), "d": 32}
    assert evaluate(complexity(program).total, sizes, EXACT) == report.flops


def test_crossover_separates_slower_from_faster():
    program = attndsl.load("sliding")
    crossover = attndsl.simulate(program).crossover
    assert attndsl.simulate(program, shape={"n": 2 * crossover}).speedup > 1
    assert attndsl.simulate(program, shape={"n": crossover // 2}).speedup < 1
    assert attndsl.simulate(attndsl.load("dense"), kernel="flash").crossover is None


def test_decoding_looks_at_the_last_queries():
    program = attndsl.load("sliding")
    found = attndsl.simulate(program, shape={"n": 4096}, queries=1).to_dict()
    radius = program.parameters["radius"]
    assert found["attends"][0]["pairs"] == 16 * (radius + 1)
    assert found["attends"][0]["limited_by"] != ""
    assert found["queries"] == 1
    all_pairs = attndsl.simulate(program, shape={"n": 4096}).attends[0].pairs
    assert attndsl.simulate(program, shape={"n": 4096}, queries=4096).attends[0].pairs == all_pairs


def test_decoding_long_contexts_is_limited_by_memory():
    report = attndsl.simulate(attndsl.load("causal"), shape={"n": 1 << 17}, queries=1)
    assert report.attends[0].part.time.by == "memory"
    least = 2 * 16 * (1 << 17) * 128 * 2 / report.setting.device.bandwidth
    assert least <= report.seconds < 1.2 * least


def test_what_is_not_incremental_is_not_decoded():
    with pytest.raises(attndsl.AttnError, match="E906"):
        attndsl.simulate(attndsl.load("agent"), queries=1)


def test_devices_are_read_and_checked():
    assert set(device_names()) >= {"a100", "h100", "h200", "b200", "rtx4090", "l40s", "mi300x"}
    h100 = load_device("h100")
    assert h100.product_rate("bfloat16") == pytest.approx(4096, rel=0.01)
    assert load_device("a100").product_rate("float16") == pytest.approx(2048, rel=0.01)
    assert load_device("b200").product_rate("bfloat16") == pytest.approx(8192, rel=0.01)
    with pytest.raises(attndsl.AttnError, match="is missing"):
        read_device("mine", 'title = "x"')
    with pytest.raises(attndsl.AttnError, match="not TOML"):
        read_device("mine", "units = = 3")


@pytest.mark.parametrize(
    ("entry", "written", "words"),
    [
        ("units = 132", 'units = "a"', "`units` is a whole number"),
        ("units = 132", "units = 132.5", "`units` is a whole number"),
        ("bfloat16 = 989.4", 'bfloat16 = "x"', "`bfloat16` must be a positive number"),
        ("bfloat16 = 989.4", "int4 = 3", "lists rates of bfloat16"),
        ("l2_gbps = 7000", "l2_gbps = nan", "`l2_gbps` must be a positive number"),
        ("queries_in_shared = true", "queries_in_shared = 1", "true or false"),
        ("memory_gb = 80", "memory_gb = true", "`memory_gb` must be a positive number"),
    ],
)
def test_entries_of_the_wrong_kind(entry, written, words):
    text = (Path(attndsl.__file__).parent / "simulation/devices/h100.toml").read_text()
    assert entry in text
    with pytest.raises(attndsl.AttnError, match=words):
        read_device("mine", text.replace(entry, written))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "h1000"], "did you mean `h100`"),
        (["--kernel", "fast"], "attndsl, flash, flex, natten"),
        (["--tile-q", "4x4"], "has 1 axes, not 2"),
        (["--tile-q", "0"], "not a list of sizes"),
        (["--tile-q", "512", "--tile-k", "256"], "227 KiB"),
        (["--shape", "m=4"], "no token set or extent"),
        (["--set", "radiu=4"], "did you mean `radius`"),
        (["--sweep", "radiu=4"], "did you mean `radius`"),
        (["--share", "2"], "not between 0 and 1"),
    ],
)
def test_errors_name_the_alternatives(options, words, capsys):
    assert main(["simulate", "sliding", *options]) == 1
    assert words in capsys.readouterr().err


def test_large_tiles_take_the_stages_that_fit():
    program, tiles = attndsl.load("dense"), {"tile_q": (256,), "tile_k": (128,)}
    found = attndsl.simulate(program, "b200", **tiles).to_dict()["attends"][0]
    assert (found["tile"], found["stages"]) == ({"q": [256], "k": [128]}, 2)
    assert attndsl.simulate(program, "h100", **tiles).to_dict()["attends"][0]["stages"] == 2
    assert attndsl.simulate(program, "a100", **tiles).to_dict()["attends"][0]["stages"] == 1


def test_a_million_tokens():
    script = "import sys, attndsl; r = attndsl.simulate(attndsl.load('sliding'), shape={'n': 1 << 20}); assert 'torch' not in sys.modules; print(r.attends[0].pairs)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    n, radius = 1 << 20, 256
    assert int(done.stdout) == 16 * (n * (2 * radius + 1) - radius * (radius + 1))


def test_the_page_stands_alone(tmp_path, capsys):
    page, plot, table = tmp_path / "page.html", tmp_path / "plot.svg", tmp_path / "table.csv"
    files = ["--html", str(page), "--plot", str(plot), "--csv", str(table)]
    arguments = ["simulate", "neighborhood2d", "--shape", "x=16x16", "--sweep", "x=16,32", "--advise", *files]
    assert main(arguments) == 0
    text = page.read_text()
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    for part in ("predicted", "Which keys a query sees", "<svg", "The spec", "By x"):
        assert part in text
    assert main(arguments) == 0  # its own page may be replaced
    page.write_text("mine")
    assert main(arguments) == 1
    assert page.read_text() == "mine"
    assert table.read_text().startswith("x,flop_bound")
    capsys.readouterr()


def test_a_formula_says_where_it_is_exact():
    """Windows of 7, shifted by 3: exact on maps of 126, 1.36 % off on those of 128."""
    program = attndsl.load("swin")
    whole = attndsl.simulate(program, shape={"h": 126, "w": 126})
    cut = attndsl.simulate(program, shape={"h": 128, "w": 128})
    assert whole.complexity_error == 0.0
    assert whole.complexity_words == ""
    assert cut.complexity_error == pytest.approx(-0.01362, abs=1e-5)
    assert cut.complexity_words.startswith("1.36% below the count")
    assert attndsl.simulate(program, shape={"h": 128, "w": 128}, direction="both").complexity_error == (
        pytest.approx(cut.complexity_error)
    )


@pytest.mark.parametrize("device", ["h100", "cpu"])
def test_masks_that_show_nothing_are_simulated(device, capsys):
    assert main(["simulate", "sliding", "--set", "radius=-1", "--device", device]) == 0
    assert "predicted" in capsys.readouterr().out
