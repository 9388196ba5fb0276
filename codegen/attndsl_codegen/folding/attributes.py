"""Attributes of objects that always hold the same literal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.locals import assigned, is_constant
from attndsl_codegen.folding.walk import Chain, Kinds, rewrite, walk


@dataclass(frozen=True)
class Attributes:
    """Attributes that the constructor sets to a literal, and nothing else sets.

    class Bricks:                                  class Bricks:
        def __init__(self, extents):                   def __init__(self, extents):
            self.extents, self.offset = extents, 0         self.extents, self.offset = extents, 0
        def last(self):                        ->      def last(self):
            return self.offset + self.extents              return 0 + self.extents
    """

    kinds: ClassVar[Kinds] = (cst.ClassDef,)

    def __call__(self, node: cst.ClassDef) -> Any:
        """A class with these attributes written out."""
        constants: dict[str, Any] = {}
        for place, value in assigned(node):
            match place:
                case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
                    constants[name] = None if name in constants or not is_constant(value) else value
        constants = {name: value for name, value in constants.items() if value is not None}
        if not constants or not any(_reads(part, constants) for part in walk(node)):
            return node
        return rewrite(node, Chain((_WrittenOut(constants),)))


@dataclass(frozen=True)
class _WrittenOut:
    """Reads of `self.name` replaced."""

    values: dict[str, Any]
    kinds: ClassVar[Kinds] = (cst.Attribute,)

    def __call__(self, node: cst.Attribute) -> Any:
        return self.values[node.attr.value] if _reads(node, self.values) else node


def _reads(node: Any, names: dict[str, Any]) -> bool:
    match node:
        case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
            return name in names
    return False
