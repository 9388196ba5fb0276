"""Tables in Markdown from what the stages of `benchmarks/gpu.py` have written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def report(documents: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """All stages that have run, line by line."""
    yield "# Our Triton kernels on a GPU"
    if documents:
        where = list(documents.values())[-1]["environment"]
        yield ""
        yield ", ".join(f"{name} {shown(value)}" for name, value in where.items()) + "."
    for stage, document in documents.items():
        records = document["records"]
        yield ""
        match stage:
            case "calibrate":
                yield from calibration(records)
            case "correct":
                yield from correctness(records)
            case "forward" | "backward":
                yield from times(stage, records, document["predicted_for"])
            case "ablate":
                yield from ablation(records)
            case _:
                yield f"## {stage}: {len(records)} cases"
        yield from left_out(records)


def calibration(records: Sequence[Record]) -> Iterator[str]:
    """Rates of the device."""
    yield "## The device"
    yield ""
    yield "| rate | value |"
    yield "|---|---:|"
    for record in records:
        for name, value in record.items():
            if isinstance(value, float):
                yield f"| {record['case']}: {name} | {value:.4g} |"


def correctness(records: Sequence[Record]) -> Iterator[str]:
    """Errors beside the tolerance."""
    yield "## Correctness"
    yield ""
    yield "Largest error over the largest exact value, on a sample of queries and keys, in float64."
    yield ""
    yield "| case | out | lse | dq | dk | dv | tolerance |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for record in (r for r in records if "errors" in r):
        errors = record["errors"]
        cells = [f"{errors[n]:.1e}" if n in errors else "" for n in ("out", "lse", "dq", "dk", "dv")]
        verdict = f"{record['tolerance']:.0e}{' **wrong**' if record['wrong'] else ''}"
        yield f"| {record['case']} | {' | '.join(cells)} | {verdict} |"


def times(stage: str, records: Sequence[Record], predicted_for: str) -> Iterator[str]:
    """Ours, and every peer as a multiple of ours."""
    yield f"## {stage.capitalize()}"
    yield ""
    yield (
        "Milliseconds on the device from a cold L2 cache: median and quartiles. `× ours` is the median over "
        "rounds of a peer's time over ours beside it. Executed: operations on visible pairs; "
        "dense-equivalent: on all pairs. "
        f"Predicted for {predicted_for}, by the model and from compiled kernels."
    )
    yield ""
    yield (
        "| case | call | configuration | ms | quartiles | × ours | TFLOP/s executed | dense-equivalent | "
        "of the tile bound | predicted / measured | difference |"
    )
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for record in (r for r in records if "ours" in r):
        yield own_row(record)
        for name, peer in record["peers"].items():
            yield peer_row(record, name, peer)


def own_row(record: Record) -> str:
    """Our line of a case."""
    seconds = record["ours"]["median_ms"] / 1e3
    rates = [f"{record[name] / seconds / 1e12:.1f}" for name in ("flops", "dense_flops")]
    predicted = [
        f"{found['seconds'] / seconds:.2f}" for found in record["predicted"].values() if "seconds" in found
    ]
    configuration = "; ".join(f"{kernel} {words}" for kernel, words in record["configuration"].items())
    host = f"ours (with Python {record['ours']['with_host_ms']:.2f} ms)"
    cells = [record["case"], host, configuration, *spent(record["ours"]), "", *rates, of_bound(record)]
    return f"| {' | '.join([*cells, ' / '.join(predicted), ''])} |"


def of_bound(record: Record) -> str:
    """The speed-up over dense attention as a share of what visited tiles allow."""
    dense = [p["ratio"][0] for n, p in record["peers"].items() if n.startswith("SDPA") and "ratio" in p]
    model = record["predicted"].get("model", {})
    if not dense or not model.get("tile_bound"):
        return ""
    return f"{min(dense) / model['tile_bound']:.0%}"


def peer_row(record: Record, name: str, peer: Record) -> str:
    """A peer's line of a case."""
    if "median_ms" not in peer:
        words = str(peer.get("failed", "not timed")).replace("|", "/")
        return f"| {record['case']} | {name} | {words} | | | | | | | | |"
    configuration = peer["configuration"]
    if "permutation_ms" in peer:
        configuration += f"; reordering {peer['permutation_ms']:.2f} ms more"
    low, high = peer["ratio"][1:]
    ratio = f"{peer['ratio'][0]:.2f} ({low:.2f}–{high:.2f})"
    difference = f"{peer['difference']:.1e}" if "difference" in peer else "dense"
    if not peer.get("agrees", True):
        difference += " **disagrees**"
    cells = [record["case"], name, configuration, *spent(peer), ratio, "", "", "", "", difference]
    return f"| {' | '.join(cells)} |"


def spent(found: Record) -> list[str]:
    """Median and quartiles."""
    low, high = found["quartiles_ms"]
    return [f"{found['median_ms']:.3f}", f"{low:.3f} – {high:.3f}"]


def ablation(records: Sequence[Record]) -> Iterator[str]:
    """Variants of our kernel as multiples of the chosen one."""
    yield "## Other configurations of our forward kernel"
    yield ""
    yield "| case | chosen | variant | × chosen | ms |"
    yield "|---|---|---|---:|---:|"
    for record in (r for r in records if "variants" in r):
        chosen = record["chosen"]["forward"]
        for name, found in record["variants"].items():
            wrong = " **wrong**" if found.get("wrong") else ""
            shown_times = (
                [f"{found['ratio']:.2f}{wrong}", f"{found['median_ms']:.3f}"]
                if "ratio" in found
                else [str(found["failed"]).replace("|", "/"), ""]
            )
            yield f"| {record['case']} | {chosen} | {name} | {' | '.join(shown_times)} |"


def left_out(records: Sequence[Record]) -> Iterator[str]:
    """Cases without a result, and why."""
    for record in records:
        reason = record.get("failed", record.get("skipped"))
        if reason is not None:
            yield f"- {record['case']}: {reason}"


def shown(value: Any) -> str:
    """A value of the environment."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
