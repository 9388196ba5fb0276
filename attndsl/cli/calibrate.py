"""`attndsl calibrate`: measures the CPU at hand and writes a device file for `attndsl simulate --device`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from attndsl.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("-o", "--output", metavar="FILE.toml", default="cpu.toml", help="default: cpu.toml")
    parser.add_argument("--title", help="what the machine is (default: its processor)")
    parser.add_argument("--rounds", type=positive, default=15, help="turns of each call (default 15)")
    parser.add_argument("--force", action="store_true", help="overwrite a file that attndsl did not write")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(args: argparse.Namespace) -> int:
    """Measures and writes."""
    from attndsl.files import check_ours, sealed, write_generated

    path = Path(args.output)
    check_ours(path, args.force)
    from attndsl.bench.calibrate import calibrate, processor

    title = args.title or processor()
    text = sealed(calibrate(args.rounds).to_toml(title))
    write_generated(path, text, args.force)
    if args.json:
        print(json.dumps({"file": str(path), "title": title}))
    else:
        print(f"wrote {path}; use it with `attndsl simulate SPEC --device {path}`")
    return 0
