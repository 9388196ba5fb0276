"""Bounds on what a spec may ask of the compiler. A spec is untrusted data."""

MAX_SOURCE = 64 * 1024
"""Characters in one file."""
MAX_NAME = 64
"""Characters of a name."""
MAX_DEPTH = 64
"""Nesting of brackets and expressions, through all patterns that are being expanded."""
MAX_NODES = 10_000
"""Operations in the expressions of one attention, after patterns are expanded."""
MAX_HEADS = 2**16
"""Heads of an attention."""
MAX_WIDTH = 2**20
"""Width of a tensor."""
MAX_ERRORS = 20
"""Problems reported for one file."""
MAX_FILES = 50
"""Files reached through `use`."""
