"""E3: token sets, axes and sorts of values. E305 and E306 belong to `attend`, see `ir/ops/attend.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attndsl.ir.problem import Problem


@dataclass(frozen=True)
class BareOnGrid(Problem):
    """A position, extent or one-dimensional pattern was used on a set with several axes.

    Nothing is flattened silently. Lift a pattern to an axis and combine the axes, or name coordinates:

        tokens x[h, w]
        near = h: window(7) and w: window(7)
        row  = i.h == j.h
    """

    code: ClassVar[str] = "E301"
    title: ClassVar[str] = "{what} needs one axis, but {tokens} has {count}"
    label: ClassVar[str] = "which axis?"
    help: ClassVar[str] = "{remedy}"
    what: str
    tokens: str
    count: int
    remedy: str


@dataclass(frozen=True)
class AcrossSets(Problem):
    """A pattern compares a query position with a key position, but they number different tokens.

    Give the coordinates explicitly: if every key pools four tokens, its last one is `j * 4 + 3`.

        tokens x[n]
        tokens y[n // 4]
        near = causal(j = j * 4 + 3)
    """

    code: ClassVar[str] = "E302"
    title: ClassVar[str] = "`{pattern}` compares queries on {query} with keys on {key}"
    label: ClassVar[str] = "different token sets"
    help: ClassVar[str] = "say where a key lies among the queries: {example}"
    pattern: str
    query: str
    key: str
    example: str


@dataclass(frozen=True)
class NoSuchAxis(Problem):
    """A coordinate, extent or lift names an axis that the token set does not have.

    Axes are named where the set is declared, `tokens x[h, w]`; unnamed ones are 0, 1, ...
    """

    code: ClassVar[str] = "E303"
    title: ClassVar[str] = "{tokens} has no axis `{axis}`"
    label: ClassVar[str] = "no such axis"
    help: ClassVar[str] = "{remedy}"
    tokens: str
    axis: str
    remedy: str


@dataclass(frozen=True)
class WrongValue(Problem):
    """A value of one sort was used where another is needed, e.g. a tensor in arithmetic.

    Tensors (`input q : x`) meet in `attend`. Fields (`input label : x int`) have no width and are looked
    up at a coordinate: `label[i]`. Token sets give extents: `x.h`. Tuples give items: `size[0]`.
    """

    code: ClassVar[str] = "E304"
    title: ClassVar[str] = "{place} needs {expected}, not {found}"
    label: ClassVar[str] = "this is {found}"
    help: ClassVar[str] = "{remedy}"
    place: str
    expected: str
    found: str
    remedy: str


@dataclass(frozen=True)
class FieldCoordinates(Problem):
    """A field takes one coordinate per axis of its tokens, or a whole position `i` or `j`.

    With tokens x[h, w]:

        input depth : x int
        near = depth[i] == depth[j.h, i.w]
    """

    code: ClassVar[str] = "E307"
    title: ClassVar[str] = "`{field}` lies on {tokens} and takes {expected}, not {given}"
    label: ClassVar[str] = "{given} given"
    help: ClassVar[str] = "write {example}"
    field: str
    tokens: str
    expected: str
    given: int
    example: str


@dataclass(frozen=True)
class NoPair(Problem):
    """`i`, `j`, `head` and patterns have a meaning where pairs of a query and a key are considered.

    That is in `where`, `bias` and `score` of attend, and in names that are used there. The score `s`
    exists in `score` only.
    """

    code: ClassVar[str] = "E308"
    title: ClassVar[str] = "`{name}` has no meaning here"
    label: ClassVar[str] = "there is no {what} at this point"
    help: ClassVar[str] = "{remedy}"
    name: str
    what: str
    remedy: str


@dataclass(frozen=True)
class UnseenExtent(Problem):
    """Every extent that is not fixed must be the length of an axis of some input: it is read off the tensors.

    Below, n is unknown: 8 pairs come from 16 or 17 tokens.

        tokens x[n]
        tokens c[n // 2]
        input  q, k, v : c
    """

    code: ClassVar[str] = "E310"
    title: ClassVar[str] = "no input shows how large `{symbol}` is"
    label: ClassVar[str] = "not the length of an axis of any input"
    help: ClassVar[str] = "declare an input on a set with the axis {symbol}, or fix it: {symbol} = 64"
    symbol: str


@dataclass(frozen=True)
class WrongSet(Problem):
    """A field is looked up at the position of a token that lives on another set.

    With queries on x and keys on y, `label[i]` needs a label on x; for a label on y write label[j].
    """

    code: ClassVar[str] = "E309"
    title: ClassVar[str] = "`{field}` lies on {tokens}, but `{position}` is a position on {other}"
    label: ClassVar[str] = "a position on {other}"
    help: ClassVar[str] = "give the coordinates on {tokens}: {field}[...]"
    field: str
    tokens: str
    position: str
    other: str


@dataclass(frozen=True)
class UnboundedParameter(Problem):
    """A learned tensor has one entry per token, but the number of tokens is known only at the call.

    Bound the extent, and the parameter is made for the largest:

        tokens x[n <= 4096]
        learn position : x
    """

    code: ClassVar[str] = "E311"
    title: ClassVar[str] = "`{name}` would have as many parameters as axis {axis} of {tokens} has tokens"
    label: ClassVar[str] = "this length is known only at the call"
    help: ClassVar[str] = "{remedy}"
    name: str
    tokens: str
    axis: str
    remedy: str


@dataclass(frozen=True)
class NoSuchPart(Problem):
    """An operator with several results gives a record, whose parts are chosen with a dot.

    c = codebook(k, 512)
    c.code, c.label, c.hat, c.count, c.loss
    """

    code: ClassVar[str] = "E312"
    title: ClassVar[str] = "`{record}` has no part `{part}`"
    label: ClassVar[str] = "unknown part"
    help: ClassVar[str] = "{remedy}"
    record: str
    part: str
    remedy: str


@dataclass(frozen=True)
class Overlapping(Problem):
    """Two parts of one `joint` attend to the same keys, and may both see some of them.

    The keys of a joint softmax form a multiset: a key that two parts show counts twice. If that is not
    meant, let the conditions exclude each other:

        joint(attend(q, k, v, where = causal and sliding(64)),
              attend(q, k, v, where = sinks(4) and j < i - 64))

    Where it is meant, the warning may be ignored.
    """

    code: ClassVar[str] = "W301"
    severity: ClassVar[str] = "warning"
    title: ClassVar[str] = "`joint` may count {keys} twice"
    label: ClassVar[str] = "a key that two parts show counts twice"
    help: ClassVar[str] = "if that is not meant, let the conditions exclude each other, e.g. `and not ...`"
    keys: str


@dataclass(frozen=True)
class OnPairs(Problem):
    """`kron` gives a token for every pair of tokens: n * n of them, which are never held in memory.

    They serve as keys and values of one attend, which multiplies them on the way:

        return attend(q, kron(k1, k2), kron(v1, v2))
    """

    code: ClassVar[str] = "E314"
    title: ClassVar[str] = "{place} cannot live on pairs"
    label: ClassVar[str] = "this has a token for every pair"
    help: ClassVar[str] = "pass what `kron` gives to attend as `k` and `v`, and nowhere else"
    place: str


@dataclass(frozen=True)
class NoOrder(Problem):
    """A pattern compares the positions of queries and keys, but these tokens are in no order.

    Codewords are numbered as they happen to be learned, channels as they happen to lie in memory: which comes
    first says nothing. Attend without the pattern, or compare something that means something.
    """

    code: ClassVar[str] = "E316"
    title: ClassVar[str] = "`{pattern}` compares positions, but {tokens} are in no order"
    label: ClassVar[str] = "needs tokens in an order"
    help: ClassVar[str] = "leave it out, or apply it where queries and keys are tokens of an input"
    pattern: str
    tokens: str
