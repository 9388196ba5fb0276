"""Which names a function binds, and which it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst

from attndsl_codegen.folding.walk import walk


@dataclass(frozen=True)
class Scope:
    """The names of a function, those of functions inside it included.

    Attributes:
        bound: how often each name is bound, as a parameter too.
        read: how often each is read.
    """

    bound: Counter[str]
    read: Counter[str]


def scope(function: cst.FunctionDef) -> Scope:
    """Counts the names of a function."""
    bound: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for node in walk(function):
        match node:
            case cst.Name(value=name):
                seen[name] += 1
            case cst.Param(name=cst.Name(value=name)) | cst.FunctionDef(name=cst.Name(value=name)):
                bound[name] += 1
            case cst.AugAssign(target=cst.Name(value=name)):
                bound[name] += 1
            case cst.AssignTarget() | cst.AnnAssign() | cst.For() | cst.CompFor() | cst.NamedExpr():
                targets.update(target_names(node.target))
            case cst.AsName(name=target):
                targets.update(target_names(target))
    bound.update(targets)
    seen.subtract(targets)
    return Scope(bound, +seen)


def target_names(target: Any) -> Iterator[str]:
    """The names that an assignment to `target` binds."""
    match target:
        case cst.Name(value=name):
            yield name
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for element in elements:
                yield from target_names(element.value)
