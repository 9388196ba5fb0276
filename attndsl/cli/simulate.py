"""`attndsl simulate`: the speed a program can reach on a device, and where the rest is lost."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import add_sizes, add_spec, load_program, positive, read_sizes

if TYPE_CHECKING:
    from attndsl.simulation.setting import Setting

DTYPES = ("bfloat16", "float16", "float32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    add_sizes(parser, heads=16)
    parser.add_argument("--kv-heads", type=positive, help="key/value heads (default: the heads)")
    parser.add_argument("--dim", type=positive, default=128, help="width of a head (default 128)")
    parser.add_argument("--dtype", choices=DTYPES, help="type of the tensors (default: the device's best)")
    parser.add_argument("--device", default="h100", help="see `attndsl devices`, or a .toml file")
    parser.add_argument("--kernel", default="attndsl", help="attndsl, flash, flex or natten")
    parser.add_argument("--pass", choices=("fwd", "bwd", "both"), default="fwd", dest="direction")
    parser.add_argument("--queries", type=positive, metavar="N", help="decoding: only the last N queries")
    parser.add_argument("--tile-q", metavar="SIZES", help="tiles of queries, e.g. 4x8x8")
    parser.add_argument("--tile-k", metavar="SIZES", help="tiles of keys, e.g. 2x8x8")


def main(args: argparse.Namespace) -> int:
    """Simulates and prints."""
    from attndsl.planning.layouts import Forced
    from attndsl.planning.simulate import EXTENTS, simulate_in_full

    program = load_program(args)
    setting = read_setting(args)
    extents = read_sizes(program, args, EXTENTS)
    report = simulate_in_full(program, extents, setting, Forced(args.tile_q, args.tile_k))
    if args.json:
        print(json.dumps(with_warnings(report.to_dict(), program), indent=2))
        return 0
    from rich.console import Console

    from attndsl.picture.waterfall import print_report

    print_report(Console(highlight=False), report)
    return 0


def read_setting(args: argparse.Namespace) -> Setting:
    """The setting that the options describe.

    Raises:
        AttnError: the device or the kernel is unknown.
    """
    from attndsl.simulation.setting import make_setting

    names = ("dtype", "batch", "heads", "kv_heads", "dim", "direction", "queries")
    return make_setting(args.device, args.kernel, **{name: getattr(args, name) for name in names})
