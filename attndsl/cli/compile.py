"""`attndsl compile`: writes the generated file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import DTYPES, add_spec, load_program, positive

if TYPE_CHECKING:
    from attndsl.ir.program import Program
    from attndsl.simulation.compiled import CompiledAttend


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to write; `-` for standard output (default: beside the spec)",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="compile the Triton kernels for it as well (see `attndsl devices`; needs Triton, no GPU), and "
        "refuse those that do not fit",
    )
    parser.add_argument("--dim", type=positive, default=128, help="width of a head there (default 128)")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="type of the tensors there (default: the device's best)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that attndsl did not write")


def main(args: argparse.Namespace) -> int:
    """Compiles and writes, or prints."""
    from attndsl.api import source
    from attndsl.files import write_generated

    program = load_program(args)
    kernels = _kernels(program, args) if args.device else None
    text = source(program)
    if args.output == "-" and not args.json:
        sys.stdout.write(text)
        return 0
    path = _destination(args, program.name)
    write_generated(path, text, args.force)
    if args.json:
        document: dict[str, Any] = {"attention": program.name, "file": str(path), "lines": text.count("\n")}
        if kernels is not None:
            every = {name: [k.to_dict() for k in found.kernels] for name, found in kernels.items()}
            document |= {"device": args.device, "kernels": every}
        print(json.dumps(with_warnings(document, program), indent=2))
    else:
        for found in (kernels or {}).values():
            print("\n".join(kernel.words for kernel in found.kernels))
        print(f"wrote {path} ({text.count(chr(10))} lines); run `python {path}` to check it")
    return 0


def _kernels(program: Program, args: argparse.Namespace) -> dict[str, CompiledAttend]:
    """The kernels of all passes, compiled for the device.

    Raises:
        AttnError: there is nothing to compile or to compile with, or a kernel does not fit.
    """
    from attndsl.machine_code import compiled_attends
    from attndsl.planning.simulate import default_extents
    from attndsl.simulation.setting import make_setting

    setting = make_setting(args.device, dim=args.dim, dtype=args.dtype, direction="both")
    return compiled_attends(program, default_extents(program, setting.heads), setting)


def _destination(args: argparse.Namespace, name: str) -> Path:
    """The file asked for; by default the attention's name beside the spec, or here for examples."""
    if args.output and args.output != "-":
        path = Path(args.output)
        return path / f"{name}.py" if path.is_dir() else path
    spec = Path(args.spec)
    return spec.parent / f"{name}.py" if spec.suffix == ".attn" else Path(f"{name}.py")
