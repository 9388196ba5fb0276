"""Writes pictures to files, over pictures that attndsl drew earlier and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attndsl.diagnostics import fail
from attndsl.files import CannotWrite, NotOurs, write_atomically
from attndsl.picture.problems import UnknownFormat
from attndsl.picture.scene import Scene

FORMATS = (".png", ".svg")
HEADER = 4096
"""Bytes at the beginning of a file that hold the mark."""
PNG_START, PNG_MARK = b"\x89PNG\r\n\x1a\n", b"tEXtSoftware\0attndsl show"
SVG_START, SVG_MARK = b"<?xml", b"<!-- drawn by attndsl show -->"


def check_outputs(outputs: Sequence[str], force: bool) -> list[Path]:
    """The files to write, before anything is computed.

    Raises:
        AttnError: one is not a picture by its name, or would replace something that attndsl did not draw.
    """
    paths = [Path(output) for output in outputs]
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise fail(UnknownFormat(str(path)))
        if path.is_dir():
            raise fail(CannotWrite(str(path), "it is a folder"))
        if path.exists() and not force and not is_ours(path):
            raise fail(NotOurs(str(path), "exists, and attndsl did not draw it"))
    return paths


def is_ours(path: Path) -> bool:
    """Whether a file is a picture that attndsl drew: PNG and SVG files both bear a mark."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER)
    except OSError:
        return False
    marks = (PNG_START, PNG_MARK), (SVG_START, SVG_MARK)
    return any(head.startswith(start) and mark in head for start, mark in marks)


def write_scene(scene: Scene, path: Path) -> None:
    """Draws into a file, in the format that its name asks for.

    Raises:
        AttnError: the file cannot be written.
    """
    if path.suffix.lower() == ".png":
        from attndsl.picture.png import png

        write_atomically(path, png(scene))
        return
    from attndsl.picture.svg import svg

    write_atomically(path, svg(scene))
