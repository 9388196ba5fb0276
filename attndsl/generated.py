"""Imports generated source as a module, such that Triton, tracebacks and `inspect` find its lines."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
from importlib.abc import InspectLoader
from types import CodeType, ModuleType


class _GeneratedSource(InspectLoader):
    """Imports a module from its text; tracebacks and `inspect` find the lines through it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        """The compiled text, under a name by which its lines are found; Triton reads kernels that way."""
        name = f"<{fullname}>"
        linecache.cache[name] = (len(self._text), None, self._text.splitlines(keepends=True), name)
        return self.source_to_code(self._text, name)

    def get_source(self, fullname: str) -> str:
        """The text, for tracebacks."""
        return self._text


def import_source(text: str, name: str) -> ModuleType:
    """Imports generated source as a module of its own."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_loader(f"attndsl_generated_{name}_{digest}", _GeneratedSource(text))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
