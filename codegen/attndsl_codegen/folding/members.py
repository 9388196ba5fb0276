"""Members of classes that nothing reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.locals import is_pure
from attndsl_codegen.folding.walk import Kinds

_SPECIAL = frozenset({"forward", "backward"})
"""Methods that PyTorch calls."""


@dataclass(frozen=True)
class Members:
    """Attributes and methods without a reader, in protocols, in classes that follow them, and elsewhere.

    With `read` that lacks `score`, `times` and `residues`:

    class Mechanism(Protocol):              ->  class Mechanism(Protocol):
        query: Tokens                               query: Tokens
        score: Any
        \"\"\"The score, or None.\"\"\"

    class OutAttend:                        ->  class OutAttend:
        query, key = TOKENS_X, TOKENS_Y             query, key = TOKENS_X, TOKENS_Y
        score = times = None

    Attributes:
        read: the names of all attributes that are read somewhere.
        settings: classes whose attributes are settings, of which unread ones may go.
        methods: whether methods may go too.
    """

    read: frozenset[str]
    settings: frozenset[str]
    methods: bool
    kinds: ClassVar[Kinds] = (cst.ClassDef,)

    def __call__(self, node: cst.ClassDef) -> Any:
        """A class without what nothing reads."""
        if not isinstance(node.body, cst.IndentedBlock) or not (
            self.methods or node.name.value in self.settings
        ):
            return node
        body = node.body.body
        kept = self._kept(body, node.name.value in self.settings)
        same = len(kept) == len(body) and all(a is b for a, b in zip(kept, body))
        return node if same else node.with_changes(body=node.body.with_changes(body=kept))

    def _kept(self, body: Sequence[Any], settings: bool) -> list[Any]:
        kept: list[Any] = []
        dropped = False
        for statement in body:
            is_docstring = dropped and _is_string(statement)
            new = None if is_docstring else self._statement(statement, settings)
            dropped = new is None
            kept += [] if new is None else [new]
        return kept

    def _statement(self, statement: Any, settings: bool) -> Any:
        """A statement of a class without its unread names; None if nothing is left."""
        match statement:
            case cst.SimpleStatementLine(body=[cst.AnnAssign(target=cst.Name(value=name))]) if settings:
                return statement if name in self.read else None
            case cst.SimpleStatementLine(body=[cst.Assign() as assign]) if settings:
                return self._assigned(statement, assign)
            case cst.FunctionDef(name=cst.Name(value="__init__"), body=cst.IndentedBlock(body=body)) as init:
                lines = [line for old in body if (line := self._in_constructor(old)) is not None]
                return (
                    init
                    if len(lines) == len(body) and all(a is b for a, b in zip(lines, body))
                    else (init.with_changes(body=init.body.with_changes(body=lines)))
                )
            case cst.FunctionDef(name=cst.Name(value=name)):
                known = name in self.read or name in _SPECIAL or name.startswith("__")
                return statement if known else None
        return statement

    def _in_constructor(self, line: Any) -> Any:
        match line:
            case cst.SimpleStatementLine(body=[cst.Assign(value=value) as assign]) if is_pure(value):
                local = any(
                    isinstance(part, cst.Name) for target in assign.targets for part in _places(target)
                )
                return line if local else self._assigned(line, assign)  # `Locals` sees to variables
        return line

    def _assigned(self, line: cst.SimpleStatementLine, assign: cst.Assign) -> Any:
        match assign:
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Tuple(elements=names))], value=value):
                if not isinstance(value, cst.Tuple) or len(names) != len(value.elements):
                    return line
                pairs = list(zip(names, value.elements))
                kept = [(a, b) for a, b in pairs if self._is_read(a.value)]
                if len(kept) == len(pairs):
                    return line
                return line.with_changes(body=[_assignment(kept)]) if kept else None
        targets = [target for target in assign.targets if self._is_read(target.target)]
        if len(targets) == len(assign.targets):
            return line
        return line.with_changes(body=[assign.with_changes(targets=targets)]) if targets else None

    def _is_read(self, target: Any) -> bool:
        match target:
            case cst.Name(value=name):
                return name in self.read
            case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
                return name in self.read
        return True


def _places(target: cst.AssignTarget) -> list[Any]:
    """What a target assigns to."""
    match target.target:
        case cst.Tuple(elements=elements):
            return [part.value for part in elements]
    return [target.target]


def _assignment(pairs: list[tuple[Any, Any]]) -> cst.Assign:
    target: Any
    value: Any
    target, value = ([cst.Element(part.value) for part in side] for side in zip(*pairs))
    if len(pairs) == 1:
        return cst.Assign([cst.AssignTarget(target[0].value)], value[0].value)
    targets, values = (cst.Tuple(side, lpar=(), rpar=()) for side in (target, value))
    return cst.Assign([cst.AssignTarget(targets)], values)


def _is_string(statement: Any) -> bool:
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.SimpleString())]):
            return True
    return False


def settings(text: str) -> frozenset[str]:
    """The classes of a text whose attributes are settings: protocols, and the hooks of attends."""
    names = re.findall(r"^class (\w+)(\(Protocol\))?:", text, re.MULTILINE)
    return frozenset(name for name, protocol in names if protocol or name.rstrip("_").endswith("Attend"))
