"""`attndsl devices`: the devices that the simulator knows."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(args: argparse.Namespace) -> int:
    """Prints the devices with their rates."""
    from dataclasses import asdict

    from attndsl.simulation.device import device_names, load_device

    devices = [load_device(name) for name in device_names()]
    if args.json:
        print(json.dumps({device.name: asdict(device) for device in devices}, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("device", "what it is", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("units", "TFLOP/s", "GB/s", "memory", "clock"):
        table.add_column(column, justify="right")
    for device in devices:
        table.add_row(device.name, device.title, *_figures(device))
    Console(highlight=False).print(table)
    print("\n`--device FILE.toml` takes any other; each number's source stands in attndsl/simulation/devices")
    return 0


def _figures(device: Any) -> tuple[str, ...]:
    best = next(iter(device.tflops.values()))
    clock = f"{device.measured.clock_ghz:g} GHz"
    return f"{device.units}", f"{best:g}", f"{device.memory_gbps:g}", f"{device.memory_gb:g} GB", clock
