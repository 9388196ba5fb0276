"""Names in the generated file: PEP 8 forms of the spec's names, never colliding with Python's or ours."""

from __future__ import annotations

import builtins
import keyword
import re

from attndsl.ir.tokens import TokenSet
from attndsl_codegen.linker import library


def class_name(name: str) -> str:
    """`hunyuan_gna` is `HunyuanGna`."""
    return safe("".join(part[:1].upper() + part[1:] for part in name.split("_") if part) or "Attention")


def function_name(name: str) -> str:
    """The name in snake case, with a trailing underscore where Python or torch would be shadowed."""
    return safe(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def tokens_name(tokens: TokenSet) -> str:
    """The constant for a token set: `x` is `TOKENS_X`."""
    name = tokens.name
    return f"TOKENS_{name.upper()}" if name == name.lower() else f"TOKENS_of_{name}"


def safe(name: str) -> str:
    """A name that shadows nothing; different names stay different."""
    base = name.rstrip("_")
    taken = keyword.iskeyword(base) or base in _TAKEN or base in library().definitions
    ours = base.startswith("TOKENS") or base.endswith("Attend")
    return f"{name}_" if taken or ours else name


_LOCALS = "self at grid return_lse flat found is_flat attend results check_sizes"
_GLOBALS = "torch nn math time Any Tensor Module ARGUMENTS SPEC PARAMETERS"
_TAKEN = {*dir(builtins), *_LOCALS.split(), *_GLOBALS.split()}
"""What the generated file itself uses."""
