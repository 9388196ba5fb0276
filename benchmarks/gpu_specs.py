"""What `benchmarks/gpu.py` runs: fifteen attentions, each at its size and at one small enough for a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTHS = (64, 128)
DTYPE = "bfloat16"
SMALL_DTYPE = "float32"
"""Triton's interpreter computes wrongly with bfloat16."""
SMALL_WIDTHS = (16,)


@dataclass(frozen=True)
class Size:
    """One size of an attention.

    Attributes:
        shape: extents of the tokens of queries and keys, in the order of the axes.
        set: values of the spec's parameters.
        hand: the sides of the tiles of 128 tokens that a user of FlexAttention would reorder them into;
            None where tokens lie on a line.
    """

    shape: tuple[int, ...]
    batch: int
    heads: int
    set: Mapping[str, Any] = field(default_factory=dict)
    hand: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Spec:
    """An installed example, and what to call it.

    Attributes:
        free: the token set as the example declares it, where extents are fixed; they are left open for the
            small size.
    """

    name: str
    example: str
    full: Size
    small: Size
    free: tuple[str, str] | None = None


def line(name: str, example: str, tokens: int, heads: int, small: Mapping[str, Any]) -> Spec:
    """Tokens on a line; as the example is, and with parameters that suit 256 tokens."""
    return Spec(name, example, Size((tokens,), 1, heads), Size((256,), 1, 2, small))


FLUX = ("x[h = 256, w = 256]", "x[h, w]")
VIDEO = ("x[t = 30, h = 48, w = 80]", "x[t, h, w]")
SMALL_IMAGE, SMALL_VIDEO = (16, 16), (4, 8, 8)


def image(name: str, size: int, stride: int, example: str, full: Size, free: Any = None) -> Spec:
    """A window on an image; the small one is of 5 x 5 pixels."""
    steps = min(stride, 2)
    small = Size(SMALL_IMAGE, 1, 1, {"size": (5, 5), "stride": (steps, steps)}, (8, 16))
    window = {"size": (size, size), "stride": (stride, stride)}
    return Spec(name, example, Size(full.shape, full.batch, full.heads, window, (8, 16)), small, free)


def video(name: str, stride: tuple[int, int, int]) -> Spec:
    """A window of 18 x 24 x 24 on 30 x 48 x 80."""
    steps = (1, 1, 1) if stride == (1, 1, 1) else (1, 2, 2)
    small = Size(SMALL_VIDEO, 1, 1, {"size": (3, 3, 3), "stride": steps}, (2, 8, 8))
    full = Size((30, 48, 80), 1, 4, {"size": (18, 24, 24), "stride": stride}, (2, 8, 8))
    return Spec(name, "hunyuan_gna", full, small, VIDEO)


SPECS = (
    line("causal", "causal", 16384, 16, small={}),
    line("sliding", "sliding", 32768, 16, small={"radius": 40}),
    line("sinks", "streaming_llm", 32768, 16, small={"sink": 2, "recent": 60}),
    line("documents", "packed", 16384, 16, small={}),
    line("alibi", "alibi", 16384, 16, small={}),
    line("softcap", "softcap", 16384, 16, small={}),
    line("dilated", "dilated", 32768, 16, small={"radius": 20, "step": 2}),
    line("head mix", "head_mixture", 32768, 16, small={"size": 32}),
    image("window 13", 13, 1, "neighborhood2d", Size((128, 128), 1, 16)),
    image("window 80", 80, 1, "flux_gna", Size((256, 256), 1, 8), FLUX),
    image("window 80, stride 16", 80, 16, "flux_gna", Size((256, 256), 1, 8), FLUX),
    video("video", (1, 1, 1)),
    video("video, stride 16x8x8", (16, 8, 8)),
    Spec(
        "swin",
        "swin",
        Size((112, 112), 8, 4, {}, (8, 16)),
        Size(SMALL_IMAGE, 1, 1, {"size": 4, "shift": 1}, (8, 16)),
    ),
    line("power attention", "power_attention", 65536, 8, small={"size": 16, "near": 2}),
)
BACKWARD_FIRST = ("causal", "window 13", "video, stride 16x8x8", "documents", "swin", "window 80", "alibi")
"""The order of the backward stage, which takes longest; the others follow."""
