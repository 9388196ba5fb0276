"""Whether a program can decode: compute some queries only, at an offset, against all keys.

Queries are then positions `offset ... offset + n_q - 1` of the key set. That takes a program in which a
result depends on its own token's features, and on other tokens through attends alone: nothing else looks
along the tokens, and no tensor is needed both for the queries at hand and for every key.
"""

from __future__ import annotations

from dataclasses import dataclass

from attndsl.ir.ops import Attend, Input, Learn, Lowered, Places
from attndsl.ir.program import Program, Value
from attndsl.ir.tokens import Pairs, Relation, TokenSet
from attndsl.ir.walk import fields


@dataclass(frozen=True)
class Incremental:
    """How a program decodes.

    Attributes:
        tokens: the set of its queries and keys.
        queries: names of the values, inputs among them, that have the queries at hand only.
    """

    tokens: TokenSet
    queries: frozenset[str]


class NotIncremental(Exception):
    """Why a program cannot decode."""


def incremental(program: Program) -> Incremental:
    """How a program decodes.

    Raises:
        NotIncremental: it cannot; the message is the reason.
    """
    tokens = _tokens(program)
    queries, every = set(program.results), set(program.losses.values())
    if every:
        raise NotIncremental(f"the loss `{next(iter(program.losses))}` is about all tokens")
    for value in reversed(program.values):
        if value.name in queries & every and value.type.tokens == tokens:
            raise NotIncremental(f"`{value.name}` is needed for the queries at hand and for every key")
        if value.name in every or value.name not in queries:
            _check_stays(program, value, tokens)
            every |= set(value.op.operands)
            continue
        match value.op:
            case Attend() as op:
                _check_attend(value.name, op, tokens)
                queries |= {name for name in (op.q,) if name is not None}
                every |= {name for name in (op.k, op.v) if name is not None}
                every |= fields(*op.expressions.values())
            case op:
                _check_token(value, tokens)
                own = {name for name in op.operands if program.value(name).type.tokens == tokens}
                queries |= own
                every |= set(op.operands) - own
    sides = {value.name in queries for value in program.inputs if value.type.tokens == tokens}
    if sides != {True, False}:
        who = "queries" if True not in sides else "keys"
        raise NotIncremental(f"no input on {tokens} belongs to the {who} alone")
    return Incremental(tokens, frozenset(queries))


def why_not_incremental(program: Program) -> str | None:
    """The reason why a program cannot decode; None if it can."""
    try:
        incremental(program)
    except NotIncremental as reason:
        return str(reason)
    return None


def _tokens(program: Program) -> TokenSet:
    """The set that queries and keys share."""
    attends = [value.op for value in program.attends]
    shared = [op.query_tokens for op in attends if op.query_tokens == op.key_tokens]
    if not shared:
        raise NotIncremental("no attend has its queries and keys on one token set")
    if len(shared[0].axes) != 1:
        raise NotIncremental(f"{shared[0]} has {len(shared[0].axes)} axes, and only a sequence has an offset")
    return shared[0]


def _check_attend(name: str, op: Attend, tokens: TokenSet) -> None:
    if op.query_tokens != tokens:
        raise NotIncremental(f"`{name}` has its queries on {op.query_tokens}, other attends on {tokens}")
    if isinstance(op.key_tokens.origin, Pairs):
        raise NotIncremental(f"`{name}` attends to pairs of tokens")


def _check_stays(program: Program, value: Value, tokens: TokenSet) -> None:
    """A tensor that every query needs in full must not change when a token is added."""
    if isinstance(value.op, Input | Learn) or not value.op.along_tokens:
        return
    sets = [value.type.tokens, *(program.value(name).type.tokens for name in value.op.operands)]
    relations = [one.origin for one in sets if isinstance(one.origin, Relation)]
    if tokens not in (*sets, *(side for both in relations for side in (both.query, both.key))):
        return
    if isinstance(value.op, Attend):
        raise NotIncremental(f"`{value.name}` attends for every key")
    raise NotIncremental(f"`{value.name}` looks along tokens ({value.op.keyword})")


def _check_token(value: Value, tokens: TokenSet) -> None:
    """A tensor of the queries is computed token by token."""
    if isinstance(value.op, Input):
        if value.type.tokens != tokens:
            raise NotIncremental(f"the input `{value.name}` lives on {value.type.tokens}, not on {tokens}")
        return
    if isinstance(value.op, Learn):
        raise NotIncremental(f"`{value.name}` is learned for every token")
    if value.op.along_tokens:
        raise NotIncremental(f"`{value.name}` looks along tokens ({value.op.keyword})")
    if value.type.tokens != tokens:
        raise NotIncremental(f"`{value.name}` lives on {value.type.tokens}, not on {tokens}")
    lowered = value.op.lowered()
    if isinstance(lowered, Lowered) and any(isinstance(part, Places) for part in lowered.arguments):
        raise NotIncremental(f"`{value.name}` depends on the place of every token")
