"""attndsl: a small declarative language for attention.

program = attndsl.load("gna.attn")
Module = attndsl.compile(program)          # an nn.Module
print(attndsl.source(program))             # the file behind it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AttnError", "Program", "compile", "load", "mask", "oracle", "simulate", "source"]

if TYPE_CHECKING:
    from attndsl.api import compile, load, mask, oracle, simulate, source
    from attndsl.diagnostics import AttnError
    from attndsl.ir.program import Program

_HOMES = {"AttnError": "attndsl.diagnostics", "Program": "attndsl.ir.program"}


def __getattr__(name: str) -> Any:
    """Loads the parts on first use, so that `import attndsl` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'attndsl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "attndsl.api")), name)
