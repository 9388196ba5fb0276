"""Loads specs and evaluates their masks by brute force."""

import numpy as np

from attndsl.ir.namespaces import Arrays
from attndsl.ir.text import show
from attndsl.ir.walk import evaluate
from attndsl.language import load_text

NUMPY = Arrays(np, np.float64)


def attention(body, tokens="x[n]", parameters="", before=""):
    """The program of an attention on one token set whose body is given."""
    head = f"attention a{f'({parameters})' if parameters else ''}"
    return load_text(f"{before}\n{head} {{\n  tokens {tokens}\n  input q, k, v : x\n{body}\n}}")


def masked(where, tokens="x[n]", parameters="", before="", statements=""):
    """The program whose only attend has this `where`."""
    body = f"{statements}\n  return attend(q, k, v, where = {where})"
    return attention(body, tokens, parameters, before)


def expression(program, name="where"):
    """An expression of the only attend, as text."""
    (attend,) = program.attends
    return show(attend.op.expressions[name])


def value(program, name, sizes, loads=None, **variables):
    """An expression of the only attend as an array (query tokens, key tokens), tokens flattened."""
    (attend,) = program.attends
    op = attend.op
    values = {"head": 0, "heads": 1, **sizes, **variables}
    counts = op.query_tokens.count(sizes), op.key_tokens.count(sizes)
    for role, tokens, shape in (("i", op.query_tokens, (-1, 1)), ("j", op.key_tokens, (1, -1))):
        grid = np.meshgrid(*(np.arange(extent) for extent in tokens.extents(sizes)), indexing="ij")
        values |= {f"{role}.{axis}": line.reshape(shape) for axis, line in zip(tokens.axis_names, grid)}
    fields = {field: (lambda *at, array=array: array[at]) for field, array in (loads or {}).items()}
    return np.broadcast_to(evaluate(op.expressions[name], values, NUMPY, fields), counts)


def mask(program, loads=None, head=0, **sizes):
    """Which pairs are visible."""
    return value(program, "where", sizes, loads, head=head).astype(bool)


def pairs(rule, n, m=None):
    """The mask of a rule on one axis, in plain Python."""
    return np.array([[bool(rule(i, j)) for j in range(m or n)] for i in range(n)])
