"""Problems with a place: the exception users see and how it prints."""

from attndsl.diagnostics.diagnostic import Diagnostic, Note
from attndsl.diagnostics.error import AttnError, fail
from attndsl.diagnostics.render import render

__all__ = ["AttnError", "Diagnostic", "Note", "fail", "render"]
