"""Prints the mechanism of one attend as Triton functions, where all of it has a Triton form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from attndsl.ir.derivative import NoDerivative, derivative
from attndsl.ir.index import TRUE, Const, Expr, Var
from attndsl.ir.ops import Attend
from attndsl.ir.tokens import KEY, QUERY, TokenSet
from attndsl.ir.walk import fields, variables
from attndsl.planning.gpu_tiles import GpuTiles
from attndsl_codegen.lookups import LookupPrinter, lookups_of
from attndsl_codegen.names import function_name, spelled, unused
from attndsl_codegen.printers.body import Body
from attndsl_codegen.printers.python import identifier
from attndsl_codegen.printers.triton import TritonPrinter, Unprintable, needs_64_bits
from attndsl_codegen.seen import FIRST, LAST, LAST_OTHER, Seen, ranges_seen

ON_GPU = {
    "tiled": "tiled_softmax",
    "all_keys": "all_keys_softmax",
    "chunked": "weighted_sums",
    "paired": "paired_softmax",
}
"""Torch kernels that have a Triton form, and what runs it on a GPU and them elsewhere."""
ON_GPU_WITHOUT_HOOKS = {"contracted": "causal_products"}
"""The same of kernels that need no functions of the mechanism."""
MOST_AXES = 3
"""Kernels read bricks of one to three axes in place."""
ROLES = {
    "where": "Whether the key is visible to the query.",
    "shape": "The score with its bias in place of the raw score `s`.",
    "slope": "How the score changes with `s`.",
    "times": "A factor of the weight.",
}
"""What each function is for."""
SEEN = {
    "keys_seen": "The first and last key that some query of a tile sees, and those between which all do.",
    "queries_seen": "The first and last query that sees some key of a tile, and those between which all do.",
}
"""What tiles see of the other side, by the setting of the class."""
ONE = Const(1.0)


@dataclass(frozen=True)
class TritonHookPrinter:
    """Prints the jitted functions of one attend, and the setting of its class that lists them.

    Attributes:
        name: the value's name, with which the functions' names begin.
        labels: the spec's names for subexpressions.
        boxes: the sides of tiles, where the most even ones do not serve.
        split: whether tiles are of residue classes.
    """

    name: str
    op: Attend
    labels: Mapping[Expr, str]
    boxes: GpuTiles | None = None
    split: bool = False

    @property
    def printable(self) -> bool:
        """Whether the kernels can run this attend."""
        return self.why_not is None

    @cached_property
    def why_not(self) -> str | None:
        """What keeps this attend from the kernels; None if nothing does."""
        op = self.op
        axes = [len(tokens.axes) for tokens in (op.query_tokens, op.key_tokens)]
        if op.kernel not in ON_GPU:
            return "weights are plain products: products of matrices do"
        if max(axes) > MOST_AXES:
            return f"kernels read grids of up to {MOST_AXES} axes"
        if op.q is None or op.k is None:
            return "without queries all weights are one matrix, which a product of matrices takes"
        if op.kernel == "paired" and lookups_of(op):
            return "the gradients of fields on pairs are left to torch"
        try:
            return None if self._functions else "there is nothing to print"
        except (Unprintable, NoDerivative) as problem:
            return str(problem)

    def functions(self) -> list[list[str]]:
        """The definitions."""
        return [*self._functions, *(self._range(*ends) for ends in zip(SEEN, self.seen or ()))]

    def setting(self) -> list[str]:
        """The line of the class that lists them."""
        parts = [f"sizes={_quoted(self._sizes)}", f"fields={_quoted(self._fields)}"]
        parts += [f"{role}={self.called(role)}" for role in self.roles if role in ROLES]
        if self.lookups:
            listed = []
            for lookup in self.lookups:
                slope = self.called(lookup.slope_role) if lookup.slope_role in self.roles else None
                listed.append(lookup.setting(self.called(lookup.entry_role), slope))
            parts.append(f"lookups=({', '.join(listed)},)")
        if self.seen is not None:
            parts += [f"{name}={self.called(name)}" for name in SEEN]
            parts.append(f"last_first={tuple(seen.last_first for seen in self.seen)}")
        if self.boxes is not None and self.boxes.query:
            parts += [f"query_boxes={dict(self.boxes.query)}", f"key_boxes={dict(self.boxes.key)}"]
        return [f"gpu = TritonHooks({', '.join(parts)})"]

    @cached_property
    def lookups(self) -> tuple[LookupPrinter, ...]:
        """Where real fields are looked up."""
        return lookups_of(self.op)

    @cached_property
    def seen(self) -> tuple[Seen, Seen] | None:
        """What tiles of queries see of the keys, and the other way round; None where schedules say it."""
        found = ranges_seen(self.op, self.split)
        return None if isinstance(found, str) or self.op.kernel == "paired" else found

    def entries(self) -> list[list[str]]:
        """The functions that say where; torch evaluates them when it plans."""
        return [lookup.entry(self.called(lookup.entry_role), self.labels) for lookup in self.lookups]

    def called(self, role: str) -> str:
        """The name of the function of a role."""
        return f"{function_name(self.name)}_{role}"

    @cached_property
    def roles(self) -> dict[str, Expr]:
        """The expression of every hook there is."""
        op = self.op
        s = Var("s", "real")
        where = op.where
        if where is TRUE:  # slots without a token still need a mask, of the shape of the keys
            where = Const(0) <= op.key_tokens.coordinates(KEY)[0]
        found = {"where": where}
        if op.score is not None or op.bias is not None:
            shaped = s if op.score is None else op.score
            found["shape"] = shaped if op.bias is None else shaped + op.bias
        if op.score is not None:
            found["slope"] = derivative(op.score, s)
        if op.times is not None:
            found["times"] = op.times
        for lookup in self.lookups:
            slope = derivative(found["times" if lookup.of_factor else "shape"], lookup.load)
            if slope is not ONE:
                found[lookup.slope_role] = slope
        return found

    @cached_property
    def _fields(self) -> tuple[str, ...]:
        return tuple(sorted(fields(*self.roles.values())))

    @cached_property
    def _sizes(self) -> tuple[str, ...]:
        own = {name for tokens, role in self._sides for name in spelled(role, tokens)}
        ends = [end for seen in self.seen or () for end in seen.ends]
        others = {seen.coordinate + end for seen in self.seen or () for end in (FIRST, LAST)} | {LAST_OTHER}
        return tuple(sorted(variables(*self.roles.values(), *ends) - own - others - {"s", "head"}))

    @property
    def _sides(self) -> tuple[tuple[TokenSet, str], ...]:
        return (self.op.query_tokens, QUERY), (self.op.key_tokens, KEY)

    @cached_property
    def _functions(self) -> list[list[str]]:
        changes = "How the {} changes with what it looks up in `{}`."
        by_field = {
            lookup.slope_role: changes.format(lookup.where, lookup.load.field) for lookup in self.lookups
        }
        docs = {**ROLES, **by_field}
        return [self._function(role, expr, docs[role]) for role, expr in self.roles.items()]

    def _function(self, role: str, expr: Expr, doc: str) -> list[str]:
        first = [] if role in ("where", "times") else ["s"]
        parameters = [*first, "query", "key", "batch", "head", "env"]
        taken = {*parameters, "tl"}
        used = variables(expr)
        spelling = {"s": "s", "head": "head"}
        lines: list[str] = []
        wide = needs_64_bits(expr)
        for (tokens, axis_role), parameter in zip(self._sides, ("query", "key")):
            for at, (name, text) in enumerate(spelled(axis_role, tokens).items()):
                spelling[name] = unused(text, taken)
                if name in used:
                    lines.append(f"{spelling[name]} = {parameter}[{at}]{'.to(tl.int64)' if wide else ''}")
        for at, name in enumerate((*self._sizes, *self._fields)):
            if name in used or name in fields(expr):
                spelling[name] = unused(identifier(name), taken)
                lines.append(f"{spelling[name]} = {f'plain(env[{at}])' if name in used else f'env[{at}]'}")
        several = max(len(tokens.axes) for tokens, _ in self._sides) > 1
        body = Body(TritonPrinter(spelling), self.labels, taken, several_axes=several)
        body.print([expr])
        if first and "s" not in used:
            body.lines[-1] = body.lines[-1].replace("return ", "return tl.zeros_like(s) + ", 1)
        return [
            "@jit",
            f"def {self.called(role)}({', '.join(parameters)}):",
            f'    """{doc}"""',
            *(f"    {line}" for line in [*lines, *body.lines]),
        ]

    def _range(self, role: str, seen: Seen) -> list[str]:
        """The function of the ends of what a tile sees."""
        sides = spelled(QUERY, self.op.query_tokens) | spelled(KEY, self.op.key_tokens)
        text = sides[seen.coordinate]
        parameters = [f"{text}_lo", f"{text}_hi", "last", "head", "env"]
        spelling = {seen.coordinate + FIRST: f"{text}_lo", seen.coordinate + LAST: f"{text}_hi"}
        spelling |= {LAST_OTHER: "last", "head": "head"}
        taken, used, lines = {*parameters, "tl"}, variables(*seen.ends), []
        for at, name in enumerate(self._sizes):
            if name in used:
                spelling[name] = unused(identifier(name), taken)
                lines.append(f"{spelling[name]} = plain(env[{at}])")
        body = Body(TritonPrinter(spelling), {}, taken, ("some_lo", "some_hi", "all_lo", "all_hi"), False)
        body.print(seen.ends)
        return [
            "@jit",
            f"def {self.called(role)}({', '.join(parameters)}):",
            f'    """{SEEN[role]}"""',
            *(f"    {line}" for line in [*lines, *body.lines]),
        ]


def _quoted(names: tuple[str, ...]) -> str:
    return repr(names).replace("'", '"')
