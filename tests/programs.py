"""Random programs: small graphs of operators as spec text, for tests that hold for every program."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.strategies import chance, one_of

AXES = {"x[n]": ("n",), "x[h, w]": ("h", "w")}


@dataclass(frozen=True)
class Known:
    """A value of the program: its name, set, whether it has a width, and which heads (`heads`, `2`, or none)."""

    name: str
    tokens: str
    wide: bool = True
    heads: str = "heads"

    @property
    def kind(self) -> tuple[str, bool, str]:
        """What must be equal for two values to be interchangeable."""
        return self.tokens, self.wide, self.heads


@dataclass
class RandomProgram:
    """The text of a program as it grows.

    Attributes:
        draw: hypothesis' draw.
        axes: the axes of x; `c` halves the last one.
        lines: the statements so far.
        values: what they bind, tensors with heads and a width first of all.
    """

    draw: Any
    axes: tuple[str, ...]
    lines: list[str] = field(default_factory=list)
    values: list[Known] = field(default_factory=list)
    partials: list[Known] = field(default_factory=list)
    losses: int = 0

    # --- helpers

    def pick(self, *options: Any) -> Any:
        """One of the options."""
        return one_of(self.draw, *options)

    def some(self, **wanted: Any) -> Known | None:
        """A value of the wanted kind, later ones more often."""
        found = [v for v in self.values if all(getattr(v, name) == kind for name, kind in wanted.items())]
        return self.pick(*found, *found[-3:]) if found else None

    def bind(self, text: str, tokens: str, wide: bool = True, heads: str = "heads") -> Known:
        """A statement `a3 = text`."""
        value = Known(f"a{len(self.lines)}", tokens, wide, heads)
        self.lines.append(f"{value.name} = {text}")
        self.values.append(value)
        return value

    def coordinate(self, role: str, tokens: str) -> str:
        """A coordinate of a query or key, on an axis that every set has."""
        if tokens in ("x", "c"):
            return f"{role}.{self.axes[-1]}" if tokens == "x" else f"{role}.{len(self.axes) - 1}"
        return f"{role}.{'code' if tokens == 'codes' else self.axes[-1]}"

    # --- operators; each adds a statement, or nothing where no value fits

    def arithmetic(self) -> None:
        """One or two tensors, elementwise; types broadcast."""
        a = self.pick(*self.values)
        b = self.some(tokens=a.tokens, heads=a.heads)
        assert b is not None
        text = self.pick(
            f"{a.name} + 0.5 * {b.name}",
            f"{a.name} * tanh({b.name})",
            f"{a.name} / (1 + {b.name} ** 2)",
            f"max({a.name}, 0.5 * {b.name}) - min({b.name}, 0.2)",
            f"silu({a.name}) + sigmoid({b.name})",
            f"gelu({a.name})",
            f"exp(-abs({a.name}))",
            f"softplus({a.name}) - 1",
            f"sqrt(1 + {a.name} ** 2)",
            f"({a.name} if {b.name} < 0.1 else 2 * {b.name})",
            f"(elu({a.name}) + 1) * heads / 3",
        )
        wide = a.wide or (b.wide and b.name in text)
        self.bind(text, a.tokens, wide, a.heads)

    def reduction(self) -> None:
        """Over width, heads, an axis (as a softmax) or all tokens."""
        a = self.some(tokens="x", wide=True)
        if a is None:
            return
        match self.draw(st.integers(0, 3)):
            case 0:
                self.bind(
                    f"{self.pick('mean', 'sum', 'max', 'norm', 'var')}({a.name}, over = width)",
                    "x",
                    False,
                    a.heads,
                )
            case 1 if a.heads == "heads":
                self.bind(f"{self.pick('mean', 'sum', 'max')}({a.name}, over = heads)", "x", True, "")
            case 2:
                over = self.pick("x", "width", *self.axes)
                self.bind(f"softmax({a.name}, over = {over})", "x", True, a.heads)
            case _:
                kind = self.pick("mean", "sum", "max", "var")
                self.bind(f"{a.name} - {kind}({a.name}, over = x)", "x", True, a.heads)

    def running_sum(self) -> None:
        """Along an axis."""
        a = self.some(tokens="x")
        assert a is not None
        self.bind(f"cumsum({a.name}, axis = {self.pick(*self.axes)}) / 4", "x", a.wide, a.heads)

    def gather(self) -> None:
        """To the half-sized set and back, or within a set, inside or clamped or zero beyond."""
        *rest, last = self.axes
        first = [f"i.{at}" for at in range(len(rest))]
        if chance(self.draw, 50):
            a = self.some(tokens="x")
            assert a is not None
            coords = [*first, f"2 * i.{len(rest)} + {self.pick(0, 1)}"]
            self.bind(f"gather({a.name}, c, ({', '.join(coords)}))", "c", a.wide, a.heads)
            return
        a = self.some(tokens=self.pick("x", "c"))
        if a is None:
            return
        coords = [
            *(f"i.{axis}" for axis in rest),
            f"i.{last} // 2" if a.tokens == "c" else f"i.{last} + {self.pick(-2, 1)}",
        ]
        outside = self.pick("zero", "clamp")
        self.bind(f"gather({a.name}, x, ({', '.join(coords)}), outside = {outside})", "x", a.wide, a.heads)

    def regroup(self) -> None:
        """Sums and means of tokens by a coordinate or a label."""
        a = self.some(tokens="x")
        assert a is not None
        *rest, last = self.axes
        coords = [
            *(f"i.{axis}" for axis in rest),
            self.pick(f"i.{last} // 2", f"(i.{last} - 1) // 2", "label[i] - 1"),
        ]
        how = self.pick("sum", "mean", "max")
        self.bind(f"{how}({a.name}, c, by = ({', '.join(coords)}))", "c", a.wide, a.heads)

    def pool(self) -> None:
        """Adaptive bins, which may overlap; read back at once, since the bins are a set of their own."""
        a = self.some(tokens="x")
        assert a is not None
        bins = ", ".join(str(self.draw(st.integers(1, 3))) for _ in self.axes)
        pooled = self.bind(
            f"pool({a.name}, to = ({bins}{',' if len(self.axes) == 1 else ''}))", "pooled", a.wide, a.heads
        )
        self.values.remove(pooled)
        coords = ", ".join(f"i.{axis} // 2" for axis in self.axes)
        self.bind(f"gather({pooled.name}, x, ({coords}), outside = clamp)", "x", a.wide, a.heads)

    def project(self) -> None:
        """A learned map of the width, perhaps of several."""
        a = self.some(wide=True)
        assert a is not None
        if chance(self.draw, 70):
            self.bind(f"project({a.name})", a.tokens, True, a.heads)
            return
        both = [Known(f"a{len(self.lines)}{part}", *a.kind) for part in "lr"]
        self.lines.append(f"{both[0].name}, {both[1].name} = project({a.name}, 2)")
        self.values += both

    def heads_and_width(self) -> None:
        """Dealt out to two heads, worked on, and merged again."""
        a = self.some(tokens="x", wide=True, heads="")
        if a is None:
            return
        two = self.bind(f"split({a.name}, 2)", "x", True, "2")
        self.values.remove(two)
        self.bind(f"flat(attend({two.name}, {two.name}, {two.name}))", "x", True, "")

    def convolution(self) -> None:
        """Per channel, or mixing them."""
        a = self.some(tokens="x", wide=True, heads="heads")
        assert a is not None
        self.bind(f"{self.pick('depthwise', 'conv')}({a.name}, 3)", "x")

    def rotary(self) -> None:
        """Positions turned in."""
        a = self.some(tokens="x", wide=True)
        assert a is not None
        self.bind(f"rotary({a.name})", "x", True, a.heads)

    def _keys(self, tokens: str) -> list[str] | None:
        """Keys and values on a set."""
        found = [self.some(tokens=tokens, wide=True, heads="heads") for _ in range(2)]
        return None if None in found else [value.name for value in found if value is not None]

    def _pair_terms(self, query: str, key: str) -> list[str]:
        """Where, bias, score and times, each perhaps."""
        i, j = self.coordinate("i", query), self.coordinate("j", key)
        terms = []
        if chance(self.draw, 60):
            where = self.pick(
                f"{j} <= {i}",
                f"abs({i} - {j}) <= 1",
                f"{j} < {i}",
                f"({i} + {j}) % 3 != 0",
                f"{i} // 2 == {j} // 2",
            )
            if query == "x" and chance(self.draw, 20):
                where += " or flag[i]"
            terms.append(f"where = {where}")
        scalars = [v.name for v in self.values if not v.wide and v.heads == "heads" and v.tokens == key]
        if chance(self.draw, 40):
            options = [f"0.1 * ({i} - {j})", f"table[clamp({i} - {j}, -2, 2) + 2]"]
            options += [f"{self.pick(*scalars)}[j]"] if scalars else []
            terms.append(f"bias = {self.pick(*options)}")
        if chance(self.draw, 15):
            terms.append("score = 3 * tanh(s / 3)")
        if chance(self.draw, 15):
            terms.append(f"times = exp(-abs({i} - {j}) / 4)")
        return terms

    def attend(self) -> None:
        """Any attend within or across sets, with any normalisation."""
        query, key = self.pick("x", "x", "c"), self.pick("x", "x", "c")
        q, keys = self.some(tokens=query, wide=True, heads="heads"), self._keys(key)
        if q is None or keys is None:
            return
        terms = self._pair_terms(query, key)
        kind = self.pick("none", "softmax", "softmax", "sigmoid", "linear")
        call = [q.name, *keys, *terms]
        if kind == "linear":  # sums of positive scores, far from the clamp of the divisor
            call = [f"elu({q.name}) + 1.1", f"elu({keys[0]}) + 1.1", keys[1]]
            call += [term for term in terms if term.startswith(("where", "times"))]
        if kind != "softmax":
            call.append(f"normalize = {kind}")
        value = self.bind(f"attend({', '.join(call)})", query)
        if kind == "softmax" and not any(term.startswith("times") for term in terms):
            self.partials.append(value)

    def log_sum_exp(self) -> None:
        """Of an attend that every query sees something in: the others have none."""
        safe = [v for v in self.partials if "where" not in self.lines[int(v.name[1:])]]
        if safe:
            value = self.pick(*safe)
            self.bind(f"{value.name}.lse", value.tokens, False)

    def joint(self) -> None:
        """One softmax over two sets of keys, or over near and far keys of one set."""
        q, keys = self.some(tokens="x", wide=True, heads="heads"), self._keys("x")
        assert q is not None
        assert keys is not None
        i, j = self.coordinate("i", "x"), self.coordinate("j", "x")
        others = self._keys("c")
        first = f"attend({q.name}, {', '.join(keys)}, where = {j} < {i})"
        second = f"attend({q.name}, {', '.join(others or keys)}{'' if others else f', where = {j} >= {i}'})"
        self.partials.append(self.bind(f"joint({first}, {second})", "x"))

    def codebook(self) -> None:
        """Keys replaced by codewords, of which each stands for some tokens."""
        k, q, v = (self.some(tokens="x", wide=True, heads="heads") for _ in range(3))
        assert k is not None
        assert q is not None
        assert v is not None
        name = f"a{len(self.lines)}"
        self.lines.append(f"{name} = codebook({k.name}, {self.draw(st.integers(1, 4))})")
        means = f"mean({v.name}, by = {name}.label)"
        if chance(self.draw, 50):
            self.bind(f"attend({q.name}, {name}.code, {means}, bias = log(max({name}.count[j], 0.5)))", "x")
        else:
            self.bind(f"attend({q.name}, {name}.hat, {v.name})", "x")
        if chance(self.draw, 50):
            self.losses += 1
            self.lines.append(f"loss commit{self.losses} = {name}.loss")

    def kron(self) -> None:
        """Pairs of tokens as keys."""
        q, *rest = (self.some(tokens="x", wide=True, heads="heads") for _ in range(5))
        assert q is not None
        k1, k2, v1, v2 = (value.name for value in rest if value is not None)
        if len(self.axes) == 1:
            where = self.pick("", ", where = j.0 + j.1 <= i", ", where = abs(i - j.0) < 2 and j.1 != 1")
            self.bind(f"attend({q.name}, kron({k1}, {k2}), kron({v1}, {v2}){where})", "x")

    def channels(self) -> None:
        """Attention between channels."""
        q, k, v = (self.some(tokens="x", wide=True, heads="heads") for _ in range(3))
        names = [f"channels({value.name})" for value in (q, k, v) if value is not None]
        self.bind(f"channels(attend({', '.join(names)}, scale = 0.3))", "x")

    def _ends(self) -> list[str]:
        """The values that no other reads, as results or summed up, so that nothing is left out."""
        bound = [value for value in self.values if value.name.startswith("a")]
        unread = [v for v in bound if not any(re.search(rf"= .*\b{v.name}\b", line) for line in self.lines)]
        if len(unread) <= 2 and chance(self.draw, 50):
            return [value.name for value in unread]
        *rest, last = self.axes
        place = f"({', '.join([*(f'i.{axis}' for axis in rest), f'i.{last} // 2'])})"
        terms = [
            v.name if v.tokens == "x" else f"gather({v.name}, x, {place}, outside = clamp)" for v in unread
        ]
        return [" + ".join([*terms, "q" if len(terms) == 1 else "0.5"])]

    def text(self) -> str:
        """The whole spec; nothing it computes is in vain."""
        declared = [
            f"tokens x[{', '.join(self.axes)}]",
            f"tokens c[{', '.join([*self.axes[:-1], f'{self.axes[-1]} // 2'])}]",
            "input q, k, v : x",
            "input gate : x scalar",
            "input label : x int",
            "input flag : x bool",
            "learn table : [5] scalar",
        ]
        results = self._ends()
        return (
            "\n  ".join(["attention drawn {", *declared, *self.lines, f"return {', '.join(results)}"])
            + "\n}\n"
        )


STEPS = (
    "kron attend arithmetic arithmetic channels reduction reduction running_sum gather gather regroup regroup "
    "pool project heads_and_width convolution rotary kron codebook joint log_sum_exp attend attend attend"
).split()


@st.composite
def programs(draw: Any) -> str:
    """The text of a program of two to seven steps, with inputs q, k, v, gate, label, flag on one set."""
    inputs = [Known(name, "x") for name in "qkv"]
    program = RandomProgram(
        draw, one_of(draw, ("n",), ("h", "w")), values=[*inputs, Known("gate", "x", False)]
    )
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=7)):
        getattr(program, step)()
    if not any(line.startswith("a") for line in program.lines):
        program.arithmetic()
    return program.text()
