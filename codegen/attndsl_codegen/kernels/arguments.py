"""Reads the arguments of a call: checks them, finds the sizes, flattens the token axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Grid = tuple[int, ...] | Mapping[str, tuple[int, ...]] | None


class Tokens(NamedTuple):
    """A token set: its axes, the symbol that each extent is (or None), and the extents at given sizes."""

    name: str
    axes: tuple[str, ...]
    symbols: tuple[str | None, ...]
    extents: Callable[[dict[str, Any]], tuple[int, ...]]

    def count(self, sizes: dict[str, Any]) -> int:
        """How many tokens there are."""
        return math.prod(self.extents(sizes))


class Argument(NamedTuple):
    """An input: its token set, whether it has `query` heads, `kv` heads or none, a width, and its kind.

    `decodes`: it belongs to the queries, so a decoding step passes it for some positions only.
    `values`: examples of an int input are less than this: classes number the weights that there are.
    """

    name: str
    tokens: Tokens
    heads: str | None
    width: bool
    kind: str
    decodes: bool = False
    values: int = 4


class Learned(NamedTuple):
    """A learned tensor (or state, which training updates without gradient) and how it starts.

    `shape` gives its full shape from `heads`, `kv heads` and the widths of the inputs.
    """

    name: str
    tokens: Tokens
    shape: Callable[[dict[str, Any]], tuple[int, ...]]
    heads: bool = True
    width: bool = True
    init: str = "normal"
    fan_in: Callable[[dict[str, Any]], int] | None = None
    state: bool = False


FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def read_arguments(
    arguments: tuple[Argument, ...], tensors: dict[str, Any], grid: Grid, offset: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor], bool]:
    """Sizes and fields for the mechanism, flattened tensors, and whether the first one came flattened.

    Raises:
        TypeError: an argument is not a tensor of the right type, or on another device.
        ValueError: a shape does not fit the token sets, or the other arguments.
    """
    for argument in arguments:
        check_type(argument, tensors[argument.name])
    tensors = in_autocast_type(arguments, tensors)
    check_agreement(arguments, tensors)
    sizes: dict[str, Any] = {}
    for argument in arguments:
        if offset is None or not argument.decodes:
            learn_symbols(argument, tensors[argument.name], grid, sizes)
    flat: dict[str, Tensor] = {}
    for argument in arguments:
        decoded = offset is not None and argument.decodes
        if decoded:
            learn_queries(argument, tensors[argument.name], offset, sizes)
        learn_sizes(argument, tensors[argument.name], sizes, full=not decoded)
        flat[argument.name] = flatten(argument, tensors[argument.name])
    check_heads(arguments, flat, sizes)
    reals = [flat[argument.name].dtype for argument in arguments if argument.kind == "real"]
    widest = next((flat[a.name].dtype for a in arguments if a.width), None)
    sizes["input dtype"] = widest or (reals[0] if reals else torch.float32)
    sizes["real dtype"] = torch.float64 if torch.float64 in reals else torch.float32
    return sizes, flat, comes_flat(arguments[0], tensors[arguments[0].name])


def learned_tensor(learned: Learned, tensor: Tensor, sizes: dict[str, Any]) -> Tensor:
    """A learned tensor as (1, heads or 1, tokens, width or 1), cut to the tokens at hand.

    Raises:
        ValueError: the inputs have other heads or widths than it was made for, or more tokens.
    """
    if tuple(tensor.shape) != learned.shape(sizes):
        raise ValueError(
            f"{learned.name}: made with shape {tuple(tensor.shape)}, "
            f"but the inputs need {learned.shape(sizes)}: see the constructor's heads and dim"
        )
    tensor = tensor.unsqueeze(0) if learned.heads else tensor[None, None]
    tensor = tensor if learned.width else tensor.unsqueeze(-1)
    extents = learned.tokens.extents(sizes)
    if tensor.dim() == 3:
        return tensor.unsqueeze(2)  # one value for all tokens
    for axis, extent in enumerate(extents):
        if extent > tensor.shape[2 + axis]:
            most = tensor.shape[2 + axis]
            raise ValueError(f"{learned.name}: made for at most {most} tokens along an axis, not {extent}")
        tensor = tensor.narrow(2 + axis, 0, extent)
    return tensor.flatten(2, -2)


def check_type(argument: Argument, tensor: Any) -> None:
    """A tensor of the declared kind with the declared axes."""
    name = argument.name
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    allowed = {"real": FLOATS, "int": INTEGERS, "bool": (torch.bool,)}[argument.kind]
    if tensor.dtype not in allowed:
        raise TypeError(f"{name}: expected {argument.kind} elements, got {tensor.dtype}")
    if tensor.dim() != dimensions(argument, len(argument.tokens.axes)) and not comes_flat(argument, tensor):
        raise ValueError(f"{name}: expected shape {shape_words(argument)}, got {tuple(tensor.shape)}")


def in_autocast_type(arguments: tuple[Argument, ...], tensors: dict[str, Any]) -> dict[str, Any]:
    """Under autocast, tensors with a width in its type, float64 excepted, as PyTorch does with attention."""
    device = tensors[arguments[0].name].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    cast = [a.name for a in arguments if a.width and tensors[a.name].dtype in FLOATS[:3]]
    return {**tensors, **{name: tensors[name].to(dtype) for name in cast}}


def check_agreement(arguments: tuple[Argument, ...], tensors: dict[str, Tensor]) -> None:
    """All tensors on one device, those with a width of one type."""
    widths = [argument.name for argument in arguments if argument.width]
    first, widest = arguments[0].name, widths[0] if widths else arguments[0].name
    for argument in arguments:
        name, tensor = argument.name, tensors[argument.name]
        if tensor.device != tensors[first].device:
            raise TypeError(f"{name}: on {tensor.device}, but {first} is on {tensors[first].device}")
        if argument.width and tensor.dtype != tensors[widest].dtype:
            raise TypeError(f"{name}: {tensor.dtype}, but {widest} is {tensors[widest].dtype}")


def dimensions(argument: Argument, token_axes: int) -> int:
    """How many dimensions the argument has with so many token axes."""
    return 1 + token_axes + (argument.heads is not None) + argument.width


def shape_words(argument: Argument) -> str:
    """The expected shape in words."""
    heads = {"query": ["heads"], "kv": ["kv heads"], None: []}[argument.heads]
    return f"({', '.join(['batch', *heads, *argument.tokens.axes, *['width'] * argument.width])})"


def comes_flat(argument: Argument, tensor: Tensor) -> bool:
    """Whether the tokens came as one axis instead of a grid."""
    return len(argument.tokens.axes) > 1 and tensor.dim() == dimensions(argument, 1)


def token_shape(argument: Argument, tensor: Tensor) -> tuple[int, ...]:
    """The token axes of a tensor."""
    start = 1 + (argument.heads is not None)
    return tuple(tensor.shape[start : tensor.dim() - argument.width])


def learn_symbols(argument: Argument, tensor: Tensor, grid: Grid, sizes: dict[str, Any]) -> None:
    """Reads symbolic extents off a tensor, or off `grid` where the tokens are flattened."""
    tokens = argument.tokens
    shape = token_shape(argument, tensor)
    if comes_flat(argument, tensor):
        given = grid.get(tokens.name) if isinstance(grid, Mapping) else grid
        if given is None:
            if any(tokens.symbols):
                raise ValueError(
                    f"{argument.name}: the tokens are flattened; pass grid={tokens_words(tokens)} to say how"
                )
            return
        if len(given) != len(tokens.axes) or math.prod(given) != shape[0]:
            raise ValueError(f"{argument.name}: grid={tuple(given)} does not make {shape[0]} tokens")
        shape = tuple(given)
    for axis, symbol, extent in zip(tokens.axes, tokens.symbols, shape):
        if symbol is not None and sizes.setdefault(symbol, extent) != extent:
            raise ValueError(f"{argument.name}: {extent} tokens along axis {axis}, expected {sizes[symbol]}")


def tokens_words(tokens: Tokens) -> str:
    """The extents of a token set by name, e.g. `(h, w)`."""
    return f"({', '.join(tokens.axes)})"


def learn_queries(argument: Argument, tensor: Tensor, offset: Any, sizes: dict[str, Any]) -> None:
    """Reads how many queries a decoding step computes; they are positions from `offset` on."""
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"offset: expected an integer, got {type(offset).__name__}")
    (count,), (total,) = token_shape(argument, tensor), argument.tokens.extents(sizes)
    if offset < 0 or count < 1 or offset + count > total:
        raise ValueError(
            f"{argument.name}: {count} queries at offset {offset}, "
            f"but there are keys for positions 0 to {total - 1}"
        )
    if sizes.setdefault("queries", count) != count:
        raise ValueError(f"{argument.name}: {count} queries, expected {sizes['queries']}")
    sizes["offset"] = offset


def learn_sizes(argument: Argument, tensor: Tensor, sizes: dict[str, Any], full: bool = True) -> None:
    """Checks the extents and reads batch, heads and width."""
    extents = argument.tokens.extents(sizes)
    shape = token_shape(argument, tensor)
    if full and shape != extents and shape != (math.prod(extents),):
        raise ValueError(f"{argument.name}: tokens {shape}, but {argument.tokens.name} has {extents}")
    if min(extents) < 1:
        raise ValueError(
            f"{argument.name}: {argument.tokens.name} has {extents} tokens, at least 1 is needed"
        )
    if sizes.setdefault("batch size", tensor.shape[0]) != tensor.shape[0]:
        raise ValueError(f"{argument.name}: batch {tensor.shape[0]}, expected {sizes['batch size']}")
    if argument.width:
        sizes[f"{argument.name}.width"] = tensor.shape[-1]


def flatten(argument: Argument, tensor: Tensor) -> Tensor:
    """(batch, heads or 1, tokens, width or 1)."""
    if argument.heads is None:
        tensor = tensor.unsqueeze(1)
    if not argument.width:
        tensor = tensor.unsqueeze(-1)
    tensor = tensor.long() if argument.kind == "int" else tensor
    return tensor.flatten(2, -2)


def check_heads(arguments: tuple[Argument, ...], flat: dict[str, Tensor], sizes: dict[str, Any]) -> None:
    """Query heads agree; key/value heads agree and divide them."""
    for kind, known in (("query", "heads"), ("kv", "kv heads")):
        for argument in arguments:
            if argument.heads == kind:
                heads = flat[argument.name].shape[1]
                if sizes.setdefault(known, heads) != heads:
                    raise ValueError(f"{argument.name}: {heads} heads, expected {sizes[known]}")
                if heads == 0 or sizes["heads"] % heads:
                    raise ValueError(
                        f"{argument.name}: {heads} heads cannot serve {sizes['heads']} query heads evenly"
                    )


def in_accumulation_type(flat: dict[str, Tensor], sizes: dict[str, Any]) -> dict[str, Tensor]:
    """Real tensors in the type in which sums are made, so that half precision loses nothing on the way."""
    return {name: t.to(sizes["real dtype"]) if t.is_floating_point() else t for name, t in flat.items()}


def need(condition: Any, message: str) -> None:
    """Raises ValueError unless a requirement holds everywhere; compiled code a RuntimeError as it runs."""
    if isinstance(condition, Tensor) and torch.compiler.is_compiling():
        # A trace has no values to decide by.
        torch.ops.aten._assert_async.msg(condition.all(), message)
    elif not (bool(condition.all()) if isinstance(condition, Tensor) else condition):
        raise ValueError(message)


class Result(NamedTuple):
    """What a result looks like: its token set, and whether it has heads, a width, and token axes at all."""

    tokens: Tokens
    heads: bool = True
    width: bool = True
    single: bool = False


def shaped(
    found: list[tuple[Tensor, Any]],
    results: tuple[Result, ...],
    sizes: dict[str, Any],
    is_flat: bool,
    return_lse: bool,
) -> Any:
    """Results with the axes of their types (tokens as they came), with log-sum-exp if asked for."""
    outputs = []
    for (out, lse), result in zip(found, results):
        if return_lse and lse is None:
            raise ValueError("return_lse: this result is no softmax over keys, so it has no log-sum-exp")
        out = out.to(sizes["input dtype"]) if out.is_floating_point() else out
        out = with_axes(out if result.width else out.squeeze(-1), result, sizes, is_flat)
        outputs.append((out, with_axes(lse, result, sizes, is_flat)) if return_lse else out)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def with_axes(value: Tensor, result: Result, sizes: dict[str, Any], is_flat: bool) -> Tensor:
    """(batch, heads, tokens, ...) with the token axes apart and absent axes left out."""
    if result.single:
        value = value.squeeze(2)
    elif not is_flat and len(result.tokens.axes) > 1:
        value = value.unflatten(2, result.tokens.extents(sizes))
    return value if result.heads else value.squeeze(1)
