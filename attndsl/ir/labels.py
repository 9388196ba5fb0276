"""Masks that show a query only the keys of its own label."""

from __future__ import annotations

from attndsl.ir.index import Apply, Expr, Load
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import KEY, QUERY, TokenSet


def same_labels(attend: Attend) -> tuple[str, str] | None:
    """Two integer fields, of queries and of keys, that are equal wherever the mask shows a pair; or None.

    `doc[i] == doc[j]` with or without further conditions: tokens may be taken in the order of such labels.
    """
    for condition in _conditions(attend.where):
        match condition:
            case Apply("==", (Load() as a, Load() as b)):
                for query, key in ((a, b), (b, a)):
                    if _is_own(query, QUERY, attend.query_tokens) and _is_own(key, KEY, attend.key_tokens):
                        return query.field, key.field
    return None


def _conditions(where: Expr) -> tuple[Expr, ...]:
    match where:
        case Apply("and", conditions):
            return conditions
    return (where,)


def _is_own(load: Load, side: str, tokens: TokenSet) -> bool:
    """Whether an integer field is looked up at the token's own place."""
    return load.kind == "int" and load.coords == tokens.coordinates(side)
