"""Times of calls on a GPU: the L2 cache flushed before each, calls taking turns, medians and quartiles."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median, quantiles
from typing import Any

import torch

FLUSH_BYTES = 256 << 20
"""More than twice the largest L2 cache."""
WARM_UP_SECONDS = 0.025
AHEAD_CYCLES = 2_000_000
"""The GPU waits about a millisecond before a timed call, so that Python has launched its kernels by then."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Timer:
    """Times single calls; on a CPU, which serves to try the scripts, by the wall clock."""

    device: torch.device
    flush: list[torch.Tensor] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        """Whether times are a GPU's."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until everything is done."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, call: Call) -> float:
        """The time on the device, from a cold L2 cache."""
        if not self.on_gpu:
            return self.with_host(call)
        if not self.flush:
            self.flush.append(torch.empty(FLUSH_BYTES, dtype=torch.int8, device=self.device))
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush[0].zero_()
        torch.cuda._sleep(AHEAD_CYCLES)
        begin.record()
        call()
        end.record()
        self.wait()
        return begin.elapsed_time(end) / 1e3

    def with_host(self, call: Call) -> float:
        """The time from the call to its result, Python included."""
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - start

    def warm_up(self, call: Call) -> None:
        """Calls until clocks and caches have settled; a CPU, whose times mean nothing, needs none."""
        if not self.on_gpu:
            return
        start = time.perf_counter()
        while time.perf_counter() - start < WARM_UP_SECONDS:
            call()
            self.wait()


@dataclass(frozen=True)
class Times:
    """Seconds of one call, in the order of the rounds."""

    seconds: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Milliseconds as JSON data."""
        return {
            "median_ms": 1e3 * median(self.seconds),
            "quartiles_ms": [1e3 * bound for bound in quartiles(self.seconds)],
            "rounds": len(self.seconds),
        }


def quartiles(values: tuple[float, ...]) -> tuple[float, float]:
    """The first and the third one."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def interleaved(
    timer: Timer, ours: Call, peers: Mapping[str, Call], rounds: int, seconds: float
) -> tuple[dict[str, Times], dict[str, Times]]:
    """Times of all calls, and per peer the ratios of its time to ours.

    A round is ours, a peer, ours, the next peer, ours: each peer is compared with the two calls around it.

    Args:
        rounds, seconds: after so many rounds, or so much time, it ends; there is one round at least.
    """
    for call in (ours, *peers.values()):
        timer.warm_up(call)
    found: dict[str, list[float]] = {"ours": [], **{name: [] for name in peers}}
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    end = time.perf_counter() + seconds
    for done in range(rounds):
        if done and time.perf_counter() > end:
            break
        found["ours"].append(timer.seconds(ours))
        for name, call in peers.items():
            before = found["ours"][-1]
            found[name].append(timer.seconds(call))
            found["ours"].append(timer.seconds(ours))
            ratios[name].append(found[name][-1] / ((before + found["ours"][-1]) / 2))
    return (
        {name: Times(tuple(values)) for name, values in found.items()},
        {name: Times(tuple(values)) for name, values in ratios.items()},
    )


def clocks() -> dict[str, float]:
    """SM clock in MHz, power in W and temperature in degrees, as the driver reports them; empty if not."""
    names = ("clocks.sm", "power.draw", "temperature.gpu")
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        values = done.stdout.splitlines()[0].split(",")
        return {name: float(value) for name, value in zip(names, values)}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}


def environment(device: torch.device) -> dict[str, Any]:
    """The device and the versions that results belong to."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        found["triton"] = version("triton")
    except PackageNotFoundError:
        found["triton"] = "not installed"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "units": properties.multi_processor_count,
            "memory_gb": properties.total_memory / 1e9,
            "l2_mib": getattr(properties, "L2_cache_size", 0) / 2**20,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    else:
        found["device"] = "a CPU, which shows that the scripts run and nothing else"
    return found
