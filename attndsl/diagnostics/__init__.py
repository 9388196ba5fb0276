"""Problems with a place: the exception users see and how it prints."""

from attndsl.diagnostics.diagnostic import AttnError, Diagnostic, Note, fail
from attndsl.diagnostics.render import render

__all__ = ["AttnError", "Diagnostic", "Note", "fail", "render"]
