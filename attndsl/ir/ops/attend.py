"""`attend`: attention of queries over the visible keys.

    s = scale * dot(q[i], k[j]) -> score(s) -> + bias -> where -> normalize -> times -> sum of v[j]

Softmax by default; `linear` divides by the row sum (kept away from zero by 1e-6, its sign preserved),
`sigmoid` takes each score for itself, `none` takes the scores as they are. A query without a visible key
yields zeros, and a log-sum-exp of minus infinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

from attndsl.ir.decay import decay_of
from attndsl.ir.distances import linear_in_fields, of_distance
from attndsl.ir.index import TRUE, Apply, Const, Expr, Var, apply
from attndsl.ir.ops.base import (
    Arguments,
    Builder,
    Hooks,
    IllTyped,
    Kernel,
    Lowered,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Read,
    WrongOperand,
    first_heads,
)
from attndsl.ir.paths import Path, paths_of
from attndsl.ir.problem import Problem
from attndsl.ir.sums import taken_apart
from attndsl.ir.tokens import KEY, QUERY, SINGLE, Pairs, TokenSet
from attndsl.ir.types import HEADS, FeatureType
from attndsl.ir.walk import fields, substitute, variables

SCORE = Var("s", "real")
"""What a score is called."""
NORMALIZERS = ("softmax", "linear", "sigmoid", "none")
SMALLEST_SUM = 1e-6
"""`normalize = linear` divides by at least this, with the sign of the row sum."""


@dataclass(frozen=True)
class KeyValueSets(Problem):
    """Keys and values are pairs: value j is what key j returns. They must live on one token set."""

    code: ClassVar[str] = "E305"
    title: ClassVar[str] = "key and value live on different token sets: {key} and {value}"
    label: ClassVar[str] = "this value is on {value}"
    help: ClassVar[str] = "pass a value on {key}, the set of the key"
    key: str
    value: str


@dataclass(frozen=True)
class NotAFeature(Problem):
    """Queries, keys and values are vectors: real features with a width."""

    code: ClassVar[str] = "E306"
    title: ClassVar[str] = "`{name}` has no width, so it cannot be the {role} of attend"
    label: ClassVar[str] = "an int, bool or scalar value"
    help: ClassVar[str] = "use it in `where` or `bias`, as {name}[i] or {name}[j]"
    name: str
    role: str


@dataclass(frozen=True)
class Attend(Op):
    """One attention: its operands and the pair expressions that shape the scores.

    Attributes:
        query_tokens, key_tokens: what `i` and `j` range over.
        score_width: the width of queries and keys, or None if there are none.
    """

    keyword: ClassVar[str] = "attend"
    on_pairs: ClassVar[tuple[str, ...]] = ("q", "k", "v")
    parameters: ClassVar[tuple[OpParameter, ...]] = (
        OpParameter("q", "feature", positional=True, help="queries"),
        OpParameter("k", "feature", positional=True, help="keys"),
        OpParameter("v", "feature", optional=False, positional=True, help="values, on the keys' token set"),
        OpParameter("where", "condition", help="which pairs are visible"),
        OpParameter("bias", "real", help="added to the score"),
        OpParameter("score", "score", help="replaces the score `s`"),
        OpParameter("scale", "number", help="multiplies the dot product; q.width ** -0.5 by default"),
        OpParameter("normalize", "word", words=NORMALIZERS, help="what makes weights of scores"),
        OpParameter("times", "real", help="a factor of the normalised weight"),
        OpParameter("on", "tokens", help="the queries' token set, where there is no `q`"),
    )

    q: str | None
    k: str | None
    v: str
    query_tokens: TokenSet
    key_tokens: TokenSet
    type: FeatureType
    scale: Expr
    where: Expr = TRUE
    bias: Expr | None = None
    score: Expr | None = None
    times: Expr | None = None
    normalize: str = "softmax"
    score_width: Expr | None = None

    @classmethod
    def domain(cls, given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
        """The token sets of query and key."""
        q, keys = given.get("q"), given.get("k", given.get("v"))
        query = q.type.tokens if q is not None else given.get("on", SINGLE)
        return None if keys is None else (query, keys.type.tokens)

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Operand:
        """See `of`."""
        return add(cls.of(args))

    @classmethod
    def of(cls, args: Arguments) -> Attend:
        """Checks the operands and gives the result its type.

        Raises:
            IllTyped: an operand has no width, or key and value live on different sets.
        """
        q, k, v = (args.get(role) for role in "qkv")
        for role, operand in (("q", q), ("k", k), ("v", v)):
            if operand is not None and (operand.type.width is None or operand.type.kind != "real"):
                raise IllTyped(NotAFeature(str(operand), role), role)
        domain = cls.domain(args.given)
        assert domain is not None
        query_tokens, key_tokens = domain
        if not v.type.tokens.matches(key_tokens):
            raise IllTyped(KeyValueSets(str(key_tokens), str(v.type.tokens)), "v")
        _check_scored(args, q, k)
        normalize = args.get("normalize", "softmax")
        _check_pairs(args, query_tokens, key_tokens)
        heads = _heads(args)
        _check_sizes(heads, q, k, v)
        own_heads = {} if heads in (None, HEADS) else {"heads": heads}
        width = q.type.width if q is not None else None
        return cls(
            None if q is None else q.name,
            None if k is None else k.name,
            v.name,
            query_tokens=query_tokens,
            key_tokens=key_tokens,
            type=FeatureType(
                query_tokens,
                batch=args.extra["batch"],
                heads=heads,
                width=v.type.width,
                partial=normalize == "softmax" and "times" not in args,
            ),
            scale=args.get("scale", Const(1.0) if width is None else width**-0.5),
            where=substitute(args.get("where", TRUE), own_heads),
            bias=_put(args.get("bias"), own_heads),
            score=_put(args.get("score"), own_heads),
            times=_put(args.get("times"), own_heads),
            normalize=normalize,
            score_width=width,
        )

    @property
    def tensors(self) -> tuple[str, ...]:
        """Query, key and value."""
        return tuple(name for name in (self.q, self.k, self.v) if name is not None)

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """The expressions that are present."""
        names = ("where", "bias", "score", "scale", "times")
        return {name: expr for name in names if (expr := getattr(self, name)) is not None}

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """Output `(batch, heads, queries, width)` and natural log-sum-exp `(batch, heads, queries)`.

        Key/value heads divide query heads.
        """
        xp = context.xp
        given = dict(zip((role for role in ("q", "k", "v") if getattr(self, role) is not None), tensors))
        v = given["v"]
        heads = int(context.size(self.type.heads)) if self.type.heads is not None else 1
        q = given.get("q")
        if q is not None and context.rows is not None:
            q = q[:, :, context.rows]
        pairs = context.pairs(self.query_tokens, self.key_tokens, heads)
        v = _per_head(xp, v, heads)
        if q is not None and "k" in given:
            k = _per_head(xp, given["k"], heads)
            s = pairs(self.scale) * (_per_head(xp, q, heads) @ k.transpose(-1, -2))
        else:
            count = prod(context.extents(self.query_tokens)) if context.rows is None else len(context.rows)
            s = v.new_zeros((v.shape[0], heads, count, v.shape[2]))

        def shaped(s: Any, visible: Any = None) -> Any:
            if self.score is not None:
                s = pairs(self.score, visible, s=s) + xp.zeros_like(s)
            return s if self.bias is None else s + pairs(self.bias, visible)

        # A masked pair must neither count nor send a gradient, even where the derivative of its score is
        # infinite: once it is known which pairs are visible, the others see constants.
        visible = xp.as_tensor(pairs(self.where)) & (shaped(s.detach()) != -xp.inf)
        s = shaped(xp.where(visible, s, s.detach()), visible)
        weight, lse = self._weights(xp, s, visible)
        if self.times is not None:
            weight = weight * xp.where(visible, pairs(self.times, visible), 0.0)
        out = weight @ v
        return (out, lse) if self.type.partial else out

    def _weights(self, xp: Any, s: Any, visible: Any) -> tuple[Any, Any]:
        finite = xp.where(visible, s, 0.0)
        if self.normalize == "sigmoid":
            return xp.where(visible, xp.sigmoid(finite), 0.0), None
        if self.normalize == "none":
            return finite, None
        if self.normalize == "linear":
            total = finite.sum(-1, keepdim=True)
            sign = xp.where(total < 0, -1.0, 1.0)
            small = total.abs() < SMALLEST_SUM
            return finite / xp.where(small, sign * SMALLEST_SUM, total), None
        s = xp.where(visible, s, -xp.inf)
        top = xp.amax(s, -1, keepdim=True).detach()
        top = xp.where(top == -xp.inf, 0.0, top)
        weight = xp.where(visible, xp.exp(xp.where(visible, s, 0.0) - top), 0.0)
        total = weight.sum(-1, keepdim=True)
        empty = total == 0
        lse = xp.where(empty, -xp.inf, xp.log(xp.where(empty, 1.0, total)) + top)
        return weight / xp.where(empty, 1.0, total), lse[..., 0]

    @property
    def contracts(self) -> bool:
        """Whether sums over keys come first: the weights are plain products, all visible or causal."""
        plain = self.normalize in ("linear", "none") and self.q is not None and self.k is not None
        return (
            plain
            and self.bias is None
            and (self.score is self.times is None or self.decay is not None)
            and (self.where is TRUE or self.causal)
        )

    @property
    def untiled(self) -> bool:
        """Whether it runs without tiles of pairs, because sums over keys come first."""
        return self.contracts or self.paths is not None

    @property
    def decay(self) -> Expr | None:
        """A function of the query's place; the exponential of its change from key to query multiplies scores.

        It is in `times`, or in the score where rows are divided by sums of what is left. None where there is
        no such function, or where running sums of products cannot take it in.
        """
        by_score = self.times is None and self.normalize in ("linear", "none")
        factor = self._factor_of_score if by_score else self.times
        if factor is None or not self.causal or (self.normalize != "none" and not by_score):
            return None
        return (
            decay_of(factor, self.query_tokens, self.key_tokens) if by_score or self.score is None else None
        )

    @property
    def _factor_of_score(self) -> Expr | None:
        """The other factors of a score that is `s` times something."""
        match self.score:
            case Apply("*", factors):
                others = [factor for factor in factors if factor is not SCORE]
                alone = len(others) == len(factors) - 1 and SCORE.name not in variables(*others)
                return apply("*", *others) if alone else None
        return None

    @cached_property
    def separable_bias(self) -> bool:
        """Whether the bias of a pair is a term of its query plus a term of its key, whatever fields hold.

        Then the key's term is the same for all queries, and the query's moves its log-sum-exp alone.
        """
        if self.bias is None or self.score is not None or fields(self.bias):
            return False
        return taken_apart(self.bias) is not None

    @cached_property
    def bias_by_distance(self) -> bool:
        """Whether the bias depends on how far a key is from its query alone, and linearly on fields."""
        if self.bias is None or self.score is not None:
            return False
        if self.query_tokens.axis_names != self.key_tokens.axis_names:
            return False  # places are compared axis by axis
        return of_distance(self.bias) and linear_in_fields(self.bias)

    @cached_property
    def paths(self) -> tuple[Path, ...] | None:
        """The paths on a grid of whose factors `times` is the sum, where weights are products and no more."""
        plain = self.normalize in ("linear", "none") and self.q is not None and self.k is not None
        if not plain or self.times is None or (self.score, self.bias) != (None, None):
            return None
        return paths_of(self.times, self.query_tokens, self.key_tokens) if self.where is TRUE else None

    @property
    def causal(self) -> bool:
        """Whether a query sees the keys up to its own place, and nothing else."""
        if len(self.query_tokens.axes) != 1 or self.query_tokens != self.key_tokens:
            return False
        (i,), (j,) = self.query_tokens.coordinates(QUERY), self.key_tokens.coordinates(KEY)
        return self.where is (j <= i)

    @property
    def kernel(self) -> str:
        """Softmax over all keys or over tiles; else in chunks of queries, or contracted where possible."""
        if isinstance(self.key_tokens.origin, Pairs):
            return "paired"
        if self.contracts:
            return "contracted"
        if self.paths is not None:
            return "along_paths"
        if not (self.type.partial and self.q is not None and self.k is not None):
            return "chunked"
        return "all_keys" if self.where is TRUE and self.score is None else "tiled"

    def lowered(self) -> Lowered:
        """A kernel, with the pair expressions as its hooks."""
        reads = tuple(None if name is None else Read(name) for name in (self.q, self.k, self.v))
        results = ("", "_lse" if self.type.partial else None)
        return Lowered("attend", (Kernel(self.kernel), Hooks(self), *reads), results)

    def flops(self) -> Expr:
        """Two products per visible pair: scores over the queries' width, values over their own."""
        heads = self.type.heads if self.type.heads is not None else Const(1)
        assert self.type.width is not None
        scores = Const(0) if self.score_width is None else self.score_width
        return 2 * Var("pairs") * heads * (scores + self.type.width)


def _per_head(xp: Any, tensor: Any, heads: int) -> Any:
    group = heads // tensor.shape[1]
    return tensor if group == 1 else xp.repeat_interleave(tensor, group, 1)


def _put(expr: Expr | None, values: Mapping[str, Expr]) -> Expr | None:
    return None if expr is None else substitute(expr, values)


def _check_scored(args: Arguments, q: Operand | None, k: Operand | None) -> None:
    """Scores come from `q` and `k`, or from `score` and `bias` without `s`."""
    if q is not None and k is not None:
        return
    missing = "q" if q is None else "k"
    if (q is None) != (k is None):
        other = "k" if q is None else "q"
        remedy = "give both, or neither together with score = ..."
        raise IllTyped(WrongOperand(f"attend has `{other}` but no `{missing}`", "", remedy), other)
    score = args.get("score")
    if score is None or "s" in variables(score):
        what = "without `q` and `k` there is no score `s`"
        remedy = "pass queries and keys, or score = ... without `s`"
        raise IllTyped(WrongOperand(what, "", remedy), "score" if score is not None else "v")


def _check_pairs(args: Arguments, query_tokens: TokenSet, key_tokens: TokenSet) -> None:
    """Keys on pairs are multiplied inside a plain softmax, and queries never live on pairs."""
    if isinstance(query_tokens.origin, Pairs):
        what = "queries cannot live on pairs"
        raise IllTyped(WrongOperand(what, "", "pass what `kron` gives as keys and values"), "q")
    if isinstance(key_tokens.origin, Pairs):
        what = "keys on pairs go with a plain softmax of queries and keys"
        if "times" in args or args.get("normalize", "softmax") != "softmax":
            guilty = "times" if "times" in args else "normalize"
            raise IllTyped(WrongOperand(what, "", f"leave out `{guilty}`"), guilty)
        if "q" not in args:
            raise IllTyped(WrongOperand(what, "", "pass queries and keys"), "v")


def _check_sizes(heads: Expr | None, q: Operand | None, k: Operand | None, v: Operand) -> None:
    """Query and key are equally wide; the heads of keys and values divide those of the queries."""
    if q is not None and k is not None:
        match q.type.width, k.type.width:
            case Const() as wide, Const() as other if wide is not other:
                widths = f"`{q}` has {wide.value} channels, `{k}` {other.value}"
                what = f"queries and keys must be equally wide: {widths}"
                raise IllTyped(WrongOperand(what, "", "project them to one width"), "k")
    for role, operand in (("k", k), ("v", v)):
        if operand is None or operand.type.heads is None:
            continue
        match heads, operand.type.heads:
            case Const(int() as count), Const(int() as own) if count % own:
                what = f"{count} query heads cannot share the {own} heads of `{operand}`"
                remedy = "let the heads of keys and values divide those of the queries"
                raise IllTyped(WrongOperand(what, "", remedy), role)


def _heads(args: Arguments) -> Expr | None:
    """The heads of the result: the queries', else those of whatever has heads."""
    operands = (args.get(role) for role in "qkv")
    return first_heads(args, *(operand.type for operand in operands if operand is not None))
