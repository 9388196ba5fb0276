"""Random specs, each with a second meaning that shares no code with the compiler.

A spec's expressions are nearly Python. `Words` holds an expression twice: as the spec says it, and as
Python says it, where calls of library patterns become calls of the reference functions below. These are
written from the published definitions (window centres, leaders, block distances), not from
`patterns.attn`. `Spec.mask` and `Spec.value` evaluate the Python pair by pair.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from attndsl.ir.program import Program
from attndsl.language import load_text

MORE = int(os.environ.get("ATTNDSL_EXAMPLES", "1"))
"""A factor for the number of examples; above 1, every run draws new ones."""
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def thorough(examples: int) -> settings:
    """So many examples, the same ones in every run of the CI."""
    return settings(
        max_examples=examples * MORE,
        derandomize=MORE == 1,
        deadline=None,
        database=None,
        suppress_health_check=SLOW,
    )


# --- the reference meaning of patterns ------------------------------------------------------------


def causal(i, j, extent):
    return j <= i


def sliding(radius, i, j, extent):
    return -radius <= j - i <= radius


def dilated(step, i, j, extent):
    return (j - i) % step == 0


def block(size, shift=0, *, i, j, extent):
    return math.floor((i - shift) / size) == math.floor((j - shift) / size)


def sinks(count, i, j, extent):
    return j < count


def anchors(count, i, j, extent):
    """`global`, which Python cannot spell."""
    return min(i, j) < count


def power(base, i, j, extent):
    distance = i // base - j // base
    return distance == 0 or distance in (1, 2, 4, 8, 16, 32, 64)


def window(size, stride=1, *, i, j, extent):
    """NATTEN's reference: the leader's centre is clamped so that the window stays inside."""
    leader = min(i // stride * stride + stride // 2, extent - 1)
    left, right = size // 2, size // 2 - (size % 2 == 0)
    centre = max(min(leader, extent - 1 - right), left)
    return centre - left <= j <= centre + right


def causal_window(size, stride=1, *, i, j, extent):
    leader = min(i // stride * stride + stride - 1, extent - 1)
    return j <= i and leader - j < size


def dilated_window(size, step, stride=1, *, i, j, extent):
    """A window among the tokens of one residue class."""
    if i % step != j % step:
        return False
    members = list(range(i % step, extent, step))
    return window(size, stride, i=i // step, j=j // step, extent=len(members))


def document(label, i, j, extent):
    return label[i] == label[j]


def band(low, high, i, j, extent):
    return low <= i - j < high


def stripe(step, width=1, *, i, j, extent):
    return (i + j) % step < width


def clamp(x, low, high):
    return min(max(x, low), high)


def ispow2(x):
    return x in [2**bits for bits in range(60)]


REFERENCE: dict[str, Any] = {
    name: globals()[name]
    for name in (
        "causal sliding dilated block sinks anchors power window causal_window dilated_window document "
        "band stripe clamp ispow2"
    ).split()
} | {"true": True, "false": False, "tanh": math.tanh, "exp": math.exp, "log": math.log, "sqrt": math.sqrt}

OWN_PATTERNS = """pattern band(low, high) {
  d = i - j
  low <= d and d < high
}
pattern stripe(step, width = 1) = (i + j) % step < width
"""
"""Patterns of the spec itself; `band` and `stripe` above are their meaning."""


class Place(int):
    """A query or key: its coordinates as attributes; on a single axis also a number."""

    coords: tuple[int, ...]


def place(axes: tuple[str, ...], coords: tuple[int, ...]) -> Place:
    """The place with these coordinates."""
    found = Place(coords[0] if len(coords) == 1 else 0)
    found.coords = coords
    for axis, coord in zip(axes, coords):
        setattr(found, axis, coord)
    return found


class Looked:
    """A field of one batch element and head, looked up at a place or at coordinates."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __getitem__(self, at: Any) -> Any:
        coords = at.coords if isinstance(at, Place) else at if isinstance(at, tuple) else (at,)
        inside = tuple(min(max(c, 0), extent - 1) for c, extent in zip(coords, self.values.shape))
        return self.values[inside].item()


# --- expressions in two spellings -----------------------------------------------------------------


class Words(NamedTuple):
    """An expression as the spec says it, and as Python says it."""

    spec: str
    python: str


def same(text: str) -> Words:
    """An expression that reads the same in both."""
    return Words(text, text)


def joined(symbol: str, parts: list[Words]) -> Words:
    """Parts with `and` or `or` between them."""
    return Words(*(f"({f' {symbol} '.join(side)})" for side in zip(*parts)))


def one_of(draw: Any, *options: Any) -> Any:
    """One of the values."""
    return draw(st.sampled_from(options))


def chance(draw: Any, percent: int) -> bool:
    """True so often."""
    return draw(st.integers(0, 99)) >= 100 - percent


@dataclass
class Set:
    """A token set of a spec: extents by axis, and which of them are fixed in the text."""

    name: str
    axes: tuple[str, ...]
    extents: tuple[int, ...]
    fixed: tuple[bool, ...]

    @property
    def declaration(self) -> str:
        """The statement that declares it."""
        each = zip(self.axes, self.extents, self.fixed)
        return f"tokens {self.name}[{', '.join(f'{a} = {e}' if f else a for a, e, f in each)}]"

    @property
    def count(self) -> int:
        """The number of tokens."""
        return prod(self.extents)

    def extent(self, axis: str) -> int:
        """The extent of an axis."""
        return self.extents[self.axes.index(axis)]

    def places(self) -> list[Place]:
        """Every token, row-major."""
        return [place(self.axes, coords) for coords in product(*map(range, self.extents))]


@dataclass
class Spec:
    """A random spec: its text, its sizes, and its expressions in Python.

    Attributes:
        kinds: what the fields are: int, bool or scalar, and their token set's name.
        expressions: where, bias, score and scale as Python text, those that are present.
    """

    query: Set
    key: Set
    expressions: dict[str, Words]
    bindings: list[tuple[str, Words]]
    kinds: dict[str, tuple[str, Set]]
    heads: int
    kv_heads: int
    batch: int
    width: int
    value_width: int
    seed: int
    own_patterns: bool = False
    name: str = "drawn"
    order: tuple[str, ...] = field(default=("q", "k", "v"))

    def __repr__(self) -> str:
        return f"{self.text}\n{self.sizes} batch={self.batch} kv_heads={self.kv_heads} seed={self.seed} widths={self.width},{self.value_width}"

    @property
    def sets(self) -> list[Set]:
        """The token sets."""
        return [self.query] if self.key is self.query else [self.query, self.key]

    @cached_property
    def text(self) -> str:
        """The spec."""
        lines = [f"  {tokens.declaration}" for tokens in self.sets]
        for name in self.order:
            tokens, kind = {"q": (self.query, ""), "k": (self.key, ""), "v": (self.key, "")}.get(name) or (
                self.kinds[name][1],
                " " + self.kinds[name][0],
            )
            lines.append(f"  input {name} : {tokens.name}{kind}")
        lines += [f"  {name} = {words.spec}" for name, words in self.bindings]
        given = "".join(f",\n    {name} = {words.spec}" for name, words in self.expressions.items())
        own = OWN_PATTERNS if self.own_patterns else ""
        return (
            f"{own}attention {self.name} {{\n"
            + "\n".join([*lines, f"  return attend(q, k, v{given})"])
            + "\n}\n"
        )

    @property
    def program(self) -> Program:
        """The checked program."""
        return loaded(self.text)

    @property
    def sizes(self) -> dict[str, int]:
        """Values of the symbols, and `heads`."""
        free = {a: e for s in self.sets for a, e, fixed in zip(s.axes, s.extents, s.fixed) if not fixed}
        return {**free, "heads": self.heads}

    @cached_property
    def fields(self) -> dict[str, np.ndarray]:
        """Values of the fields, (batch, [heads,] *extents)."""
        rng = np.random.default_rng(self.seed)
        found: dict[str, np.ndarray] = {}
        for name, (kind, tokens) in self.kinds.items():
            shape = (self.batch, *([self.heads] if kind == "scalar" else []), *tokens.extents)
            values = rng.integers(-1, 4, shape)
            if rng.random() < 0.5:  # labels often come in stretches
                values = np.sort(values.reshape(self.batch, -1), axis=-1).reshape(shape)
            found[name] = {"int": values, "bool": values > 1, "scalar": rng.standard_normal(shape)}[kind]
        return found

    def inputs(self, sizes: dict[str, int] | None = None) -> dict[str, np.ndarray]:
        """Every input, in the order of declaration."""
        rng = np.random.default_rng(self.seed + 1)
        shapes = {
            "q": (self.batch, self.heads, *self.query.extents, self.width),
            "k": (self.batch, self.kv_heads, *self.key.extents, self.width),
            "v": (self.batch, self.kv_heads, *self.key.extents, self.value_width),
        }
        tensors = {name: rng.standard_normal(shape) for name, shape in shapes.items()} | self.fields
        return {name: tensors[name] for name in self.order}

    # --- the meaning, pair by pair ----------------------------------------------------------------

    def mask(self, batch: int = 0, head: int = 0) -> np.ndarray:
        """Which pairs are visible: (queries, keys)."""
        return self.value("where", batch, head).astype(bool)

    def value(self, what: str, batch: int, head: int, s: np.ndarray | None = None) -> np.ndarray:
        """The value of `where`, `bias`, `score` or `scale` for every pair."""
        words = self.expressions.get(what)
        if words is None:
            default = {"where": True, "bias": 0.0, "scale": self.width**-0.5}
            return np.full((self.query.count, self.key.count), default[what]) if what in default else s
        code = compile(words.python, what, "eval")
        known = {**REFERENCE, **self._names(batch, head)}
        rows = []
        for at, i in enumerate(self.query.places()):
            row = []
            for to, j in enumerate(self.key.places()):
                score = {} if s is None else {"s": s[at, to]}
                row.append(eval(code, {**known, "i": i, "j": j, **score}))
            rows.append(row)
        return np.array(rows)

    def _names(self, batch: int, head: int) -> dict[str, Any]:
        names: dict[str, Any] = {"head": head, "heads": self.heads}
        for tokens in self.sets:
            names[tokens.name] = SimpleNamespace(**dict(zip(tokens.axes, tokens.extents)))
            names |= {a: e for a, e, fixed in zip(tokens.axes, tokens.extents, tokens.fixed) if not fixed}
        names["q"] = SimpleNamespace(width=self.width)
        for name, values in self.fields.items():
            scalar = self.kinds[name][0] == "scalar"
            names[name] = Looked(values[batch, head] if scalar else values[batch])
        return names

    def resized(self, *extents: tuple[int, ...]) -> "Spec":
        """The same spec at other extents of its sets; fixed ones stay."""
        from dataclasses import replace

        sets = [
            Set(
                s.name,
                s.axes,
                tuple(old if f else new for old, new, f in zip(s.extents, e, s.fixed)),
                s.fixed,
            )
            for s, e in zip(self.sets, extents)
        ]
        at = {s.name: s for s in sets}
        kinds = {name: (kind, at[s.name]) for name, (kind, s) in self.kinds.items()}
        return replace(self, query=sets[0], key=sets[-1], kinds=kinds, order=self.order)


@lru_cache(maxsize=64)
def loaded(text: str) -> Program:
    """The program of a text."""
    return load_text(text)


# --- drawing --------------------------------------------------------------------------------------

AXES = ("h", "w", "t")
BIG, SMALL = 3, 2


@st.composite
def extents(draw: Any, axes: int, most: int) -> tuple[int, ...]:
    """Extents with at most so many tokens in all."""
    found: list[int] = []
    for _ in range(axes):
        found.append(draw(st.integers(1, max(1, most // prod(found)))))
        most = max(most, prod(found))
    return tuple(draw(st.permutations(found)))


@st.composite
def token_sets(draw: Any, cross: bool, axes: int, most: int) -> tuple[Set, Set]:
    """The sets of queries and keys; one and the same unless `cross`."""

    def one(name: str, axis_names: tuple[str, ...]) -> Set:
        sizes = draw(extents(len(axis_names), most))
        return Set(name, axis_names, sizes, tuple(chance(draw, 35) for _ in sizes))

    x = one("x", ("n",) if axes == 1 and draw(st.booleans()) else AXES[:axes])
    if not cross:
        return x, x
    return x, one("y", ("m", "l")[: draw(st.integers(1, 2))])


class Grammar:
    """Draws expressions over a query and a key.

    Args:
        draw: hypothesis.
        query, key: their sets.
        kinds: the fields that may be used, by name.
    """

    def __init__(self, draw: Any, query: Set, key: Set, kinds: dict[str, tuple[str, Set]]) -> None:
        self.draw, self.query, self.key, self.kinds = draw, query, key, kinds
        self.own_patterns = False
        self.used: set[str] = set()

    def pick(self, *options: Any) -> Any:
        """One of the options."""
        return one_of(self.draw, *options)

    def number(self, low: int, high: int) -> int:
        """An integer."""
        return self.draw(st.integers(low, high))

    # --- coordinates and integers

    def coordinate(self, role: str) -> str:
        """A coordinate of the query (`i`) or the key (`j`)."""
        tokens = self.query if role == "i" else self.key
        if len(tokens.axes) == 1 and chance(self.draw, 70):
            return role
        return f"{role}.{self.pick(*tokens.axes)}"

    def integer(self, depth: int = 2) -> str:
        """An integer expression; it reads the same in Python."""
        if depth == 0 or chance(self.draw, 25):
            match self.number(0, 9):
                case 0 | 1:
                    return str(self.number(0, 9))
                case 2:
                    tokens = self.pick(self.query, self.key)
                    return f"{tokens.name}.{self.pick(*tokens.axes)}"
                case 3:
                    return self.pick("head", "heads")
                case 4 | 5 | 6:
                    return self.coordinate("i")
                case _:
                    return self.coordinate("j")
        a = self.integer(depth - 1)
        match self.number(0, 11):
            case 0:
                return f"({a} + {self.integer(depth - 1)})"
            case 1 | 2:
                return f"({a} - {self.integer(depth - 1)})"
            case 3:
                return f"({self.number(2, 3)} * {a})"
            case 4:
                return f"({a} // {self.number(1, 5)})"
            case 5:
                return f"({a} % {self.number(2, 5)})"
            case 6:
                return f"{self.pick('min', 'max')}({a}, {self.integer(depth - 1)})"
            case 7:
                low = self.number(-2, 3)
                return f"clamp({a}, {low}, {low + self.number(0, 6)})"
            case 8:
                return f"abs({a})"
            case 9:
                return f"({a} if {self.comparison(0)} else {self.integer(depth - 1)})"
            case 10:
                items = [self.number(0, 7) for _ in range(self.number(2, 3))]
                index = self.pick("head", self.coordinate("i"), self.coordinate("j"), f"abs({a})")
                return f"({', '.join(map(str, items))})[{index} % {len(items)}]"
            case _:
                return f"({a} {self.pick('//', '%')} ({self.coordinate(self.pick('i', 'j'))} % 3 + 1))"

    def comparison(self, depth: int) -> str:
        """A condition of integers."""
        a = self.integer(depth)
        match self.number(0, 9):
            case 0 | 1 | 2:
                return f"{a} {self.pick('<', '<=', '>', '>=')} {self.integer(depth)}"
            case 3:
                return f"{a} == {self.integer(depth)}"
            case 4:
                return f"{a} != {self.number(0, 4)}"
            case 5:
                low = self.number(-4, 4)
                return f"{low} <= {a} < {low + self.number(0, 8)}"
            case 6:
                return f"{self.coordinate('i')} - {self.coordinate('j')} < {self.integer(depth)}"
            case 7:
                return f"({a} - {self.integer(depth)}) % {self.number(1, 4)} == {self.number(0, 2)}"
            case 8:
                return f"ispow2({a})"
            case _:
                return f"{a} // {self.number(1, 4)} == {self.integer(depth)} // {self.number(1, 4)}"

    # --- library patterns

    def _call(self, extent: int) -> tuple[str, list[int]]:
        """A pattern that suits an axis of that extent, and its arguments."""
        size = self.number(1, extent)
        match self.number(0, 13):
            case 0:
                return "causal", []
            case 1 | 2:
                return "sliding", [self.number(0, 6)]
            case 3:
                return "dilated", [self.number(1, 4)]
            case 4:
                return "block", [self.number(1, 5), *([self.number(0, 4)] if chance(self.draw, 50) else [])]
            case 5:
                return "sinks", [self.number(0, 4)]
            case 6:
                return "global", [self.number(0, 3)]
            case 7:
                return "power", [self.number(1, 4)]
            case 8 | 9:
                return "window", [size, *([self.number(1, size)] if chance(self.draw, 60) else [])]
            case 10:
                return "causal_window", [size, *([self.number(1, size)] if chance(self.draw, 60) else [])]
            case 11:
                step = self.number(1, min(4, extent))
                size = self.number(1, extent // step)
                return "dilated_window", [
                    size,
                    step,
                    *([self.number(1, size)] if chance(self.draw, 50) else []),
                ]
            case 12:
                self.own_patterns = True
                low = self.number(-4, 3)
                return "band", [low, low + self.number(0, 6)]
            case _:
                self.own_patterns = True
                return "stripe", [self.number(1, 4), *([self.number(1, 2)] if chance(self.draw, 50) else [])]

    def pattern(self) -> Words:
        """A call of a pattern on one axis of the key's set, in one of its spellings."""
        axis = self.pick(*self.key.axes)
        extent = self.key.extent(axis)
        name, numbers = self._call(extent)
        arguments = [str(number) for number in numbers]
        if name in ("sliding", "sinks") and chance(self.draw, 25):  # a parameter that depends on the head
            arguments[0] = f"({self.number(0, 3)}, {self.number(1, 7)})[head % 2]"
        reference = {"global": "anchors"}.get(name, name)

        def python(i: str, j: str, length: str) -> str:
            return f"{reference}({', '.join([*arguments, f'i={i}', f'j={j}', f'extent={length}'])})"

        length = f"{self.key.name}.{axis}"
        if self.query is self.key and chance(self.draw, 75):
            if len(self.key.axes) == 1 and chance(self.draw, 50):
                call = f"{name}({', '.join(arguments)})" if arguments else name
                return Words(call, python("i", "j", length))
            lifted = f"{name}({', '.join(arguments)})" if arguments else name
            return Words(f"{axis}: {lifted}", python(f"i.{axis}", f"j.{axis}", length))
        i = self.pick(self.coordinate("i"), f"{self.coordinate('i')} * 2 + 1", f"{self.coordinate('i')} // 2")
        j = f"j.{axis}"
        if name not in ("window", "dilated_window", "causal_window") and chance(self.draw, 30):
            j = self.pick(f"j.{axis} // 2", f"j.{axis} + 3")
        spec = [*arguments, f"i = {i}", f"j = {j}", f"extent = {length}"]
        return Words(f"{name}({', '.join(spec)})", python(i, j, length))

    # --- fields

    def label(self) -> Words | None:
        """A condition on the int and bool fields."""
        fields = [name for name, (kind, _) in self.kinds.items() if kind in ("int", "bool")]
        if not fields:
            return None
        name = self.pick(*fields)
        self.used.add(name)
        kind, tokens = self.kinds[name]
        places = [role for role, owner in (("i", self.query), ("j", self.key)) if owner is tokens]
        at = self._place(tokens, self.pick(*places))
        if kind == "bool":
            other = self._place(tokens, self.pick(*places))
            return same(self.pick(f"{name}[{at}]", f"not {name}[{at}]", f"{name}[{at}] == {name}[{other}]"))
        if len(places) == 2 and chance(self.draw, 40):
            spec = self.pick(f"document({name})", f"{name}[i] == {name}[j]")
            return Words(spec, f"{name}[i] == {name}[j]")
        if len(places) == 2 and chance(self.draw, 30):
            return same(f"{name}[{self._place(tokens, 'j')}] <= {name}[{self._place(tokens, 'i')}]")
        return same(f"{name}[{at}] {self.pick('<', '>=', '==', '!=')} {self.number(0, 3)}")

    def _place(self, tokens: Set, role: str) -> str:
        """`i`, or coordinates one by one, perhaps of both sides or moved and clamped."""
        if chance(self.draw, 55):
            return role
        roles = ("i", "j") if self.query is self.key else (role,)
        coords = [f"{self.pick(*roles)}.{axis}" for axis in tokens.axes]
        if chance(self.draw, 50):
            at = self.number(0, len(coords) - 1)
            moved = self.pick(f"{coords[at]} + 1", f"{coords[at]} // 2", f"2 * {coords[at]} - 3")
            coords[at] = f"clamp({moved}, 0, {tokens.name}.{tokens.axes[at]} - 1)"
        return ", ".join(coords)

    # --- conditions

    def condition(self, depth: int) -> Words:
        """A nested condition."""
        if depth and chance(self.draw, 65):
            if chance(self.draw, 20):
                inner = self.condition(depth - 1)
                return Words(f"(not {inner.spec})", f"(not {inner.python})")
            parts = [self.condition(depth - 1) for _ in range(self.number(2, 3))]
            return joined(self.pick("and", "or"), parts)
        if chance(self.draw, 15):
            lifted = self._lifted_group()
            if lifted is not None:
                return lifted
        roll = self.number(0, 9)
        label = self.label() if roll < 3 else None
        if label is not None:
            found = label
        elif roll < 7:
            found = self.pattern()
        else:
            found = same(self.comparison(self.number(0, 2)))
        return Words(f"({found.spec})", f"({found.python})")

    def _lifted_group(self) -> Words | None:
        """`h: (sliding(2) and not sinks(1))`."""
        if self.query is not self.key:
            return None
        axis = self.pick(*self.key.axes)
        calls = [self._call(self.key.extent(axis)) for _ in range(2)]
        spec = [f"{name}({', '.join(map(str, numbers))})" if numbers else name for name, numbers in calls]
        python = [
            "{}({})".format(
                {"global": "anchors"}.get(name, name),
                ", ".join(
                    [*map(str, numbers), f"i=i.{axis}", f"j=j.{axis}", f"extent={self.key.name}.{axis}"]
                ),
            )
            for name, numbers in calls
        ]
        symbol = self.pick("and", "or")
        return Words(f"{axis}: ({spec[0]} {symbol} not {spec[1]})", f"({python[0]} {symbol} not {python[1]})")

    # --- reals

    def bias(self) -> Words:
        """What is added to the score: a sum of one to three usual terms."""
        terms = [self._term() for _ in range(self.number(1, 3))]
        return same(" + ".join(terms).replace("+ -", "- "))

    def _term(self) -> str:
        reals = [name for name, (kind, _) in self.kinds.items() if kind == "scalar"]
        ints = [name for name, (kind, _) in self.kinds.items() if kind == "int"]
        a, b = self.coordinate("i"), self.coordinate("j")
        options = [
            f"-(2 ** -(8 * (head + 1) / heads)) * abs({a} - {b})",
            f"{self.pick('0.1', '-0.25', '0.5')} * ({a} - {b})",
            f"(0.5, -1, 2.0)[abs({a} - {b}) % 3]",
            f"(0.3 if {self.comparison(1)} else -0.2)",
            f"exp(-abs({a} - {b}) / 3)",
            f"log(1 + abs({a} - {b}))",
            f"tanh(({a} + 1) / ({b} + 2))",
            f"sqrt({b} + 1) / 4",
        ]
        if reals and chance(self.draw, 60):
            name = self.pick(*reals)
            self.used.add(name)
            tokens = self.kinds[name][1]
            places = [role for role, owner in (("i", self.query), ("j", self.key)) if owner is tokens]
            here, there = (self._place(tokens, self.pick(*places)) for _ in range(2))
            options = [
                f"{name}[{here}]",
                f"{name}[{here}] - {name}[{there}]",
                f"tanh({name}[{here}] * {name}[{there}])",
                f"0.1 * {name}[{here}] * ({a} - {b})",
                f"({name}[{here}] if {self.comparison(0)} else 0.1)",
            ]
        elif ints and chance(self.draw, 30):
            name = self.pick(*ints)
            self.used.add(name)
            tokens = self.kinds[name][1]
            role = "i" if self.query is tokens else "j"
            options = [f"0.3 * {name}[{role}]", f"(0.5 if {name}[{role}] == 1 else 0)"]
        return self.pick(*options)

    def score(self) -> Words:
        """A function of the score."""
        options = [
            "5 * tanh(s / 5)",
            "s * (1 + 0.5 * head)",
            f"s / (1 + abs({self.coordinate('i')} - {self.coordinate('j')}))",
            f"(s if {self.comparison(0)} else 0.5 * s)",
            "max(s, -0.5) + 0.25 * s",
        ]
        reals = [
            name for name, (kind, tokens) in self.kinds.items() if kind == "scalar" and tokens is self.key
        ]
        if reals and chance(self.draw, 40):
            name = self.pick(*reals)
            self.used.add(name)
            options = [f"s * tanh({name}[j])", f"3 * tanh(s + {name}[j])"]
        return same(self.pick(*options))


@st.composite
def specs(draw: Any, most: int = 40, reals: bool = True, fields: bool = True) -> Spec:
    """Specs with at most `most` tokens in each set.

    Args:
        reals: whether they may have a bias, a score function, a scale.
        fields: whether they may have fields.
    """
    axes = one_of(draw, 1, 1, 2, 2, 3)
    cross = chance(draw, 25)
    query, key = draw(token_sets(cross, axes, most))
    kinds: dict[str, tuple[str, Set]] = {}
    if fields and chance(draw, 35):
        kinds["lab"] = ("int", one_of(draw, query, key))
    if fields and chance(draw, 20):
        kinds["flag"] = ("bool", one_of(draw, query, key))
    if fields and reals and chance(draw, 40):
        kinds["b"] = ("scalar", one_of(draw, query, key))
    words = Grammar(draw, query, key, kinds)
    expressions: dict[str, Words] = {}
    bindings: list[tuple[str, Words]] = []
    if chance(draw, 92):
        where = words.condition(draw(st.integers(0, 2)))
        if chance(draw, 30):
            bindings = [("near", where)]
            where = Words("near", where.python)
            if chance(draw, 50):
                where = Words("not near", f"not {where.python}")
        expressions["where"] = where
    if reals:
        expressions |= {"bias": words.bias()} if chance(draw, 45) else {}
        expressions |= {"score": words.score()} if chance(draw, 30) else {}
        if chance(draw, 25):
            expressions["scale"] = same(
                one_of(draw, "0.3", "1 / q.width", "log(2 + heads)", "q.width ** -0.25")
            )
    heads = one_of(draw, 1, 2, 3, 4)
    names = ["q", "k", "v", *(name for name in kinds if name in words.used)]
    width = draw(st.integers(3, 17))
    return Spec(
        query,
        key,
        expressions,
        bindings,
        {name: kinds[name] for name in kinds if name in words.used},
        heads,
        one_of(draw, *(count for count in (1, 2, 3, 4) if heads % count == 0)),
        draw(st.integers(1, 2)),
        width,
        width if chance(draw, 40) else draw(st.integers(3, 17)),  # equal ones may take another path
        draw(st.integers(0, 999)),
        words.own_patterns,
        order=tuple(draw(st.permutations(names))) if chance(draw, 20) else tuple(names),
    )


@st.composite
def tile_shapes(draw: Any, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Any tile: sides from 1 to beyond the extent."""
    return tuple(draw(st.integers(1, min(extent + 3, 9)) | st.just(extent + 2)) for extent in extents)


def tiles_of(tile: tuple[int, ...], extents: tuple[int, ...]) -> Iterator[list[int]]:
    """Per tile the token in each slot, -1 where there is none: boxes of `tile`, or stretches of the sequence."""
    if len(tile) != len(extents):
        tokens = list(range(prod(extents)))
        for start in range(0, len(tokens), tile[0]):
            part = tokens[start : start + tile[0]]
            yield part + [-1] * (tile[0] - len(part))
        return
    strides = [prod(extents[axis + 1 :]) for axis in range(len(extents))]
    for corner in product(*(range(0, extent, size) for extent, size in zip(extents, tile))):
        slots = product(*(range(start, start + size) for start, size in zip(corner, tile)))
        yield [
            sum(c * stride for c, stride in zip(slot, strides))
            if all(c < e for c, e in zip(slot, extents))
            else -1
            for slot in slots
        ]
