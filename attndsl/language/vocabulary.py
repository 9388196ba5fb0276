"""Names that mean something everywhere, and what to suggest for one that means nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from attndsl.ir.functions import USER_FUNCTIONS
from attndsl.ir.ops import OPS
from attndsl.language import syntax

RESERVED: Mapping[str, str] = {
    "i": "the query",
    "j": "the key",
    "s": "the score",
    "head": "the head's index",
    "heads": "the number of heads",
    "extent": "the length of the key axis",
}
"""Names that cannot be bound, with their meaning."""

IMPLICIT = ("i", "j", "extent")
"""Parameters that every pattern has."""

FUNCTION_NAMES = (*USER_FUNCTIONS, "clamp", "dot")
"""Elementwise functions that a spec calls."""

COVERED = ("first", "last")
"""Functions of a token of a pooled set: the first and last token of its parent that it covers."""

_INSTEAD: Mapping[str, str] = {
    "inf": "there is no infinity: pairs are hidden with `where`",
    "float": "numbers are written 0.5 or 1e-3; pairs are hidden with `where`",
    "True": "write `true`",
    "False": "write `false`",
    "None": "leave the argument out",
    "len": "an extent is written x.n",
    "log2": "write log(a) / log(2)",
}
"""What to write instead of names of other languages."""

_MAX_CANDIDATES = 500
"""Names that a misspelt one is compared with."""

_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "mask": ("where",),
    "attn_mask": ("where",),
    "block_mask": ("where",),
    "mask_mod": ("where",),
    "is_causal": ("where",),
    "attn_bias": ("bias",),
    "score_mod": ("score",),
    "softmax_scale": ("scale",),
    "sm_scale": ("scale",),
    "temperature": ("scale",),
    "query": ("q", "i"),
    "key": ("k", "j"),
    "value": ("v",),
    "num_heads": ("heads",),
    "length": ("extent",),
}
"""Words of other libraries, whose spelling leads nowhere."""


def is_operator_call(call: syntax.Call, operators: Collection[str] = OPS) -> bool:
    """Whether a call is one of an operator: `max(a, 1)` is elementwise, `max(f, over = x)` reduces."""
    if not isinstance(call.function, syntax.Name) or call.function.name not in operators:
        return False
    named = {argument.name for argument in call.arguments}
    return call.function.name not in FUNCTION_NAMES or bool(named & {"over", "by"})


def meaning(name: str) -> str:
    """What a name that cannot be declared stands for; empty for every other name."""
    if name in OPS:
        return "an operator"
    return "a function" if name in FUNCTION_NAMES else RESERVED.get(name, "")


def suggest(name: str, known: Collection[str]) -> str:
    """A remedy naming the closest known name, or all if they are few."""
    if name in _INSTEAD and name not in known:
        return _INSTEAD[name]
    listed = sorted(dict.fromkeys(known))[:_MAX_CANDIDATES]
    translated = [other for other in _ELSEWHERE.get(name, ()) if other in listed]
    close = translated or get_close_matches(name, listed, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    if 0 < len(listed) <= 8:
        return f"known here: {', '.join(listed)}"
    return "declare it first"
