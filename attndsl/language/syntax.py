"""The syntax tree: what was written, with its place, before any meaning is given to it."""

from __future__ import annotations

from dataclasses import dataclass

from attndsl.ir.problem import Span


@dataclass(frozen=True)
class Node:
    """Base of the tree; `depth` is one more than that of the deepest child."""

    span: Span
    depth: int


@dataclass(frozen=True)
class Number(Node):
    """An integer or real literal, or a truth value."""

    value: int | float | bool


@dataclass(frozen=True)
class Name(Node):
    """A name: `i`, `near`, `x`."""

    name: str


@dataclass(frozen=True)
class Tuple(Node):
    """`(18, 24, 24)`."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Attribute(Node):
    """`i.h`, `x.w`, `q.width`, `j.0`."""

    value: Expression
    name: str


@dataclass(frozen=True)
class Index(Node):
    """`label[i]`, `size[0]`, `a[i.h, j.w]`."""

    value: Expression
    coords: tuple[Expression, ...]


@dataclass(frozen=True)
class Argument(Node):
    """A positional (`name` is None) or named argument of a call."""

    name: str | None
    value: Expression


@dataclass(frozen=True)
class Call(Node):
    """`window(7, stride = 2)`."""

    function: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Lift(Node):
    """`h: window(7)`: a pattern along one axis."""

    axis: Name
    body: Expression


@dataclass(frozen=True)
class Unary(Node):
    """`-a`, `+a`, `not a`."""

    operator: str
    operand: Expression


@dataclass(frozen=True)
class Binary(Node):
    """Arithmetic of two operands, or `and` and `or` of two operands or more."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Comparison(Node):
    """A chain `a <= b < c`: operands and the operators between them."""

    operands: tuple[Expression, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Choice(Node):
    """`a if test else b`."""

    test: Expression
    a: Expression
    b: Expression


Expression = Number | Name | Tuple | Attribute | Index | Call | Lift | Unary | Binary | Comparison | Choice


@dataclass(frozen=True)
class Axis(Node):
    """An axis of a token set: `h`, `t = 30`, or an expression for its extent."""

    value: Expression
    extent: Expression | None


@dataclass(frozen=True)
class Tokens(Node):
    """`tokens x[h, w]`."""

    name: Name
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Input(Node):
    """`input q, k, v : x` with modifiers such as `int`."""

    names: tuple[Name, ...]
    tokens: Name
    modifiers: tuple[Name, ...]


@dataclass(frozen=True)
class Learn(Node):
    """`learn table : [13, 13] scalar`, `learn rk, rv : r`: on a set by name, or of a shape of its own."""

    names: tuple[Name, ...]
    tokens: Name | Tuple
    modifiers: tuple[Name, ...]


@dataclass(frozen=True)
class Tune(Node):
    """`tune stride in (1, 2, 4, 8)`: the values a parameter may take when settings are searched."""

    name: Name
    values: Expression


@dataclass(frozen=True)
class Loss(Node):
    """`loss commit = c.loss`."""

    name: Name
    value: Expression


@dataclass(frozen=True)
class Require(Node):
    """`require 1 <= stride`."""

    condition: Expression


@dataclass(frozen=True)
class Assign(Node):
    """`near = h: window(7)`."""

    names: tuple[Name, ...]
    value: Expression


@dataclass(frozen=True)
class Return(Node):
    """`return a, b`."""

    values: tuple[Expression, ...]


@dataclass(frozen=True)
class Bare(Node):
    """An expression that stands alone: the value of a pattern's body."""

    value: Expression


Statement = Tokens | Input | Learn | Tune | Loss | Require | Assign | Return | Bare


@dataclass(frozen=True)
class Parameter(Node):
    """A parameter of a pattern or attention, with its default."""

    name: Name
    default: Expression | None


@dataclass(frozen=True)
class Use(Node):
    """`use "other.attn"`."""

    path: str


@dataclass(frozen=True)
class Pattern(Node):
    """A pattern: parameters, statements, and in the end its value."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Attention(Node):
    """An attention: parameters and statements."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class File(Node):
    """A whole file."""

    items: tuple[Use | Pattern | Attention, ...]


def children(node: Expression) -> tuple[Expression, ...]:
    """The expressions that an expression consists of; names of callees and arguments are not among them."""
    match node:
        case Tuple(items=parts) | Binary(operands=parts) | Comparison(operands=parts):
            return parts
        case Attribute(value=value) | Unary(operand=value) | Lift(body=value):
            return (value,)
        case Index(value=value, coords=coords):
            return (value, *coords)
        case Call(arguments=arguments):
            return tuple(argument.value for argument in arguments)
        case Choice(test=test, a=a, b=b):
            return (a, test, b)
        case _:
            return ()


def bound_names(statement: Statement) -> tuple[Name, ...]:
    """The names that a statement declares."""
    match statement:
        case Assign(names=names) | Input(names=names) | Learn(names=names):
            return names
        case Tokens(name=name):
            return (name,)
        case _:
            return ()
