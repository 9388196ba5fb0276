"""Writing files: atomically, and never over what somebody else wrote."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from attndsl.diagnostics import fail
from attndsl.ir.problem import Problem

SEAL = "# Written by attndsl; sha256 of the above: "


@dataclass(frozen=True)
class NotOurs(Problem):
    """The output file exists, and attndsl did not write it, or it was edited since."""

    code: ClassVar[str] = "E603"
    title: ClassVar[str] = "{path} {reason}"
    help: ClassVar[str] = "choose another file with -o, or overwrite it with --force"
    path: str
    reason: str


@dataclass(frozen=True)
class CannotWrite(Problem):
    """The output file cannot be written."""

    code: ClassVar[str] = "E604"
    title: ClassVar[str] = "cannot write {path}: {reason}"
    help: ClassVar[str] = "choose another place with -o"
    path: str
    reason: str


def sealed(text: str) -> str:
    """The text with a last line that shows later whether it was edited."""
    return f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_unedited(text: str) -> bool:
    """Whether a text is as `sealed` wrote it."""
    body, found, _ = text.rpartition(SEAL)
    return bool(found) and sealed(body) == text


def check_ours(path: Path, force: bool) -> None:
    """Refuses to overwrite, before anything is computed.

    Raises:
        AttnError: the file exists and is not an unedited file of attndsl.
    """
    if path.exists() and not force:
        try:
            present = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            present = ""
        if not is_unedited(present):
            edited = SEAL in present
            raise fail(NotOurs(str(path), "was edited after it was written" if edited else "exists already"))


def write_generated(path: Path, text: str, force: bool) -> None:
    """Writes generated source.

    Raises:
        AttnError: the file exists and is not an unedited file of attndsl, or cannot be written.
    """
    check_ours(path, force)
    write_atomically(path, text.encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside the target and renames, so that a reader sees the old file or the new one.

    Raises:
        AttnError: the folder does not exist or may not be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise fail(CannotWrite(str(path), (error.strerror or "unknown reason").lower())) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise fail(CannotWrite(str(path), (error.strerror or "unknown reason").lower())) from None
