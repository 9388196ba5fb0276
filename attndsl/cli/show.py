"""`attndsl show`: draws the mask, its tiles and a query's keys; in the terminal, as PNG or SVG, as JSON."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import add_sizes, add_spec, load_program, read_sizes

if TYPE_CHECKING:
    from attndsl.ir.program import Program

HEADS = 8
EXTENTS = {1: 4096, 2: 64, 3: 16}
"""Extents at which a program is drawn where `--shape` gives none, by the number of axes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    add_sizes(parser, heads=HEADS)
    parser.add_argument(
        "-o", "--output", metavar="FILE", action="append", default=[], help="a .png or .svg file (repeatable)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that attndsl did not draw")
    parser.add_argument("--program", action="store_true", help="draw the whole program instead of one mask")
    parser.add_argument("--attend", metavar="NAME", help="which attend, if there are several")
    parser.add_argument("--head", type=int, metavar="H", help="only the mask of this head")
    parser.add_argument("--query", metavar="I", help="whose keys to show: coordinates, e.g. 3,5, or a number")
    parser.add_argument("--tile-q", metavar="SIZES", help="tiles of queries, e.g. 8x8")
    parser.add_argument("--tile-k", metavar="SIZES", help="tiles of keys, e.g. 4x4")


def main(args: argparse.Namespace) -> int:
    """Loads the spec, chooses sizes and draws."""
    from attndsl.picture.extents import telling_extents

    program = load_program(args)
    if args.program or not program.attends:
        return show_program(program, read_sizes(program, args, EXTENTS), args)
    extents = {} if args.shape or not program.symbols else telling_extents(program, args.attend)
    return run(program, read_sizes(program, args, extents), args)


def show_program(program: Program, sizes: dict[str, int], args: argparse.Namespace) -> int:
    """Draws token sets, values and costs; in the terminal as a table."""
    from attndsl.picture.output import check_outputs, write_scene
    from attndsl.picture.program import program_figure, program_lines, program_rows
    from attndsl.planning.costs import program_costs
    from attndsl.planning.sizes import completed

    outputs = check_outputs(args.output, args.force)
    costs = program_costs(program, sizes)
    rows = program_rows(program, costs)
    if outputs:
        scene = program_figure(program, completed(program, sizes), rows)
        for path in outputs:
            write_scene(scene, path)
    if args.json:
        files = [str(path) for path in outputs]
        values = [{**row.cost.to_dict(), "call": row.call, "tokens": row.target.name} for row in rows]
        document = {"attention": program.name, "sizes": sizes, "values": values, "files": files}
        print(json.dumps(with_warnings(document, program)))
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    for line in program_lines(program.name, sizes, rows):
        console.print(line, markup=False, soft_wrap=True)
    for path in outputs:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def run(program: Program, sizes: dict[str, int], args: argparse.Namespace) -> int:
    """Draws a program at the given sizes (symbols and `heads`)."""
    from attndsl.picture.model import make_picture
    from attndsl.picture.output import check_outputs, write_scene
    from attndsl.picture.request import Request

    outputs = check_outputs(args.output, args.force)
    request = Request(args.attend, args.head, args.query, args.tile_q, args.tile_k)
    picture = make_picture(program, sizes, request)
    if outputs:
        from attndsl.picture.figure import figure

        scene = figure(picture)
        for path in outputs:
            write_scene(scene, path)
    if args.json:
        from attndsl.picture.report import to_dict

        document = to_dict(picture, [str(path) for path in outputs])
        print(json.dumps(with_warnings(document, program)))
        return 0
    from rich.console import Console

    from attndsl.picture.terminal import TerminalPicture

    console = Console(highlight=False)
    terminal = TerminalPicture(console)
    if not outputs:
        terminal.show(picture)
    else:
        terminal.summary(picture)
    for path in outputs:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0
