"""Names in the generated file: PEP 8 forms of the spec's names, never colliding with Python's or ours."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator
from functools import cache
from itertools import count

from attndsl.ir.tokens import TokenSet
from attndsl_codegen.linker import library


def class_name(name: str) -> str:
    """`hunyuan_gna` is `HunyuanGna`."""
    return safe("".join(part[:1].upper() + part[1:] for part in name.split("_") if part) or "Attention")


def function_name(name: str) -> str:
    """The name in snake case, with a trailing underscore where Python or torch would be shadowed."""
    return safe(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


class TokenNames:
    """Constants for the token sets that a file mentions: `x` is `TOKENS_X`; equal names get numbers."""

    def __init__(self) -> None:
        self._names: dict[TokenSet, str] = {}

    def of(self, tokens: TokenSet) -> str:
        """The constant of a set; it is remembered as used."""
        if tokens not in self._names:
            plain = re.sub(r"\W+", "_", tokens.name)
            base = f"TOKENS_{plain.upper()}" if plain == plain.lower() else f"TOKENS_of_{plain}"
            taken = self._names.values()
            self._names[tokens] = next(
                name for n in count(1) if (name := base if n == 1 else f"{base}_{n}") not in taken
            )
        return self._names[tokens]

    @property
    def used(self) -> Iterator[tuple[TokenSet, str]]:
        """The sets that were asked for."""
        yield from self._names.items()


@cache
def of_modules() -> frozenset[str]:
    """What `nn.Module` has already, as it stands in PyTorch 2; torch itself need not be imported."""
    return frozenset(_MODULE.split())


def attribute(name: str) -> str:
    """A name for a parameter of the module."""
    return f"{name}_" if name.rstrip("_") in of_modules() else safe(name)


def safe(name: str) -> str:
    """A name that shadows nothing; different names stay different."""
    base = name.rstrip("_")
    taken = keyword.iskeyword(base) or base in _TAKEN or base in library().definitions
    ours = base.startswith("TOKENS") or base.endswith("Attend")
    return f"{name}_" if taken or ours else name


def spelled(role: str, tokens: TokenSet) -> dict[str, str]:
    """How coordinates are spelled: `i` where there is one axis, `i_h` where there are several."""
    if len(tokens.axes) == 1:
        return {tokens.coordinate(role, tokens.axis_names[0]).name: role}
    return {tokens.coordinate(role, axis).name: f"{role}_{axis}" for axis in tokens.axis_names}


def unused(name: str, taken: set[str]) -> str:
    """The name, with underscores if it is taken; it is taken afterwards."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


_LOCALS = (
    "self at grid offset return_lse return_losses flat found is_flat attend results compute check_sizes "
    "weights losses state"
)
_GLOBALS = "torch nn math time functional Any Tensor Module ARGUMENTS LEARNED RESULTS SPEC PARAMETERS"
_TAKEN = {*dir(builtins), *_LOCALS.split(), *_GLOBALS.split()}
"""What the generated file itself uses."""

_MODULE = (
    "T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double "
    "dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule "
    "half ipu load_state_dict modules mtia named_buffers named_children named_modules named_parameters "
    "parameters register_backward_hook register_buffer register_forward_hook register_forward_pre_hook "
    "register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook "
    "register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook "
    "register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to "
    "to_empty train training type xpu zero_grad losses"
)
