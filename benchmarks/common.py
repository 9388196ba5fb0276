"""What the benchmarks share: the environment, the memory in use, timing that survives a busy machine."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str | int]:
    """The machine and the versions a result belongs to."""
    versions = {name: _version(name) for name in ("torch", "numpy")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"python": platform.python_version(), **versions, "cpu": cpu_model(), "cores": cores}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def environment_text(where: Mapping[str, str | int]) -> str:
    """The environment in one line."""
    return (
        f"Python {where['python']}, torch {where['torch']}, numpy {where['numpy']}; "
        f"{where['cpu']}, {where['cores']} cores."
    )


def cpu_model() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of every call, taking turns so that a busy machine slows all of them alike."""
    if warm_up:
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times longer `slow` takes: the median over rounds, each measured back to back."""
    return median(a / b for a, b in zip(slow, fast))


def seconds_text(seconds: float) -> str:
    """A time with three digits, e.g. `4.10 ms` or `23.0 s`."""
    value, unit = (seconds * 1e3, "ms") if seconds < 1 else (seconds, "s")
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def peak_bytes() -> int:
    """The largest memory this process has had in use.

    Linux hands `ru_maxrss` down from the process that started this one, so other sources come first.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    own = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """The memory now in use; the peak so far where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_bytes()
    return int(statm.read_text(encoding="utf-8").split()[1]) * resource.getpagesize()
