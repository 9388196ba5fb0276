"""Measures what the torch path costs on this machine, and writes a device file for the simulator.

Costs are those of `attndsl.simulation.costs`. Calls take turns, and every cost is the median over the turns:
a machine that is slow for a while is slow for all of them. Costs of PyTorch's fused attention come from a few
shapes of tiles, by which their parts are told apart.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from attndsl.api import compile
from attndsl.bench.timing import interleaved
from attndsl.language import load_text
from attndsl.simulation.costs import Host
from attndsl.simulation.host import LARGE_TILE, MIDDLE_TILE
from attndsl_codegen.kernels.fields import Field

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
HEADS, TOKENS, WIDTH = 8, 8192, 64
"""Tensors that calls walk through: 16 MB each, as the operands of a long sequence are."""
FEW_QUERIES, NARROW_QUERIES, USUAL_QUERIES = 16, 32, 64
FEW_KEYS, USUAL_KEYS, MANY_KEYS, FAR_KEYS = 64, 320, 1024, 4096
BIG = 1 << 24
"""Elements of what does not fit the cache."""
USUAL = 1 << 20
"""Elements of what steps hold: scores, biases."""
LONG_RUN = 16
TILES, SIDE = 32, 8
LOOKED_UP = TILES * SIDE**4
"""Tiles, their sides, and pairs of tokens in them, for which something is looked up."""
FEW_CHANNELS = 8
HELD, SPECIAL = "where = causal, score = 2 * s", "where = causal, score = tanh(2 * s)"
"""Scores that are held in memory, and changed by one operation, and by a special function too."""
STEPS = {
    "step": ("where = causal and i - j < 32 * (head % 4 + 1)", 32, 256),
    "biased step": ("where = causal, bias = (head + 1) * (j - i)", 1, 1536),
    "held step": (HELD, 1, 512),
}
"""Attends that take many steps on next to nothing, with their heads and tokens: masks that differ by head,
and query tiles with ever more keys."""
REPEATS = 100
"""Calls of what takes microseconds, in one turn."""

Call = Callable[[], object]
Turn = dict[str, float]
"""Seconds of every call in one turn."""


@dataclass(frozen=True)
class Calibration:
    """What was measured: rates of the machine, and the costs of the torch path."""

    cores: int
    clock_ghz: float
    memory_gb: float
    cache_mib: float
    tflops: float
    memory_gbps: float
    memory_efficiency: float
    launch_us: float
    host: Host

    def to_toml(self, title: str) -> str:
        """The device file."""
        lines = [
            f"# {title}: measured by `attndsl calibrate`",
            f'title = "{title}"',
            f"units = {self.cores}  # cores that PyTorch uses",
            f"peak_clock_ghz = {self.clock_ghz:.3g}  # as the system reports it",
            f"memory_gb = {self.memory_gb:.3g}",
            f"memory_gbps = {self.memory_gbps:.3g}  # reading",
            f"l2_mib = {self.cache_mib:.3g}  # last-level cache",
            "",
            "[tflops]  # a large matrix product",
            f"float32 = {self.tflops:.3g}",
            "",
            "[measured]",
            f"clock_ghz = {self.clock_ghz:.3g}",
            f"memory_efficiency = {self.memory_efficiency:.3g}  # of that, where results go to fresh memory",
            f"launch_us = {self.launch_us:.3g}  # one call of PyTorch",
            "",
            "[host]  # the torch path, all cores together; see attndsl/simulation/host.py",
            *(f"{entry.name} = {getattr(self.host, entry.name):.4g}" for entry in fields(Host)),
        ]
        return "\n".join(lines) + "\n"


def calibrate(rounds: int = 15) -> Calibration:
    """Measures; about half a minute."""
    return calibration(measured_turns(rounds))


def measured_turns(rounds: int) -> list[Turn]:
    """What all calls take, in so many turns."""
    torch.manual_seed(0)
    turns = [dict[str, float]() for _ in range(rounds)]
    with torch.no_grad():
        # One kind after the other: memory that large calls give back to the system would be missed by others.
        for calls in (_attention_calls(), _small_calls(), _memory_calls()):
            times = interleaved({name: call for name, (call, _) in calls.items()}, rounds)
            for name, (_, count) in calls.items():
                for turn, seconds in zip(turns, times[name].seconds):
                    turn[name] = seconds / count
    return turns


def calibration(turns: Sequence[Turn]) -> Calibration:
    """The medians of what single turns say."""
    hosts = [_host(turn) for turn in turns]
    host = Host(*(median(getattr(found, entry.name) for found in hosts) for entry in fields(Host)))
    clock, memory, cache = _machine()
    reading = median(8 / turn["read"] for turn in turns) / 1e9
    adding = median(12 / turn["add"] for turn in turns) / 1e9
    return Calibration(
        *(torch.get_num_threads(), clock, memory, cache),
        *(median(2 / turn["product"] for turn in turns) / 1e12, reading, min(1.0, adding / reading)),
        *(1e6 * median(turn["call"] for turn in turns), host),
    )


LEAST = 1e-3
"""Costs are positive: what cannot be told from nothing counts as so many nanoseconds."""


def _host(turn: Turn) -> Host:
    """The costs by one turn. One score of a tile costs s + query / keys + key / queries."""
    usual, wide = turn["tile"], turn["wide tile"]
    channel = max(LEAST, 1e9 * (wide - usual) / (2 * WIDTH))  # so many more channels, of keys and values
    query = max(LEAST, 1e9 * (turn["few keys"] - usual) / (1 / FEW_KEYS - 1 / MANY_KEYS))
    key = max(LEAST, 1e9 * (turn["few queries"] - usual) / (1 / FEW_QUERIES - 1 / USUAL_QUERIES))
    score = 1e9 * usual - query / MANY_KEYS - key / USUAL_QUERIES - 2 * WIDTH * channel
    far = turn["far keys"] - (usual - 1e-9 * query * (1 / MANY_KEYS - 1 / FAR_KEYS))
    short, long = (1e9 * (turn[name] - turn["between gathers"]) for name in ("gather 1", "gather 16"))
    run = max(LEAST, (short - long) / (1 - 1 / LONG_RUN))
    held = 1e9 * (turn["held"] - turn["held step"] / (HEADS * MANY_KEYS * USUAL_QUERIES))  # as many a step
    return Host(
        score_ns=max(LEAST, score),
        channel_ns=channel,
        middle=min(1.0, turn["middle tile"] / usual),
        large=min(1.0, turn["large tile"] / usual),
        query_ns=query,
        key_ns=key,
        far_ns=max(LEAST, 1e9 * far * USUAL_QUERIES / (1 - MANY_KEYS / FAR_KEYS)),
        mask_ns=max(LEAST, 1e9 * (turn["masked"] - turn["unmasked"])),
        bias_ns=max(LEAST, 1e9 * (turn["biased"] - usual)),
        gather_gbps=4 * WIDTH / max(LEAST, long - run / LONG_RUN),
        run_ns=run,
        step_us=1e6 * turn["step"],
        biased_step_us=1e6 * turn["biased step"],
        held_step_us=1e6 * turn["held step"],
        held_ns=max(LEAST, held - 1e9 * turn["element"] - 2 * WIDTH * channel),
        element_ns=1e9 * turn["element"],
        special_ns=max(LEAST, 1e9 * (turn["special"] - turn["held"] - turn["element"])),
        look_up_ns=1e9 * turn["look-up"],
        fresh_gbps=4e-9 / turn["fresh"],
        backward=turn["backward"] / turn["forward"],
        scatter_gbps=4e-9 * WIDTH / turn["scatter"],
    )


def _attention_calls() -> dict[str, tuple[Call, int]]:
    """Fused attention on tiles that walk through the tokens, and the number of scores of each call."""
    return {
        "tile": _walk(USUAL_QUERIES, MANY_KEYS),
        "wide tile": _walk(USUAL_QUERIES, MANY_KEYS, 2 * WIDTH),
        "few keys": _walk(USUAL_QUERIES, FEW_KEYS),
        "few queries": _walk(FEW_QUERIES, MANY_KEYS),
        "far keys": _walk(USUAL_QUERIES, FAR_KEYS, tiles=1, tokens=TOKENS),
        "middle tile": _walk(MIDDLE_TILE, MANY_KEYS),
        "large tile": _walk(LARGE_TILE, MANY_KEYS),
        "unmasked": _walk(NARROW_QUERIES, MANY_KEYS),
        "masked": _walk(NARROW_QUERIES, MANY_KEYS, masked=True),
        "biased": _walk(USUAL_QUERIES, MANY_KEYS, biased=True),
        "held": _held(HELD),
        "special": _held(SPECIAL),
        **_both_passes(),
    }


def _walk(
    queries: int,
    keys: int,
    width: int = WIDTH,
    masked: bool = False,
    biased: bool = False,
    tiles: int | None = None,
    tokens: int = TOKENS // 2,
) -> tuple[Call, int]:
    q, k, v = (torch.randn(HEADS, tokens, width) for _ in range(3))
    count, chunk = (tokens - keys) // queries, tiles or max(1, 1024 // queries)
    mask = torch.zeros(1, 1, queries, keys) if masked else None
    biases = torch.zeros(HEADS, chunk, queries, keys) if biased else None

    def call() -> None:
        for first in range(0, count, chunk):
            members = min(chunk, count - first)
            parts = (
                _tiles(tensor, first * queries, members, slots, queries)
                for tensor, slots in ((q, queries), (k, keys), (v, keys))
            )
            FUSED(*parts, 0.0, False, attn_mask=mask if biases is None else biases[:, :members])

    return call, HEADS * count * queries * keys


def _held(how: str) -> tuple[Call, int]:
    """Generated code without PyTorch's fused attention, and the scores of the tiles that it visits."""
    module, tokens = _module(how), 2 * MANY_KEYS
    q, k, v = (torch.randn(1, HEADS, tokens, WIDTH) for _ in range(3))
    return lambda: module(q, k, v), HEADS * tokens * (tokens + USUAL_QUERIES) // 2


def _tiles(tensor: Tensor, start: int, count: int, slots: int, step: int) -> Tensor:
    """Stretches of tokens of all heads, in place: (heads, tiles, slots, width)."""
    tokens, width = tensor.shape[1:]
    shape, strides = (HEADS, count, slots, width), (tokens * width, step * width, width, 1)
    return tensor.as_strided(shape, strides, start * width)


def _both_passes() -> dict[str, tuple[Call, int]]:
    q, grad = (torch.randn(HEADS, 12, USUAL_QUERIES, WIDTH) for _ in range(2))
    k, v = (torch.randn(HEADS, 12, USUAL_KEYS, WIDTH) for _ in range(2))
    out, lse = FUSED(q, k, v, 0.0, False)
    return {
        "forward": (lambda: FUSED(q, k, v, 0.0, False), 1),
        "backward": (lambda: FUSED_BACKWARD(grad, q, k, v, out, lse, 0.0, False), 1),
    }


def _memory_calls() -> dict[str, tuple[Call, int]]:
    """Traffic, and how many elements or rows of `WIDTH` a call moves."""
    a, b = torch.randn(BIG), torch.randn(BIG)
    table, rows = torch.zeros(HEADS * TOKENS, WIDTH), torch.randn(HEADS * MANY_KEYS, WIDTH)
    numbers = (torch.arange(HEADS).unsqueeze(-1) * TOKENS + torch.arange(MANY_KEYS)).flatten()
    gathered = 2 * len(_starts()) * HEADS * MANY_KEYS
    return {
        "read": (lambda: torch.dot(a, b), BIG),
        "add": (lambda: a + b, BIG),
        "fresh": (lambda: torch.zeros(BIG), BIG),
        "scatter": (lambda: table.index_add_(0, numbers, rows), len(numbers)),
        "gather 1": (_gathers(1), gathered),
        "gather 16": (_gathers(LONG_RUN), gathered),
        "between gathers": (_gathers(None), gathered),
    }


def _starts() -> list[int]:
    """Where the keys of a tile begin: every key is met again, when it has long left the cache of a core."""
    starts = range(0, TOKENS - MANY_KEYS + 1, MANY_KEYS // 2)
    return [*starts[::2], *starts[1::2]]


def _gathers(run: int | None) -> Call:
    """Keys and values gathered in runs for narrow tiles of queries, as the generated code does."""
    length = run or 1
    tables = [torch.randn(HEADS * TOKENS // length, length * WIDTH) for _ in range(2)]
    spaces = [torch.empty(HEADS * MANY_KEYS // length, length * WIDTH) for _ in range(2)]
    base = torch.arange(HEADS).unsqueeze(-1) * (TOKENS // length)
    places = (torch.arange(start // length, (start + MANY_KEYS) // length) for start in _starts())
    rows = [(base + place).flatten() for place in places]
    q = torch.randn(HEADS, 1, FEW_QUERIES, WIDTH)

    def call() -> None:
        for numbers in rows:
            if run is not None:
                for table, space in zip(tables, spaces):
                    torch.index_select(table, 0, numbers, out=space)
            k, v = (space.view(HEADS, 1, MANY_KEYS, WIDTH) for space in spaces)
            FUSED(q, k, v, 0.0, False)

    return call


def _small_calls() -> dict[str, tuple[Call, int]]:
    """Calls that take microseconds, and one on as much as fits the cache."""
    small, a, b = torch.ones(8), torch.randn(USUAL), torch.randn(USUAL)
    left, right, out = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
    return {
        "call": (lambda: [small.add_(1.0) for _ in range(REPEATS)], REPEATS),
        **{name: _narrow_steps(*how) for name, how in STEPS.items()},
        "element": (lambda: (a * b + a) * b - a, 4 * USUAL),
        "look-up": (_look_ups, HEADS * LOOKED_UP),
        "product": (lambda: torch.mm(left, right, out=out), 1024**3),
    }


def _look_ups() -> Tensor:
    """A table of every head, looked up by the places on a grid of all queries and keys of a few tiles."""
    table, side = Field(torch.randn(1, HEADS, *(SIDE,) * 4)), torch.arange(SIDE)
    places = torch.stack(torch.meshgrid(side, side, indexing="ij")).flatten(1)
    i, j = places[:, None, :, None].expand(-1, TILES, -1, -1), places[:, None, None, :]
    return table(*i, *j)


def _narrow_steps(how: str, heads: int, tokens: int) -> tuple[Call, int]:
    """Generated code on a few channels, and the number of its steps."""
    q = torch.randn(1, heads, tokens, FEW_CHANNELS)
    module = _module(how)
    module(q, q, q)
    (steps,) = type(module).forward.__globals__["PLANS"][0].plan.made.values()
    return lambda: module(q, q, q), len(steps)


def _module(how: str) -> torch.nn.Module:
    """The generated code of an attend."""
    text = f"attention calibration {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, {how}) }}"
    return compile(load_text(text))()


def processor() -> str:
    """The name of the processor, and how many cores PyTorch uses."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or "a CPU"
    return f"{name}, {torch.get_num_threads()} cores".replace('"', "'")


def _machine() -> tuple[float, float, float]:
    """Clock in GHz, memory in GB and last-level cache in MiB, where the system tells them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    clocks = [float(line.split(":")[1]) / 1e3 for line in lines if line.startswith("cpu MHz")]
    return max(clocks, default=1.0), memory, max(_cache_sizes(), default=1.0)


def _cache_sizes() -> Iterator[float]:
    for entry in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        size = entry.read_text().strip()
        if size.endswith("K"):
            yield float(size[:-1]) / 1024
