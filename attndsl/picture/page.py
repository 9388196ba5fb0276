"""A simulation as one self-contained page: waterfall, mask and tiles, sweep, advice; without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from attndsl.diagnostics import AttnError, fail
from attndsl.files import NotOurs, write_atomically
from attndsl.ir.program import Program
from attndsl.picture.curves import curves
from attndsl.picture.figure import figure
from attndsl.picture.model import make_picture
from attndsl.picture.program import amount
from attndsl.picture.request import Request
from attndsl.picture.svg import svg
from attndsl.picture.waterfall import attend_lines, duration, heading, steps, times
from attndsl.study.study import Study

MARK = "<!-- written by attndsl simulate -->"
STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #626a75; --rule: #c9ced5; --bar: #104e8b;
  --good: #2f855a; --wash: #eef1f4; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #a0a8b3; --rule: #3d444d;
  --bar: #5b9bd8; --good: #55b685; --wash: #22272e; --paper: #16191d; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; color: var(--ink);
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem; background: var(--paper); }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.6rem 0 .8rem; }
p { margin: .3rem 0; max-width: 46rem; } .soft { color: var(--soft); }
.key { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1.4rem 0 0; }
.key b { display: block; font-size: 1.9rem; line-height: 1.2; }
.key span { color: var(--soft); font-size: .9rem; }
.fall { display: grid; grid-template-columns: 10.5rem 4.5rem 1fr; gap: .35rem .9rem; align-items: center; }
.fall .value { text-align: right; font-variant-numeric: tabular-nums; }
.bar { height: 1.15rem; background: var(--bar); min-width: 2px; border-radius: 2px; }
.bar.predicted { background: var(--good); } .fall small { color: var(--soft); }
table { border-collapse: collapse; } td, th { text-align: left; padding: .3rem 1.4rem .3rem 0;
  border-bottom: 1px solid var(--rule); vertical-align: top; } th { font-weight: 600; }
td.number, th.number, td:first-child { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .6rem 0; }
svg { display: block; max-width: 100%; min-width: 54rem; height: auto; border-radius: 4px; }
li { margin: .3rem 0; max-width: 46rem; } ul { padding-left: 1.2rem; }
@media (max-width: 42rem) {
  body { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.4rem; } .key { gap: 1rem 1.6rem; }
  .fall { grid-template-columns: 1fr auto; } .fall .bar { grid-column: 1 / -1; margin-bottom: .5rem; }
  td, th { padding-right: .9rem; } }
pre { background: var(--wash); padding: .9rem 1.1rem; overflow-x: auto; border-radius: 4px;
  font-size: .85rem; }
"""


def write_page(program: Program, extents: Mapping[str, int], study: Study, name: str, force: bool) -> None:
    """Writes the page.

    Raises:
        AttnError: the file exists and is not a page of attndsl, or cannot be written.
    """
    path = Path(name)
    if path.exists() and not force and not _is_ours(path):
        raise fail(NotOurs(name, "exists, and attndsl did not write it"))
    write_atomically(path, page(program, extents, study).encode())


def _is_ours(path: Path) -> bool:
    try:
        return MARK in path.read_text(encoding="utf-8", errors="replace")[:400]
    except OSError:
        return False


def page(program: Program, extents: Mapping[str, int], study: Study) -> str:
    """The page as text."""
    title = f"{study.report.attention} on {study.report.setting.device.title}"
    parts = [
        *_summary(study),
        *_waterfall(study),
        *_losses(study),
        *_tiles(study),
        *_mask(program, extents, study),
        *_sweep(study),
        *_advice(study),
        *_spec(program),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            MARK,
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head>",
            f"<body><h1>{escape(title)}</h1>",
            *parts,
            "</body></html>\n",
        ]
    )


def _summary(study: Study) -> Iterator[str]:
    report = study.report
    yield f'<p class="soft">{escape(list(heading(report))[1])}</p>'
    yield '<div class="key">'
    yield _figure(times(report.waterfall.predicted), "predicted, over dense attention")
    yield _figure(duration(report.seconds), f"dense {duration(report.dense_seconds)}")
    yield _figure(f"{amount(report.flops)}", f"operations; dense {amount(report.dense_flops)}")
    yield _figure(f"{amount(report.peak_bytes)}B", "memory at most")
    if report.crossover is not None:
        yield _figure(f"{report.crossover:,}", "tokens from which it is faster than dense")
    if study.whole is not None:
        share = f"whole model, {study.whole.share:.0%} of its time attention"
        yield _figure(f"{study.whole.speedup:.2f}x", share)
    yield "</div>"
    if report.complexity:
        words = f" ({report.complexity_words})" if report.complexity_words else ""
        text = f"Operations: {report.complexity}{words}; leading order {report.leading}."
        yield f"<p>{escape(text)}</p>"


def _figure(value: str, words: str) -> str:
    return f"<div><b>{escape(value)}</b><span>{escape(words)}</span></div>"


def _waterfall(study: Study) -> Iterator[str]:
    yield '<h2>From the ideal to the expected</h2><div class="fall">'
    every = steps(study.report)
    largest = max(value for _, value, _ in every) or 1.0
    for name, value, words in every:
        kind = " predicted" if name == "predicted" else ""
        width = 100 * value / largest
        yield f"<div>{escape(name.strip())}<br><small>{escape(words)}</small></div>"
        yield f'<div class="value">{times(value)}</div>'
        yield f'<div class="bar{kind}" style="width:{width:.1f}%"></div>'
    yield "</div>"


def _losses(study: Study) -> Iterator[str]:
    losses = study.report.waterfall.losses
    if not losses:
        return
    yield '<h2>Where the rest is lost</h2><div class="scroll"><table>'
    yield '<tr><th>step</th><th class="number">factor</th><th>why</th></tr>'
    for loss in losses:
        factor = f"{loss.factor:.2f}x slower" if loss.factor >= 1 else f"{1 / loss.factor:.2f}x faster"
        cells = f'<td class="number">{factor}</td><td>{escape(loss.why)}</td>'
        yield f"<tr><td>{escape(loss.step)}</td>{cells}</tr>"
    yield "</table></div>"


def _tiles(study: Study) -> Iterator[str]:
    yield "<h2>Tiles</h2>"
    for attend in study.report.attends:
        for line in attend_lines(attend):
            yield f"<p>{escape(line)}</p>"


def _mask(program: Program, extents: Mapping[str, int], study: Study) -> Iterator[str]:
    """The picture of `attndsl show`, at the simulated tiles where these can be drawn."""
    drawn = [attend for attend in study.report.attends if attend.part is not None]
    if not drawn or study.report.setting.queries is not None:
        return
    attend = drawn[-1]
    plain = not attend.tiling.layout.startswith("residue")
    tiles = ("x".join(map(str, side)) for side in (attend.tiling.query, attend.tiling.key)) if plain else ()
    request = Request(attend.name, None, None, *tiles)
    try:
        scene = figure(make_picture(program, {**extents, "heads": study.report.setting.heads}, request))
    except AttnError:
        return  # more tokens or tiles than a picture can show
    yield f'<h2>Which keys a query sees</h2><div class="scroll">{_inline(svg(scene))}</div>'


def _sweep(study: Study) -> Iterator[str]:
    if study.sweep is None:
        return
    yield f"<h2>By {escape(study.sweep.name)}</h2>"
    yield f'<div class="scroll">{_inline(svg(curves(study.sweep)))}</div><div class="scroll"><table>'
    columns = (study.sweep.name, "flop bound", "tile bound", "predicted", "time", "dense")
    yield f"<tr>{''.join(f'<th class=number>{escape(column)}</th>' for column in columns)}</tr>"
    for point in study.sweep.points:
        fall, report = point.report.waterfall, point.report
        cells = (
            point.value,
            *(times(bound) for bound in (fall.flop_bound, fall.tile_bound, fall.predicted)),
            *(duration(seconds) for seconds in (report.seconds, report.dense_seconds)),
        )
        yield f"<tr>{''.join(f'<td class=number>{escape(cell)}</td>' for cell in cells)}</tr>"
    yield "</table></div>"


def _advice(study: Study) -> Iterator[str]:
    if not study.advice:
        return
    yield "<h2>Advice</h2><ul>"
    for advice in study.advice:
        yield f"<li>{escape(advice.words)}</li>"
    yield "</ul>"


def _spec(program: Program) -> Iterator[str]:
    yield f"<h2>The spec</h2><pre>{escape(program.spec.strip())}</pre>"


def _inline(picture: bytes) -> str:
    """An SVG file as an element of the page."""
    text = picture.decode()
    return re.sub(r"^<\?xml[^>]*\?>\s*", "", text)
