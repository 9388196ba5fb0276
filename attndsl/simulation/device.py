"""Devices: rates of the hardware from TOML files, peaks apart from what is reached of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

from attndsl.diagnostics import fail
from attndsl.simulation.costs import Host
from attndsl.simulation.problems import BadDevice, NoSuchDtype, UnknownDevice

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Bytes per element of the types that kernels compute in."""


NO_GPU: Mapping[str, Any] = {
    "exponentials": 1.0,
    "lanes": 1.0,
    "shared_kib": 1e9,
    "registers_kib": 1e9,
    "queries_in_shared": False,
}
NO_GPU_MEASURED: Mapping[str, Any] = {"l2_gbps": 1e9, "prologue_cycles": 1e-9}
"""What the file of a CPU leaves out: nothing that its torch path depends on."""


@dataclass(frozen=True)
class Measured:
    """What is reached in practice; calibration changes these and nothing else.

    Attributes:
        clock_ghz: the clock under sustained load.
        memory_efficiency: the share of the peak bandwidth that streaming reaches.
        l2_gbps: from the last-level cache to all units, in GB/s.
        launch_us: one kernel launch, in microseconds.
        prologue_cycles: the fixed cost of a query tile, in cycles of a unit.
    """

    clock_ghz: float
    memory_efficiency: float
    l2_gbps: float
    launch_us: float
    prologue_cycles: float


@dataclass(frozen=True)
class Device:
    """One device. Rates per cycle are per unit: a streaming multiprocessor or compute unit.

    Attributes:
        name: how it is chosen; `title` is what it is.
        units: how many there are.
        peak_clock_ghz: the clock at which `tflops` are stated.
        tflops: peak of matrix products per element type, in 10**12 operations per second.
        exponentials, lanes: special functions and plain results per cycle and unit.
        shared_kib, registers_kib: shared memory of a block and registers of a unit, in KiB.
        memory_gb, memory_gbps, l2_mib: size and peak rate of memory, size of the last-level cache.
        host: what the torch path costs, if the device is a CPU; units are cores then.
        compute_capability: of NVIDIA's devices, e.g. 90: what kernels are compiled for.
    """

    name: str
    title: str
    units: int
    peak_clock_ghz: float
    exponentials: float
    lanes: float
    shared_kib: float
    registers_kib: float
    queries_in_shared: bool
    memory_gb: float
    memory_gbps: float
    l2_mib: float
    tflops: Mapping[str, float]
    measured: Measured
    host: Host | None = None
    compute_capability: int | None = None

    def product_rate(self, dtype: str) -> float:
        """Operations of matrix products per cycle and unit, e.g. 4096 for bfloat16 on an H100.

        Raises:
            AttnError: the device has no rate for the type.
        """
        if dtype not in self.tflops:
            raise fail(NoSuchDtype(dtype, self.name, ", ".join(self.tflops)))
        return self.tflops[dtype] * 1e3 / (self.units * self.peak_clock_ghz)

    @property
    def bandwidth(self) -> float:
        """Bytes per second that streaming reaches."""
        return self.memory_gbps * 1e9 * self.measured.memory_efficiency

    def seconds(self, cycles: float) -> float:
        """The time of so many cycles under load."""
        return cycles / (self.measured.clock_ghz * 1e9)


def device_names() -> list[str]:
    """The devices that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if _is_toml(entry.name))


def load_device(name: str) -> Device:
    """A device that comes with the package, or one in a .toml file of the same form.

    Raises:
        AttnError: there is no such device, or the file does not describe one.
    """
    if name in device_names():
        return read_device(name, (_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return read_device(path.stem, path.read_text(encoding="utf-8"))
    close = get_close_matches(name.lower(), device_names(), n=1, cutoff=0.5)
    known = f"choose from {', '.join(device_names())}, or give a .toml file"
    raise fail(UnknownDevice(name, f"did you mean `{close[0]}`? {known}" if close else known))


def read_device(name: str, text: str) -> Device:
    """A device from the text of its file.

    Raises:
        AttnError: the text is not TOML, an entry is missing or unknown, or a rate is not positive.
    """
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise fail(BadDevice(name, f"it is not TOML: {error}")) from None
    measured, host = found.pop("measured", {}), found.pop("host", None)
    if host is not None:
        found, measured = (
            {**NO_GPU, **found},
            {**NO_GPU_MEASURED, **measured} if isinstance(measured, dict) else measured,
        )
        _check(name, host, {field.name for field in fields(Host)}, "host")
    capability = found.pop("compute_capability", None)
    if not (capability is None or (isinstance(capability, int) and 10 <= capability < 1000)):
        raise fail(BadDevice(name, "`compute_capability` is ten times its number, e.g. 90 for 9.0"))
    _check(name, found, {field.name for field in fields(Device)} - NOT_RATES)
    _check(name, measured, {field.name for field in fields(Measured)})
    title, in_shared, tflops = (found.pop(entry) for entry in ("title", "queries_in_shared", "tflops"))
    if not isinstance(title, str) or not isinstance(in_shared, bool):
        raise fail(BadDevice(name, "`title` is a text, and `queries_in_shared` is true or false"))
    if not isinstance(tflops, dict) or not tflops or not tflops.keys() <= DTYPE_BYTES.keys():
        raise fail(BadDevice(name, f"`[tflops]` lists rates of {', '.join(DTYPE_BYTES)}"))
    if not isinstance(found["units"], int):
        raise fail(BadDevice(name, "`units` is a whole number"))
    for entry, value in {**found, **measured, **tflops, **(host or {})}.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < inf:
            raise fail(BadDevice(name, f"`{entry}` must be a positive number"))
    rates = Measured(**measured)
    costs = None if host is None else Host(**host)
    given = {"queries_in_shared": in_shared, "tflops": tflops, "measured": rates, "host": costs}
    given["compute_capability"] = capability
    return Device(name=name, title=title, **given, **found)


CALIBRATE = "measure the machine again: attndsl calibrate -o FILE.toml"
NOT_RATES = {"name", "measured", "host", "compute_capability"}
"""What a file says elsewhere, or may leave out."""


def _check(name: str, found: Any, expected: set[str], table: str = "measured") -> None:
    if not isinstance(found, dict):
        raise fail(BadDevice(name, f"`[{table}]` is a table"))
    known = (CALIBRATE,) if table == "host" else ()  # costs of CPUs are those of one version
    for entry in sorted(expected - found.keys()):
        raise fail(BadDevice(name, f"`{entry}` is missing", *known))
    for entry in sorted(found.keys() - expected):
        raise fail(BadDevice(name, f"`{entry}` is not an entry of a device", *known))


def _folder() -> Any:
    return files("attndsl.simulation") / "devices"


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")
