"""What distinguishes one attend from another: the hooks that the generator prints from the spec."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from torch import Tensor

from attndsl_codegen.kernels.arguments import Tokens


class Mechanism(Protocol):
    """The hooks of one attend. Coordinates are passed axis by axis, the query's first.

    `at` holds what else an expression may use: extents by name, `heads`, `head`, widths such as
    `q.width`, fields by name, and `real dtype`, the type of real numbers.
    """

    operands: ClassVar[tuple[str, str]]
    """The names of queries and keys, for messages; empty where there are none."""
    query: ClassVar[Tokens]
    key: ClassVar[Tokens]
    query_tile: ClassVar[tuple[int, ...]]
    key_tile: ClassVar[tuple[int, ...]]
    backward_query_tile: ClassVar[tuple[int, ...] | None]
    """The query tile of the backward pass, or None if it is that of the forward pass."""
    query_steps: ClassVar[tuple[int, ...]]
    key_steps: ClassVar[tuple[int, ...]]
    """Into how many residue classes the axes are split; empty where none is."""
    tile_origin: ClassVar[tuple[int, ...]]
    """Per axis, how many slots of the first tile come before the first token; empty where none does."""
    varies_by_batch: ClassVar[bool]
    varies_by_head: ClassVar[bool]
    mask_fields: ClassVar[tuple[str, ...]]
    """Fields that the mask looks up."""
    same_labels: ClassVar[tuple[str, str] | None]
    """Fields of queries and of keys that must be equal for a key to be visible, or None."""
    real_fields: ClassVar[tuple[str, ...]]
    """Fields that bias or score look up, with gradient."""
    normalize: ClassVar[str]
    """What makes weights of scores: `softmax`, `linear`, `sigmoid` or `none`."""
    score: ClassVar[Any]
    """The score in place of `s`, or None: score(s, *coordinates, at)."""
    bias: ClassVar[Any]
    """What is added to the score, or None: bias(*coordinates, at)."""
    separable_bias: ClassVar[bool]
    """Whether that is a term of the query plus a term of the key."""
    bias_by_distance: ClassVar[bool]
    """Whether it depends on how far a key is from its query alone, and linearly on the fields looked up."""
    causal: ClassVar[bool]
    """Whether keys up to the query are visible, where no others are hidden: for contracted products."""
    decay: ClassVar[Any]
    """Weights are multiplied by exp(decay(query) - decay(key)), or None: decay(*coordinates, at)."""
    paths: ClassVar[Any]
    """The factor of weights as a sum over paths on a grid: the axes that a path takes from key to query, and
    what its first step and its second leave, as functions of (*coordinates, at). The first knows nothing of
    the query's place on the second axis, the second nothing of the key's on the first."""
    gpu: ClassVar[Any]
    """The same hooks for the Triton kernels; only where an attend may run on them."""
    times: ClassVar[Any]
    """A factor of the normalised weight, or None: times(*coordinates, at)."""

    @staticmethod
    def where(*arguments: Any) -> Tensor:
        """Whether the key is visible to the query: where(*coordinates, at)."""
        ...

    @staticmethod
    def bounds(*arguments: Any) -> tuple[Any, Any]:
        """Whether all pairs of boxes must be visible, and whether any may be: bounds(*ranges, at)."""
        ...

    @staticmethod
    def possible(*arguments: Any) -> Any:
        """Whether any pair of boxes may be visible, whatever fields hold: possible(*ranges, at)."""
        ...

    @staticmethod
    def scale(at: dict[str, Any]) -> float:
        """The factor of the dot product."""
        ...
