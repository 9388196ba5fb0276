"""Members of classes that nothing reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import libcst as cst

_DECLARED = "Protocol"


@dataclass(frozen=True)
class Members:
    """Attributes and static methods without a reader, in protocols and in the classes that follow them.

    With `members` that lack `score` and `times`:

    class Mechanism(Protocol):              ->  class Mechanism(Protocol):
        query: Tokens                               query: Tokens
        score: Any
        \"\"\"The score, or None.\"\"\"

    class OutAttend:                        ->  class OutAttend:
        query, key = TOKENS_X, TOKENS_Y             query, key = TOKENS_X, TOKENS_Y
        score = times = None
    """

    members: frozenset[str]
    classes: frozenset[str]
    kinds = (cst.ClassDef,)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node without what nothing reads."""
        match node:
            case cst.ClassDef(name=cst.Name(value=name), body=cst.IndentedBlock(body=body)) if name in self.classes:
                kept = self._kept(body)
                return node if len(kept) == len(body) and all(a is b for a, b in zip(kept, body)) else (
                    node.with_changes(body=node.body.with_changes(body=kept))
                )
        return node

    def _kept(self, body: Sequence[Any]) -> list[Any]:
        kept: list[Any] = []
        dropped = False
        for statement in body:
            is_docstring = dropped and _is_string(statement)
            new = None if is_docstring else self._statement(statement)
            dropped = new is None
            kept += [] if new is None else [new]
        return kept

    def _statement(self, statement: Any) -> Any:
        """A statement of a class without its unread names; None if nothing is left."""
        match statement:
            case cst.SimpleStatementLine(body=[cst.AnnAssign(target=cst.Name(value=name))]):
                return statement if name in self.members else None
            case cst.SimpleStatementLine(body=[cst.Assign() as assign]):
                return self._assigned(statement, assign)
            case cst.FunctionDef(name=cst.Name(value=name), decorators=[_, *_]):
                return statement if name in self.members else None
        return statement

    def _assigned(self, line: cst.SimpleStatementLine, assign: cst.Assign) -> Any:
        match assign:
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Tuple(elements=names))], value=cst.Tuple() as values):
                pairs = list(zip(names, values.elements))
                kept = [(a, b) for a, b in pairs if self._is_read(a.value)]
                if len(kept) == len(pairs) or len(names) != len(values.elements):
                    return line
                if not kept:
                    return None
                return line.with_changes(body=[_assignment(kept)])
        targets = [target for target in assign.targets if self._is_read(target.target)]
        if len(targets) == len(assign.targets):
            return line
        return line.with_changes(body=[assign.with_changes(targets=targets)]) if targets else None

    def _is_read(self, target: Any) -> bool:
        return not isinstance(target, cst.Name) or target.value in self.members


def _assignment(pairs: list[tuple[Any, Any]]) -> cst.Assign:
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


def protocol_classes(text: str, names: Sequence[str]) -> frozenset[str]:
    """The classes of a text that are protocols, or hooks of an attend."""
    return frozenset(name for name in names if f"class {name}({_DECLARED})" in text or name.endswith("Attend"))
