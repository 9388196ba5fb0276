"""`attndsl simulate`: the speed a program can reach on a device, and where the rest is lost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import DTYPES, add_sizes, add_spec, load_program, positive, read_sizes

if TYPE_CHECKING:
    from attndsl.ir.program import Program
    from attndsl.planning.layouts import Forced
    from attndsl.simulation.setting import Setting
    from attndsl.study.study import Questions
    from attndsl.study.sweep import Sweep


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
    parser.add_argument(
        "--from-kernel",
        action="store_true",
        help="compile the generated Triton kernels for the device (needs Triton, no GPU), read their machine "
        "code, and take issue slots, exponentials, tensor-core operations and blocks per unit from it",
    )
    parser.add_argument("--advise", action="store_true", help="better values of parameters declared `tune`")
    parser.add_argument("--sweep", metavar="P=VALUES", help="n=1k..1M, or a parameter: stride=1,2,4")
    parser.add_argument("--csv", metavar="FILE", help="write the sweep as a table; `-` for standard output")
    parser.add_argument("--plot", metavar="FILE", help="draw the sweep, as .svg or .png")
    parser.add_argument("--share", type=float, metavar="P", help="share of a model's time, e.g. 0.6")
    parser.add_argument("--dense-steps", metavar="A/B", help="steps that stay dense, e.g. 15/50")
    parser.add_argument("--html", metavar="FILE", help="write a report as one self-contained page")
    parser.add_argument("--force", action="store_true", help="overwrite files that attndsl did not write")


def main(args: argparse.Namespace) -> int:
    """Simulates and prints."""
    from attndsl.planning.layouts import Forced
    from attndsl.planning.simulate import EXTENTS

    program = load_program(args)
    setting = read_setting(args)
    extents = read_sizes(program, args, EXTENTS)
    from attndsl.study.study import Questions, answer

    outputs = _outputs(args)
    questions = Questions(args.sweep, args.advise, args.share, args.dense_steps)
    forced = Forced(args.tile_q, args.tile_k)
    if args.from_kernel:
        forced = _read_kernels(program, extents, setting, forced, questions)
    study = answer(program, extents, setting, forced, questions)
    if study.sweep is not None:
        _write_sweep(study.sweep, args.csv, outputs)
    if args.html:
        from attndsl.picture.page import write_page

        write_page(program, extents, study, args.html, args.force)
    if args.json:
        print(json.dumps(with_warnings(study.to_dict(), program), indent=2))
    elif args.csv != "-":
        from rich.console import Console

        from attndsl.picture.waterfall import print_study

        print_study(Console(highlight=False), study)
    return 0


def _outputs(args: argparse.Namespace) -> list[Path]:
    """The pictures asked for."""
    if not args.plot:
        return []
    from attndsl.picture.output import check_outputs

    return check_outputs([args.plot], args.force)


def _read_kernels(
    program: Program, extents: Mapping[str, int], setting: Setting, forced: Forced, questions: Questions
) -> Forced:
    """The tiles of compiled kernels with what these cost.

    Raises:
        AttnError: there is no machine code, or a question is about other programs than this one.
    """
    from attndsl.diagnostics import fail
    from attndsl.machine_code import compiled_attends
    from attndsl.simulation.problems import BadOption
    from attndsl.study.variants import known_name

    swept = (questions.sweep or "").partition("=")[0].strip()
    varied = swept and known_name(program, "--sweep", swept) == "parameter"
    if questions.advice or varied:
        reason = "kernels are read for one set of parameters"
        asked = "--advise" if questions.advice else f"--sweep {questions.sweep}"
        raise fail(BadOption("--from-kernel", asked, reason, "leave one of the two out"))
    return replace(forced, compiled=compiled_attends(program, extents, setting, forced))


def _write_sweep(sweep: Sweep, table: str | None, pictures: list[Path]) -> None:
    from attndsl.files import write_atomically

    if table == "-":
        print(sweep.to_csv(), end="")
    elif table:
        write_atomically(Path(table), sweep.to_csv().encode())
    for path in pictures:
        from attndsl.picture.curves import curves
        from attndsl.picture.output import write_scene

        write_scene(curves(sweep), path)


def read_setting(args: argparse.Namespace) -> Setting:
    """The setting that the options describe.

    Raises:
        AttnError: the device or the kernel is unknown.
    """
    from attndsl.simulation.setting import make_setting

    names = ("dtype", "batch", "heads", "kv_heads", "dim", "direction", "queries")
    return make_setting(args.device, args.kernel, **{name: getattr(args, name) for name in names})
