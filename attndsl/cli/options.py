"""Options that commands share: which attention, its parameters, and the sizes to look at."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attndsl.ir.program import Program


DTYPES = ("bfloat16", "float16", "float32")
"""Types that kernels compute in."""


def add_spec(parser: argparse.ArgumentParser) -> None:
    """The spec and its parameters."""
    parser.add_argument("spec", help="a file, `-` for standard input, or the name of an example")
    parser.add_argument("--attention", metavar="NAME", help="which attention, if the file has several")
    parser.add_argument(
        "--set",
        metavar="P=V",
        action="append",
        default=[],
        dest="settings",
        help="set a parameter, e.g. size=7",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_sizes(parser: argparse.ArgumentParser, heads: int) -> None:
    """Extents, batch and heads."""
    parser.add_argument(
        "--shape", metavar="X=SIZE", action="append", default=[], help="extents, e.g. x=30x48x80 or n=4096"
    )
    parser.add_argument("--batch", type=positive, default=1, help="batch elements (default 1)")
    parser.add_argument("--heads", type=positive, default=heads, help=f"query heads (default {heads})")


def positive(text: str) -> int:
    """An integer of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 2**16:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 to 65536, got {text!r}")
    return value


def load_program(args: argparse.Namespace) -> Program:
    """The program that the arguments name; warnings go to stderr, or with `--json` into the document.

    Raises:
        AttnError: with every problem found.
    """
    return load_spec(args.spec, args)


def load_spec(spec: str, args: argparse.Namespace) -> Program:
    """As `load_program`, for a command that takes several specs."""
    program = _loaded(spec, args)
    if program.warnings and not args.json:
        from attndsl.cli.errors import print_warnings

        print_warnings(program)
    return program


def _loaded(spec: str, args: argparse.Namespace) -> Program:
    from attndsl.examples import find_spec
    from attndsl.language import load_file, load_text

    given = _settings(args.settings)
    if spec == "-":
        return load_text(sys.stdin.read(), "<stdin>", args.attention, given)
    return load_file(find_spec(spec), args.attention, given)


def _settings(settings: list[str]) -> dict[str, str]:
    from attndsl.diagnostics import fail
    from attndsl.language.problems import NotLiteral

    given: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise fail(NotLiteral(name.strip() or "?", setting))
        given[name.strip()] = value
    return given


def read_sizes(program: Program, args: argparse.Namespace, default: Mapping[int, int]) -> dict[str, int]:
    """Symbols and heads: from `--shape`, or close to the default extent for the number of axes.

    Raises:
        AttnError: the shape is malformed, or the program's requirements fail.
    """
    from attndsl.planning.plan import sizes_near
    from attndsl.planning.sizes import check_sizes, read_shape

    if args.shape or not program.symbols:
        sizes = read_shape(program, args.shape)
    else:
        sizes = sizes_near(program, default, heads=args.heads)
    sizes = {**sizes, "heads": args.heads}
    check_sizes(program, sizes)
    return sizes
