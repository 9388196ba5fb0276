"""What can be wrong with what a simulation is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class UnknownDevice(Problem):
    """A device is one of `attndsl devices`, or a .toml file of the same form."""

    code: ClassVar[str] = "E901"
    title: ClassVar[str] = "there is no device `{name}`"
    help: ClassVar[str] = "{remedy}"
    name: str
    remedy: str


@dataclass(frozen=True)
class BadDevice(Problem):
    """A device file has one entry per rate, all positive; see those that `attndsl devices` lists."""

    code: ClassVar[str] = "E902"
    title: ClassVar[str] = "the device file of `{name}` cannot be used: {reason}"
    help: ClassVar[str] = "{remedy}"
    name: str
    reason: str
    remedy: str = "start from one of the files that come with attndsl"


@dataclass(frozen=True)
class NoSuchDtype(Problem):
    """The device has no rate of matrix products for this element type."""

    code: ClassVar[str] = "E903"
    title: ClassVar[str] = "no rate for {dtype} on {device}"
    help: ClassVar[str] = "choose from {known}"
    dtype: str
    device: str
    known: str


@dataclass(frozen=True)
class UnknownKernel(Problem):
    """A kernel profile says how a kernel overlaps its work, which tiles it masks and whether it permutes."""

    code: ClassVar[str] = "E904"
    title: ClassVar[str] = "there is no kernel profile `{name}`"
    help: ClassVar[str] = "choose from {known}"
    name: str
    known: str


@dataclass(frozen=True)
class TileTooLarge(Problem):
    """One stage of a tile must fit into the shared memory of a block: the queries, and one tile of keys
    and values. A tile that fits uses as many stages as fit.
    """

    code: ClassVar[str] = "E905"
    title: ClassVar[str] = "{queries} queries and {keys} keys of width {width} do not fit on {device}"
    help: ClassVar[str] = (
        "they need {needed} KiB of a block's {available} KiB of shared memory: take smaller tiles"
    )
    queries: int
    keys: int
    width: int
    device: str
    needed: int
    available: int


@dataclass(frozen=True)
class NoMachineCode(Problem):
    """`--from-kernel`, and `attndsl compile --device`, compile the Triton kernels of the generated file for a
    device, ahead of time. That needs Triton (on Linux; no GPU), an NVIDIA device, and an attend that has
    Triton kernels.
    """

    code: ClassVar[str] = "E908"
    title: ClassVar[str] = "there is no machine code to read: {reason}"
    help: ClassVar[str] = "{remedy}"
    reason: str
    remedy: str


@dataclass(frozen=True)
class KernelTooLarge(Problem):
    """A block of a kernel must fit the shared memory and the registers of a streaming multiprocessor.

    Shared memory holds the tiles of keys and values in flight, and those of fields that masks and biases
    look up; see `attndsl explain SPEC` for the tiles.
    """

    code: ClassVar[str] = "E909"
    title: ClassVar[str] = "the {kernel} kernel of `{attend}` does not fit on {device} (sm_{architecture})"
    help: ClassVar[str] = (
        "{tiles}, width {width}, {dtype}: a block needs {needed:,} {what} of {available:,}: {remedy}"
    )
    kernel: str
    attend: str
    device: str
    architecture: int
    tiles: str
    width: int
    dtype: str
    needed: int
    available: int
    what: str
    remedy: str


@dataclass(frozen=True)
class CannotDecode(Problem):
    """`--queries N` looks at the last N queries, which needs queries along a single axis."""

    code: ClassVar[str] = "E906"
    title: ClassVar[str] = "{reason}"
    help: ClassVar[str] = "leave out --queries"
    reason: str


@dataclass(frozen=True)
class BadOption(Problem):
    """An option of the simulator has a form or a value that it cannot have."""

    code: ClassVar[str] = "E907"
    title: ClassVar[str] = "{option} {given}: {reason}"
    help: ClassVar[str] = "{remedy}"
    option: str
    given: str
    reason: str
    remedy: str
