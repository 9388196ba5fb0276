"""What an operator is: its parameters, its typing, its meaning, its cost and its default torch lowering.

All of it stands in one file per operator. An operator is a frozen dataclass; `build` makes it from the
arguments of a call. Tensors are `(batch, heads, tokens, width)` throughout, with 1 for absent axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

from attndsl.ir.index import Const, Expr, Var
from attndsl.ir.problem import Problem
from attndsl.ir.tokens import SINGLE, Relation, TokenSet
from attndsl.ir.types import FeatureType
from attndsl.ir.walk import fields

Role = Literal[
    "feature",
    "features",
    "condition",
    "real",
    "score",
    "number",
    "numbers",
    "places",
    "tokens",
    "axes",
    "word",
    "entries",
    "sets",
]


@dataclass(frozen=True)
class OpParameter:
    """A parameter of an operator as a spec writes it.

    Roles: `feature` is a tensor value, `features` any number of them; `condition`, `real` and `score` are
    pair expressions over the operator's query and key tokens (`score` may use `s`); `places` are
    coordinates for every token `i` of a set; `number` and `numbers` are expressions of sizes; `tokens` is a
    token set; `axes` says what to reduce over; `word` is one of `words`. `entries` are what a selection
    chooses from: a tensor, or a pair expression, which with its conditions becomes one; `sets` are the
    token sets of `i` and `j` there. A `variadic` parameter takes all positional arguments.
    """

    name: str
    role: Role
    optional: bool = True
    help: str = ""
    words: tuple[str, ...] = ()
    positional: bool = False
    variadic: bool = False


@dataclass(frozen=True)
class Operand:
    """A tensor value by name; `text` is how the spec writes it, for messages."""

    name: str
    type: FeatureType
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or self.name


@dataclass(frozen=True)
class Record:
    """Several results of one call, by name: `c.label`."""

    fields: Mapping[str, Operand]


Result = Operand | tuple[Operand, ...] | Record


class Builder(Protocol):
    """Adds operators to the program."""

    def __call__(self, op: Op, suffix: str = "") -> Operand:
        """Adds a value named after the call's result, with a suffix where there are several."""
        ...


class IllTyped(Exception):
    """An operator refuses its arguments.

    Attributes:
        argument: the name of the one to point at, or nothing for the call.
        position: which one, where the parameter takes several.
    """

    def __init__(self, problem: Problem, argument: str = "", position: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.argument = argument
        self.position = position


@dataclass(frozen=True)
class WrongOperand(Problem):
    """An operator was given a tensor of a type that it does not work on.

    Tensors live on token sets and may have a batch axis, heads and a width; `flat` inputs have no head
    axis, `scalar`, `int` and `bool` inputs no width. The message says what the operator needs.
    """

    code: ClassVar[str] = "E313"
    title: ClassVar[str] = "{what}"
    label: ClassVar[str] = "{here}"
    help: ClassVar[str] = "{remedy}"
    what: str
    here: str
    remedy: str


@dataclass(frozen=True)
class Over:
    """What a reduction runs over: the heads, the width, or axes of the token set by number."""

    heads: bool = False
    width: bool = False
    axes: tuple[int, ...] = ()

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of `(batch, heads, *extents, width)`; the width is the last, -1."""
        return (
            *((1,) if self.heads else ()),
            *(axis + 2 for axis in self.axes),
            *((-1,) if self.width else ()),
        )


@dataclass(frozen=True)
class Read:
    """A value in a lowering; `suffix` `_lse` is its log-sum-exp."""

    name: str
    suffix: str = ""


@dataclass(frozen=True)
class Places:
    """Coordinates on `target` for every token of `tokens`, in a lowering: printed as a function."""

    tokens: TokenSet
    target: TokenSet
    coords: tuple[Expr, ...]


@dataclass(frozen=True)
class Hooks:
    """The pair expressions of an attend, in a lowering: printed as a class."""

    attend: Op


@dataclass(frozen=True)
class Kernel:
    """A function of the kernels by name, in a lowering."""

    name: str


OFFSET = Var("offset")
"""Where the first token of a value stands, in a lowering: 0, or the offset of a decoding step."""

LoweredArgument = (
    Read | Places | Hooks | Kernel | Expr | TokenSet | int | str | None | tuple["LoweredArgument", ...]
)


@dataclass(frozen=True)
class Lowered:
    """A call of a function of the kernels, as data.

    Attributes:
        function: its name.
        arguments: values, sizes (expressions), extents (token sets), literals.
        results: suffixes of the names that the results are bound to; None for one that is not kept.
    """

    function: str
    arguments: tuple[LoweredArgument, ...]
    results: tuple[str | None, ...] = ("",)


@dataclass(frozen=True)
class Inline:
    """Elementwise arithmetic, printed as it is."""

    expr: Expr


class PairValues(Protocol):
    """Dense values of expressions, broadcastable to (batch, heads, queries, keys)."""

    def __call__(self, expr: Expr, visible: Any = None, **extra: Any) -> Any:
        """The value of an expression.

        Args:
            expr: the expression.
            visible: the pairs through which fields get a gradient; all if None.
            extra: values of further variables.
        """
        ...


class OracleContext(Protocol):
    """What an operator's oracle may use."""

    xp: Any
    """The tensor namespace (torch)."""
    rows: Any
    """The query tokens to compute, where a sample is enough; None for all."""
    training: bool

    def size(self, expr: Expr) -> Any:
        """The value of an expression of sizes."""
        ...

    def extents(self, tokens: TokenSet) -> tuple[int, ...]:
        """The extents of a token set."""
        ...

    def pairs(self, query: TokenSet, key: TokenSet, heads: int) -> PairValues:
        """Evaluates pair expressions to dense tensors, for the rows at hand."""
        ...

    def places(self, tokens: TokenSet, coords: tuple[Expr, ...]) -> tuple[Any, ...]:
        """Coordinates for every token, each broadcastable to (batch, heads, tokens)."""
        ...

    def elementwise(self, expr: Expr) -> Any:
        """The value of arithmetic between whole tensors."""
        ...

    def lse(self, name: str) -> Any:
        """The log-sum-exp of a partial, (batch, heads, tokens)."""
        ...


@dataclass(frozen=True)
class Arguments:
    """The checked arguments of a call: operands, expressions, sets, words by parameter name."""

    given: Mapping[str, Any]
    name: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, parameter: str) -> Any:
        return self.given[parameter]

    def get(self, parameter: str, default: Any = None) -> Any:
        """The argument, or a default."""
        return self.given.get(parameter, default)

    def __contains__(self, parameter: str) -> bool:
        return parameter in self.given


class Op:
    """Base of operators. A subclass is a frozen dataclass with a field `type`."""

    keyword: ClassVar[str] = ""
    parameters: ClassVar[tuple[OpParameter, ...]] = ()
    along_tokens: ClassVar[bool] = True
    """Whether a token's result depends on other tokens; if so, tokens cannot be decoded one at a time."""
    mixes_heads: ClassVar[bool] = False
    """Whether a head's result depends on other heads though it has as many (the types say the rest)."""
    on_pairs: ClassVar[tuple[str, ...]] = ()
    """Its parameters that take features on pairs, which are never held in full."""
    copies: ClassVar[bool] = True
    """Whether its result is a tensor of its own; views of its operands cost nothing."""
    discrete: ClassVar[bool] = False
    """Whether it decides something (a code), which is checked apart from what follows from it."""

    type: FeatureType

    @classmethod
    def domain(cls, given: Mapping[str, Any]) -> tuple[TokenSet, TokenSet] | None:
        """What `i` and `j` range over in its pair expressions and places, from its other arguments."""
        return None

    @classmethod
    def build(cls, args: Arguments, add: Builder) -> Result:
        """Checks the arguments and adds the operators that they call for.

        Raises:
            IllTyped: an argument does not fit.
        """
        raise NotImplementedError

    @property
    def word(self) -> str:
        """What it is called in descriptions."""
        return self.keyword

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the values it reads as a whole."""
        return ()

    @property
    def expressions(self) -> Mapping[str, Expr]:
        """Its expressions by parameter name."""
        return {}

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of all values it reads, those looked up by its expressions last."""
        looked_up = sorted(fields(*self.expressions.values()) - set(self.tensors))
        return (*self.tensors, *looked_up)

    @property
    def numbered(self) -> Mapping[str, Expr]:
        """The int fields whose values number things of its own (classes), with how many there are."""
        return {}

    @property
    def updates(self) -> tuple[str, ...]:
        """The state that its results replace after a step of training, in order."""
        return ()

    def oracle(self, context: OracleContext, *tensors: Any) -> Any:
        """The exact value: a tensor, or for a partial a tensor and its log-sum-exp."""
        raise NotImplementedError

    def regret(self, context: OracleContext, choice: Any, *tensors: Any) -> float:
        """How much worse a discrete choice is than the best one, relative to what is compared."""
        return 0.0

    def lowered(self) -> Lowered | Inline:
        """The default torch lowering."""
        raise NotImplementedError

    def flops(self) -> Expr:
        """Floating-point operations per batch element, over extents, widths, `heads` and `pairs`."""
        return Const(0)


def size(type_: FeatureType) -> Expr:
    """Elements of a feature per batch element."""
    total: Any = Const(1)
    for axis in type_.tokens.axes:
        total = total * axis.extent
    for factor in (type_.heads, type_.width):
        total = total if factor is None else total * factor
    return total


def first_heads(args: Arguments, *types: FeatureType) -> Expr | None:
    """The heads of the first that has any: tensors, then fields that expressions look up."""
    every = (*(type_.heads for type_ in types), *args.extra["field heads"])
    return next((heads for heads in every if heads is not None), None)


def reduced(type_: FeatureType, over: Over) -> FeatureType:
    """The type after a reduction."""
    tokens = type_.tokens
    if isinstance(tokens.origin, Relation) and over.axes in tokens.origin.sides:
        sides = tokens.origin.sides
        tokens = tokens.origin.query if over.axes == sides[1] else tokens.origin.key
    elif over.axes:
        kept = tuple(axis for at, axis in enumerate(tokens.axes) if at not in over.axes)
        tokens = TokenSet(f"{tokens.name} without {_names(tokens, over)}", kept) if kept else SINGLE
    return replace(
        type_.value,
        tokens=tokens,
        heads=None if over.heads else type_.heads,
        width=None if over.width else type_.width,
    )


def _names(tokens: TokenSet, over: Over) -> str:
    return ", ".join(tokens.axis_names[axis] for axis in over.axes)


def present(f: Operand, over: Over, keyword: str) -> None:
    """Refuses to reduce over what a tensor does not have.

    Raises:
        IllTyped: it has no heads, or no width.
    """
    for words, name, wanted, has in (
        ("heads", "head axis", over.heads, f.type.heads),
        ("width", "width", over.width, f.type.width),
    ):
        if wanted and has is None:
            what = f"`{keyword}` over the {words}, but `{f}` has no {name}"
            raise IllTyped(WrongOperand(what, "", f"`{f}` is {f.type.shape_words}"), "over")
