"""Bounds on what a spec may ask of the compiler. A spec is untrusted data."""

MAX_SOURCE = 256 * 1024
"""Characters in one file."""
MAX_DEPTH = 100
"""Nesting of brackets and of expressions."""
MAX_NODES = 50_000
"""Nodes of the expressions of one program, after patterns are expanded."""
MAX_CALL_DEPTH = 40
"""Patterns that call patterns."""
MAX_EXTENT = 2**40
"""Tokens along one axis."""
MAX_ERRORS = 20
"""Problems reported for one file."""
MAX_FILES = 50
"""Files reached through `use`."""
