"""`attndsl compile`: writes the generated file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import add_spec, load_program


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to write; `-` for standard output (default: beside the spec)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that attndsl did not write")


def main(args: argparse.Namespace) -> int:
    """Compiles and writes, or prints."""
    from attndsl.api import source
    from attndsl.files import write_generated

    program = load_program(args)
    text = source(program)
    if args.output == "-" and not args.json:
        sys.stdout.write(text)
        return 0
    path = _destination(args, program.name)
    write_generated(path, text, args.force)
    if args.json:
        document = {"attention": program.name, "file": str(path), "lines": text.count("\n")}
        print(json.dumps(with_warnings(document, program), indent=2))
    else:
        print(f"wrote {path} ({text.count(chr(10))} lines); run `python {path}` to check it")
    return 0


def _destination(args: argparse.Namespace, name: str) -> Path:
    """The file asked for; by default the attention's name beside the spec, or here for examples."""
    if args.output and args.output != "-":
        path = Path(args.output)
        return path / f"{name}.py" if path.is_dir() else path
    spec = Path(args.spec)
    return spec.parent / f"{name}.py" if spec.suffix == ".attn" else Path(f"{name}.py")
