"""`attndsl explain`: an error code, or everything the compiler found out about a spec."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from attndsl.cli.errors import with_warnings
from attndsl.cli.options import add_sizes, add_spec, load_program, read_sizes

if TYPE_CHECKING:
    from rich.console import Console

    from attndsl.ir.program import Program

EXTENTS = {1: 1024, 2: 48, 3: 16}
"""Extents to look at where `--shape` gives none, by the number of axes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_spec(parser)
    add_sizes(parser, heads=4)


def main(args: argparse.Namespace) -> int:
    """Explains a code or a spec."""
    if re.fullmatch(r"[EW][0-9]{3}", args.spec):
        return _explain_code(args.spec, args.json)
    program = load_program(args)
    report = describe(program, read_sizes(program, args, EXTENTS))
    if args.json:
        print(json.dumps(with_warnings(report, program), indent=2))
    else:
        from rich.console import Console

        _print(Console(highlight=False), report)
    return 0


def _explain_code(code: str, as_json: bool) -> int:
    """Prints the explanation of an error code; the classes register themselves when imported."""
    import inspect

    import attndsl.files
    import attndsl.language
    import attndsl.picture.problems
    import attndsl.planning.problems
    import attndsl.simulation.problems  # noqa: F401
    from attndsl.diagnostics import fail
    from attndsl.ir.problem import Problem
    from attndsl.language.problems import UnknownName

    kind = Problem.registry.get(code)
    if kind is None:
        raise fail(UnknownName("error code", code, f"the codes are {', '.join(sorted(Problem.registry))}"))
    text = inspect.getdoc(kind) or ""
    if as_json:
        print(
            json.dumps({"code": code, "title": kind.title, "explanation": text, "help": kind.help}, indent=2)
        )
    else:
        title = re.sub(r"{(.+?)}", r"<\1>", kind.title)
        # Where the whole title is filled in, the explanation speaks for itself.
        print(f"{code}\n\n{text}" if re.fullmatch(r"<\w+>", title) else f"{code}: {title}\n\n{text}")
    return 0


def describe(program: Program, sizes: dict[str, int]) -> dict[str, Any]:
    """What the compiler knows: types, requirements, and per attend its mask, tiles, counts and proofs."""
    from attndsl.ir.tokens import Pairs
    from attndsl.picture.program import program_rows
    from attndsl.planning.costs import program_costs
    from attndsl.planning.plan import sample_fields
    from attndsl.planning.sizes import completed

    fields = sample_fields(program, sizes, heads=sizes["heads"])
    every = completed(program, sizes)
    rows = program_rows(program, program_costs(program, sizes))
    return {
        "attention": program.name,
        "parameters": dict(program.parameters),
        "tokens": [str(tokens) for tokens in program.token_sets],
        "inputs": {value.name: f"{value.type.kind} {value.type.shape_words}" for value in program.inputs},
        "learned": {value.name: value.type.shape_words for value in program.learned},
        "values": [{"call": row.call, "tokens": row.target.name, **row.cost.to_dict()} for row in rows],
        "requires": [f"{r.subject}: {r.text}" for r in program.requirements],
        "decoding": _describe_decoding(program),
        "sizes": sizes,
        "sampled_fields": sorted(fields),
        "attends": [
            _describe_attend(program, value.name, value.op, every, fields)
            for value in program.attends
            if not isinstance(value.op.key_tokens.origin, Pairs)
        ],
    }


def _describe_decoding(program: Program) -> dict[str, Any]:
    """Whether queries can be computed at an offset, and which inputs are then theirs."""
    from attndsl.ir.incremental import NotIncremental, incremental

    try:
        queries = incremental(program).queries
    except NotIncremental as reason:
        return {"incremental": False, "reason": str(reason)}
    return {"incremental": True, "queries": [v.name for v in program.inputs if v.name in queries]}


def _decoding_words(decoding: dict[str, Any]) -> str:
    if not decoding["incremental"]:
        return f"not incremental: {decoding['reason']}"
    names = ", ".join(decoding["queries"])
    return f"incremental: forward(..., offset = t) takes {names} of the queries from position t on"


UNTILED = {
    "all_keys": "one tile, since every query sees every key",
    "contracted": "for the counts alone; sums over keys come first, so it runs without tiles",
    "along_paths": "for the counts alone; weights fade along lines of the grid, so it runs without tiles",
    "chunked": "for the counts alone; on a CPU it runs in chunks of queries against every key",
}
"""Why the tiles of an attend are what they are, by kernel; others visit tiles chosen for their mask."""


def _fewest(slots: float) -> str:
    return f"visits {slots:.0f} key slots per query, fewest of the shapes tried"


def _describe_attend(
    program: Program, name: str, op: Any, sizes: dict[str, int], fields: Any
) -> dict[str, Any]:
    from attndsl.analysis.attention import analyse
    from attndsl.analysis.layout import Brick, balanced
    from attndsl.analysis.proofs import prove_all
    from attndsl.ir.index import TRUE
    from attndsl.ir.text import show_named
    from attndsl.planning.blocks import placed_at
    from attndsl.planning.residues import split_attend
    from attndsl.planning.tiles import QUERY_SLOTS, TileChoice, choose_tiles

    extents = op.query_tokens.extents(sizes), op.key_tokens.extents(sizes)
    choice = (
        TileChoice(extents[0], extents[1], visits=0) if op.where is TRUE else choose_tiles(op, sizes, fields)
    )
    whole = op
    if choice.query_steps:
        whole = split_attend(op, choice.query_steps, choice.key_steps, exact=True)
    if choice.origin:
        whole = placed_at(op, choice.origin)
    layouts = (
        Brick(whole.query_tokens.extents(sizes), choice.query),
        Brick(whole.key_tokens.extents(sizes), choice.key),
    )
    found = analyse(whole, sizes, *layouts, fields)
    proved = found
    if whole is not op:  # proofs are about tokens, not about phases and rounds
        query, key = extents
        plain = Brick(query, balanced(query, QUERY_SLOTS)), Brick(key, balanced(key, QUERY_SLOTS))
        proved = analyse(op, sizes, *plain, fields)
    return {
        "name": name,
        "queries": op.query_tokens.name,
        "keys": op.key_tokens.name,
        **{part: show_named(expr, program.labels) for part, expr in op.expressions.items()},
        "layout": choice.layout,
        "tile": {"q": list(choice.query), "k": list(choice.key)},
        "kernel": op.kernel,
        "why": UNTILED.get(op.kernel) or _fewest(choice.visits / sizes["heads"]),
        "gpu_tiles": _describe_boxes(program, name, bool(choice.query_steps)),
        "classes": [
            {
                "heads": list(c.heads),
                "batch": c.batch,
                **c.counts.to_dict(),
                "proofs": [proof.to_dict() for proof in prove_all(same)],
            }
            for c, same in zip(found.classes, proved.classes)
        ],
    }


def _describe_boxes(program: Program, name: str, split: bool) -> dict[str, Any] | None:
    """The boxes that the GPU kernels of an attend cut several axes into, by slots, and why."""
    from attndsl.planning.outlook import program_boxes

    found = None if split else program_boxes(program, [name]).get(name)
    return None if found is None else {"q": dict(found.query), "k": dict(found.key), "why": found.why}


def _print(console: Console, report: dict[str, Any]) -> None:
    parameters = ", ".join(f"{name} = {value}" for name, value in report["parameters"].items())
    console.print(f"[bold]{report['attention']}[/bold]{f' ({parameters})' if parameters else ''}")
    console.print(f"  tokens    {', '.join(report['tokens'])}", markup=False)
    for name, type_ in report["inputs"].items():
        console.print(f"  input     {name}: {type_}", markup=False)
    for name, type_ in report["learned"].items():
        console.print(f"  learned   {name}: {type_}", markup=False)
    for requirement in report["requires"]:
        console.print(f"  requires  {requirement}", markup=False)
    console.print(f"  decoding  {_decoding_words(report['decoding'])}", markup=False, soft_wrap=True)
    sizes = ", ".join(f"{name} = {value}" for name, value in report["sizes"].items())
    console.print(f"  at        {sizes}", markup=False)
    if len(report["values"]) > 1:
        console.print()
        for value in report["values"]:
            cost = f": {value['formula']} = {value['flops']:,} operations" if value["flops"] else ""
            console.print(f"  {value['call']} on {value['tokens']}{cost}", markup=False, soft_wrap=True)
    for attend in report["attends"]:
        _print_attend(console, attend)


def _print_attend(console: Console, attend: dict[str, Any]) -> None:
    console.print(
        f"\n[bold]{attend['name']}[/bold]: queries on {attend['queries']}, keys on {attend['keys']}"
    )
    for part in ("where", "bias", "score", "scale", "times"):
        for at, line in enumerate(attend.get(part, [])):
            console.print(f"  {part if at == 0 else '':9} {line}", markup=False, soft_wrap=True)
    tile = " against ".join("x".join(map(str, attend["tile"][side])) for side in ("q", "k"))
    console.print(f"  tiles     {tile} ({attend['layout']}): {attend['why']}", markup=False, soft_wrap=True)
    if attend["gpu_tiles"]:
        console.print(f"  on a GPU  {attend['gpu_tiles']['why']}", markup=False, soft_wrap=True)
    for found in attend["classes"]:
        tiles = found["tiles"]
        who = f"heads {', '.join(map(str, found['heads']))}" if len(attend["classes"]) > 1 else "each head"
        who += f", batch element {found['batch']}" if found["batch"] is not None else ""
        console.print(
            f"  {who}: {found['pairs']:,} visible pairs; "
            f"{tiles['visited']:,} of {tiles['total']:,} tiles visited "
            f"({tiles['full']:,} full, {tiles['partial']:,} partial)",
            soft_wrap=True,
        )
        for proof in found["proofs"]:
            _print_proof(console, proof)


def _print_proof(console: Console, proof: dict[str, Any]) -> None:
    mark = "[green]yes[/green]" if proof["holds"] else "[yellow]no [/yellow]"
    pair = [f"{side} {proof[side]}" for side in ("query", "key") if side in proof]
    example = f", e.g. {' and '.join(pair)}" if pair else ""
    console.print(f"    {mark} {proof['statement']}{example}", soft_wrap=True)
