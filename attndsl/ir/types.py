"""Types of the values that flow through a program.

A tensor value is a *feature*: it lives on a token set and may have a batch axis, heads and a width.
Broadcasting follows these types, never shapes. In memory every feature is `(batch, heads, tokens, width)`,
with 1 for each axis that its type lacks, so arithmetic between features is plain broadcasting. Expressions
over a query and a key are *pair expressions*; they are `ir.index.Expr` and carry their kind themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from attndsl.ir.functions import Kind
from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.text import show
from attndsl.ir.tokens import SINGLE, TokenSet

HEADS, KV_HEADS = Var("heads"), Var("kv heads")
"""How many heads the inputs have: those that are queries, and those that are only keys or values."""


class DoNotBroadcast(Exception):
    """Features whose types do not go together; the message says what differs, `remedy` what helps."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class FeatureType:
    """The type of a tensor over tokens: `(batch, heads, *tokens, width)`, axes it lacks left out.

    Attributes:
        tokens: the token set; `SINGLE` for one value per batch element and head.
        kind: what the elements are.
        batch: whether there is a batch axis (learned values have none).
        heads: the number of heads, or None for no head axis.
        width: the width, or None for scalars and labels.
        labels: for integers that number the tokens of a set, that set.
        partial: whether it is the result of a softmax that knows its log-sum-exp.
    """

    tokens: TokenSet
    kind: Kind = "real"
    batch: bool = True
    heads: Expr | None = HEADS
    width: Expr | None = None
    labels: TokenSet | None = None
    partial: bool = False

    @property
    def value(self) -> FeatureType:
        """The same type once it is no longer a partial softmax, nor a label."""
        return replace(self, partial=False, labels=None)

    @property
    def words(self) -> str:
        """The type in words, e.g. `(batch, heads, h, w, width) on x[h, w]`."""
        kind = {"real": "", "int": "int ", "bool": "bool "}[self.kind]
        return f"{kind}{self.shape_words}" + ("" if self.tokens == SINGLE else f" on {self.tokens}")

    @property
    def shape_words(self) -> str:
        """The tensor's axes in words, e.g. `(batch, heads, h, w, width)`."""
        parts = ["batch"] if self.batch else []
        match self.heads:
            case Var(name):
                parts.append(name)
            case Expr() as count:
                parts.append(f"{show(count)} heads")
        parts += [] if self.tokens is SINGLE else self.tokens.axis_words
        if isinstance(self.width, Const):
            parts.append(show(self.width))
        elif self.width is not None:
            parts.append("width")
        return f"({', '.join(parts)})"


def heads_words(heads: Expr) -> str:
    """A number of heads in words, e.g. `4 heads`, `the heads of the inputs`."""
    match heads:
        case Var("heads"):
            return "the heads of the inputs"
        case Var("kv heads"):
            return "the heads of keys and values"
        case count:
            return f"{show(count)} head{'' if count == Const(1) else 's'}"


def broadcast(types: Iterable[FeatureType]) -> FeatureType:
    """The type of elementwise arithmetic between features.

    Raises:
        DoNotBroadcast: they live on different token sets, or their heads or widths differ.
    """
    result: FeatureType | None = None
    for type_ in types:
        result = type_.value if result is None else _meet(result, type_.value)
    assert result is not None
    return result


def _meet(a: FeatureType, b: FeatureType) -> FeatureType:
    tokens = a.tokens if b.tokens == SINGLE else b.tokens
    if SINGLE not in (a.tokens, b.tokens) and not a.tokens.matches(b.tokens):
        what = f"one lives on {a.tokens}, the other on {b.tokens}"
        raise DoNotBroadcast(
            what, f"bring one of them to the other set: gather(f, {a.tokens.name}, ...), or reduce it"
        )
    if a.heads is not None and b.heads is not None and a.heads is not b.heads:
        what = f"one has {heads_words(a.heads)}, the other {heads_words(b.heads)}"
        raise DoNotBroadcast(what, "split them into equally many heads, or reduce over heads")
    if isinstance(a.width, Const) and isinstance(b.width, Const) and a.width is not b.width:
        what = f"one has width {show(a.width)}, the other {show(b.width)}"
        raise DoNotBroadcast(what, "project one of them to the width of the other, or take a part of it")
    kind = "real" if "real" in (a.kind, b.kind) else "int" if "int" in (a.kind, b.kind) else "bool"
    return FeatureType(
        tokens,
        kind,  # type: ignore[arg-type]
        batch=a.batch or b.batch,
        heads=a.heads if a.heads is not None else b.heads,
        width=a.width if a.width is not None else b.width,
    )
