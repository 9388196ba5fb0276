"""The language as data: its grammar and its standard library of patterns."""

from importlib.resources import files


def grammar() -> str:
    """The text of the Lark grammar."""
    return files(__name__).joinpath("attn.lark").read_text(encoding="utf-8")


def patterns() -> str:
    """The text of the standard library of patterns."""
    return files(__name__).joinpath("patterns.attn").read_text(encoding="utf-8")


def tables() -> str:
    """The parser's tables for this grammar, as JSON; empty while there are none."""
    path = files(__name__).joinpath("attn.tables.json")
    return path.read_text(encoding="utf-8") if path.is_file() else ""
