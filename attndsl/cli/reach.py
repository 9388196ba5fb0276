"""`attndsl reach`: the receptive field of a stack of layers, layer by layer."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from attndsl.cli.options import add_sizes, load_spec, positive, read_sizes

if TYPE_CHECKING:
    from attndsl.analysis.reach import LayerReach, Relation
    from attndsl.ir.program import Program

EXTENTS = {1: 1024, 2: 32, 3: 10}
"""Extents where `--shape` gives none, by the number of axes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("specs", nargs="+", metavar="spec", help="a file or an example; several take turns")
    parser.add_argument("--layers", type=positive, default=12, help="the most layers (default 12)")
    parser.add_argument("--attention", metavar="NAME", help="which attention, if a file has several")
    parser.add_argument(
        "--set", metavar="P=V", action="append", default=[], dest="settings", help="parameters"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_sizes(parser, heads=4)


def main(args: argparse.Namespace) -> int:
    """Stacks the layers and prints what each reaches."""
    from attndsl.analysis.reach import stack

    programs = [load_spec(spec, args) for spec in args.specs]
    sizes = read_sizes(programs[0], args, EXTENTS)
    layers, assumed = _layers(programs, sizes)
    found = [reach for reach, _ in stack(layers, args.layers)]
    if args.json:
        print(json.dumps(_document(found, sizes, assumed), indent=2))
    else:
        _print(found, sizes, assumed)
    return 0


def _layers(
    programs: list[Program], sizes: dict[str, int]
) -> tuple[list[tuple[str, Relation]], tuple[str, ...]]:
    """The relation of every spec, on one set of tokens.

    Raises:
        AttnError: there are too many tokens, or the specs' tokens differ.
    """
    from attndsl.analysis.reach import MOST_TOKENS, layer_relation
    from attndsl.diagnostics import fail
    from attndsl.planning.plan import sample_fields
    from attndsl.planning.problems import BadShape
    from attndsl.planning.sizes import check_sizes, completed

    layers: list[tuple[str, Relation]] = []
    every: list[str] = []
    for program in programs:
        missing = [symbol for symbol in program.symbols if symbol not in sizes]
        if missing:
            reason = f"{program.name} needs {', '.join(missing)}, which {programs[0].name} does not have"
            raise fail(BadShape(program.name, reason, "name the axes of all layers alike"))
        check_sizes(program, sizes)
        known = completed(program, sizes)
        tokens = program.value(program.results[0]).type.tokens
        count = tokens.count(known)
        if count > MOST_TOKENS:
            reason = f"{count:,} tokens, and reach looks at all pairs of at most {MOST_TOKENS:,}"
            raise fail(BadShape(str(tokens), reason, "receptive fields show at smaller extents: --shape"))
        if layers and len(layers[0][1]) != count:
            reason = f"{program.name} has {count} tokens, {programs[0].name} {len(layers[0][1])}"
            raise fail(BadShape(program.name, reason, "all layers work on the same tokens"))
        relation, assumed = layer_relation(
            program, known, sample_fields(program, known, heads=sizes["heads"])
        )
        layers.append((program.name, relation))
        every += assumed
    return layers, tuple(dict.fromkeys(every))


def _document(found: list[LayerReach], sizes: dict[str, int], assumed: tuple[str, ...]) -> dict[str, object]:
    complete = found[-1].layer if found[-1].complete else None
    return {
        "sizes": sizes,
        "layers": [layer.to_dict() for layer in found],
        "complete_after": complete,
        "assumed_complete": list(assumed),
    }


def _print(found: list[LayerReach], sizes: dict[str, int], assumed: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    shown = ", ".join(f"{name} = {value}" for name, value in sizes.items())
    console.print(f"tokens that can influence a token, at {shown}", markup=False)
    table = Table("layer", "attention", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("least", "mean", "most", "of all pairs"):
        table.add_column(column, justify="right")
    for layer in found:
        figures = (f"{layer.least:,}", f"{layer.mean:,.1f}", f"{layer.most:,}", f"{layer.connected:.1%}")
        table.add_row(str(layer.layer), layer.name, *figures)
    console.print(table)
    last = found[-1]
    if last.complete:
        whom = "every later one" if last.connected < 1 else "every other one"
        plural = "s" if last.layer > 1 else ""
        console.print(f"every token can influence {whom} after {last.layer} layer{plural}")
    for name in assumed:
        console.print(f"`{name}` looks along tokens and is assumed to connect all of them", markup=False)
