"""Writes known values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import libcst as cst

from attndsl_codegen.folding.known import SOMETHING, Facts, spelled
from attndsl_codegen.folding.walk import Kinds, ended


@dataclass(frozen=True)
class Literals:
    """Expressions of which the value is known, and parameters that hold one.

    With `STEP` 1 and `mechanism.mask_fields` empty:

    place(tile, TILE, STEP)                      ->  place(tile, TILE, 1)
    for name in mechanism.mask_fields            ->  for name in ()
    {"STEP": residues[0], "WIDTH": width}        ->  {"WIDTH": width}
    """

    facts: Facts
    parameters: frozenset[str]
    kinds: ClassVar[Kinds] = (
        *(cst.Name, cst.Attribute, cst.Call, cst.Arg, cst.Assign, cst.Return, cst.CompIf, cst.DictElement),
        *(cst.FormattedStringExpression, cst.StarredElement),
    )

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node of a kernel, folded."""
        match node:
            case cst.Name(value="None" | "True" | "False"):
                return node
            case cst.Name() | cst.Attribute() | cst.Call():
                value = self.facts.literal(node)
                keeps = value is SOMETHING or (value is None and isinstance(node, cst.Attribute))
                return node if keeps else spelled(value)
            case (
                cst.Arg(value=value)
                | cst.Assign(value=value)
                | cst.Return(value=value)
                | cst.CompIf(test=value)
            ):
                return self._decided(node, value)
            case cst.FormattedStringExpression(expression=cst.SimpleString() as text, conversion=None):
                return cst.FormattedStringText(str(text.evaluated_value))
            case cst.DictElement(key=cst.SimpleString() as key) if key.evaluated_value in self.parameters:
                return []
            case cst.StarredElement(value=cst.Tuple(elements=[])):
                return []
        return node

    def _decided(self, node: cst.CSTNode, value: Any) -> cst.CSTNode:
        """A node whose value is a condition that is known."""
        if not isinstance(value, cst.Comparison | cst.UnaryOperation | cst.BooleanOperation):
            return node
        found = self.facts.values(value)
        if found is None or set(found) not in ({True}, {False}) or not isinstance(found[0], bool):
            return node
        field = "test" if isinstance(node, cst.CompIf) else "value"
        return node.with_changes(**{field: spelled(found[0])})


@dataclass(frozen=True)
class StarredTargets:
    """Starred names that hold nothing, in what is unpacked and in parameters.

    With `real_fields` empty:

    q, k, *real_fields = saved           ->  q, k = saved
    def forward(ctx, q, *real_fields):   ->  def forward(ctx, q):
    """

    names: frozenset[str]
    kinds: ClassVar[Kinds] = (cst.AssignTarget, cst.Parameters)

    def __call__(self, node: cst.CSTNode) -> Any:
        """A node of a kernel, folded."""
        match node:
            case cst.AssignTarget(target=cst.Tuple(elements=elements) as target):
                kept = [element for element in elements if not self._is_empty(element)]
                if len(kept) == len(elements):
                    return node
                return node.with_changes(target=target.with_changes(elements=ended(kept, elements)))
            case cst.Parameters(star_arg=cst.Param(name=cst.Name(value=name))) if name in self.names:
                params = ended(list(node.params), [node.star_arg])
                return node.with_changes(params=params, star_arg=cst.MaybeSentinel.DEFAULT)
        return node

    def _is_empty(self, element: cst.BaseElement) -> bool:
        match element:
            case cst.StarredElement(value=cst.Name(value=name)):
                return name in self.names
        return False
