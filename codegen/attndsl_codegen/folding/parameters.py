"""Parameters that are always given the same literal, or that nothing reads."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.calls import Uses, parsed, passed, uses
from attndsl_codegen.folding.known import is_plain
from attndsl_codegen.folding.walk import Kinds, ended

UNKNOWN = object()


@dataclass(frozen=True)
class Parameter:
    """A parameter of a definition.

    Attributes:
        owner: the function, or the class whose constructor has it.
        at: its place in calls; None if it is passed by name only.
        values: the literals that calls give it; None if some give something else.
        read: whether the function reads it.
    """

    owner: str
    name: str
    at: int | None
    values: tuple[Any, ...] | None
    read: bool

    @property
    def is_constant(self) -> bool:
        """Whether all calls give it the same literal, one that says as much as its name."""
        return self.values is not None and len(self.values) == 1 and is_plain(self.values[0])


def parameters(texts: Mapping[str, str], total: Uses) -> list[Parameter]:
    """The parameters of the definitions, given by name, of which every call is seen."""
    found: list[Parameter] = []
    for name, text in texts.items():
        if name in total.others or not total.calls.get(name):
            continue
        function, skipped = _function(text)
        if function is not None:
            found += _parameters(name, function, skipped, total.calls[name])
    return found


def _function(text: str) -> tuple[ast.FunctionDef | None, int]:
    """The function that calls of a definition call, and how many parameters it gets from elsewhere."""
    match parsed(text).body:
        case [ast.FunctionDef() as function]:
            return function, 0
        case [ast.ClassDef(body=body)]:
            inits = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            return (inits[0], 1) if inits else (None, 0)
    return None, 0


@dataclass(frozen=True)
class _Names:
    """The parameters of a function with defaults, those that are bound once, and the names that it reads."""

    defaults: dict[str, ast.expr | None]
    positional: int
    once: frozenset[str]
    read: frozenset[str]


@lru_cache(4096)
def _names(function: ast.FunctionDef) -> _Names:
    given = function.args
    defaults: dict[str, ast.expr | None] = {argument.arg: None for argument in given.args}
    defaults |= {a.arg: d for a, d in zip(reversed(given.args), reversed(given.defaults))}
    defaults |= {a.arg: d for a, d in zip(given.kwonlyargs, given.kw_defaults)}
    bound: Counter[str] = Counter()
    read: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                bound[name] += 1
    once = frozenset(name for name, count in bound.items() if count == 1)
    return _Names(defaults, len(given.args), once, frozenset(read))


def _parameters(
    name: str, function: ast.FunctionDef, skipped: int, calls: list[ast.Call]
) -> Iterable[Parameter]:
    names = _names(function)
    for at, (parameter, default) in enumerate(names.defaults.items()):
        if at < skipped:
            continue
        place = at - skipped if at < names.positional else None
        values = _values(calls, place, parameter, default) if parameter in names.once else None
        yield Parameter(name, parameter, place, values, parameter in names.read)


def _values(
    calls: list[ast.Call], at: int | None, name: str, default: ast.expr | None
) -> tuple[Any, ...] | None:
    """The literals that calls pass; None if one passes something else."""
    found: list[Any] = []
    for call in calls:
        try:
            given = passed(call, -1 if at is None else at, name)
        except LookupError:
            given = default
        value = UNKNOWN if given is None else _literal(given)
        if value is UNKNOWN:
            return None
        found += [value] if not any(value == v and type(value) is type(v) for v in found) else []
    return tuple(found)


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | str() as value):
            return value
        case ast.Tuple(elts=[]):
            return ()
    return UNKNOWN


def droppable(parameter: Parameter, calls: list[ast.Call]) -> bool:
    """Whether calls can do without an argument for it: they pass it plainly, and evaluate nothing for it."""
    for call in calls:
        try:
            given = passed(call, -1 if parameter.at is None else parameter.at, parameter.name)
        except LookupError:
            continue
        if given is None or any(isinstance(n, ast.Call | ast.NamedExpr | ast.Await) for n in ast.walk(given)):
            return False
    return True


@dataclass(frozen=True)
class Dropped:
    """Definitions and calls without some parameters.

    With the parameter `later` of `f` dropped:

    def f(q, later=False):     ->  def f(q):
    f(q, False)                ->  f(q)
    f(q, later=False)          ->  f(q)

    Attributes:
        names: by definition, the parameters; by place those of calls, None for what is passed by name.
    """

    names: Mapping[str, Mapping[str, int | None]]
    kinds: ClassVar[Kinds] = (cst.FunctionDef, cst.ClassDef, cst.Call)

    def touches(self, name: str, text: str) -> bool:
        """Whether a definition changes."""
        here = uses(text)
        return name in self.names or any(called in self.names for called in here.calls)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node with its parameters or arguments dropped."""
        match node:
            case cst.FunctionDef(name=cst.Name(value=name)) if name in self.names:
                return _without(node, self.names[name])
            case cst.ClassDef(name=cst.Name(value=name)) if name in self.names:
                return node.with_deep_changes(
                    node.body, body=[_init(part, self.names[name]) for part in node.body.body]
                )
            case cst.Call(func=cst.Name(value=name) | cst.Subscript(value=cst.Name(value=name))):
                return self._call(node, self.names[name]) if name in self.names else node
        return node

    def _call(self, node: cst.Call, names: Mapping[str, int | None]) -> cst.Call:
        places = set(names.values())
        args = [
            arg
            for at, arg in enumerate(node.args)
            if not (arg.keyword.value in names if arg.keyword is not None else at in places and not arg.star)
        ]
        return node.with_changes(args=ended(args, node.args))


def _init(part: Any, names: Mapping[str, int | None]) -> Any:
    is_init = isinstance(part, cst.FunctionDef) and part.name.value == "__init__"
    return _without(part, names) if is_init else part


def _without(function: cst.FunctionDef, names: Iterable[str]) -> cst.FunctionDef:
    """The function without some of its parameters."""
    old = function.params
    kept = [param for param in old.params if param.name.value not in names]
    named = [param for param in old.kwonly_params if param.name.value not in names]
    star: Any = old.star_arg
    if isinstance(star, cst.Param) and star.name.value in names:
        star = cst.MaybeSentinel.DEFAULT
    if not named and isinstance(star, cst.ParamStar):
        star = cst.MaybeSentinel.DEFAULT
    last_kept = not named and not isinstance(star, cst.Param) and old.star_kwarg is None
    params = old.with_changes(
        params=ended(kept, old.params) if last_kept else kept,
        kwonly_params=ended(named, old.kwonly_params),
        star_arg=star,
    )
    return function.with_changes(params=params)
