"""Files and what they define: `use`, the standard library, and which names a file sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TypeVar

from attndsl.diagnostics import AttnError, Diagnostic, Note, fail
from attndsl.ir.problem import Problem, Span
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.limits import MAX_FILES, MAX_SOURCE
from attndsl.language.parse import parse
from attndsl.language.vocabulary import meaning
from attndsl_grammar import patterns

LIBRARY = "library/patterns.attn"
"""The standard library's name in messages: no file in a spec's own folder is called so."""


@dataclass(eq=False)
class Module:
    """A parsed file: its patterns and attentions, and the modules whose patterns it sees.

    Attributes:
        problems: what is wrong with its declarations.
        broken: patterns with problems of their own; calls of them are not complained about again.
    """

    name: str
    text: str
    tree: syntax.File
    patterns: dict[str, syntax.Pattern] = field(default_factory=dict)
    attentions: dict[str, syntax.Attention] = field(default_factory=dict)
    uses: list[Module] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    @property
    def is_library(self) -> bool:
        """Whether this is the standard library."""
        return self.name == LIBRARY

    def find(self, name: str) -> tuple[syntax.Pattern, Module] | None:
        """A pattern by name: this file's own first, then those of used files in order."""
        if name in self.patterns:
            return self.patterns[name], self
        for module in self.uses:
            if name in module.patterns:
                return module.patterns[name], module
        return None

    def pattern_names(self) -> Iterator[str]:
        """Every pattern name that this file sees."""
        yield from self.patterns
        for module in self.uses:
            yield from module.patterns

    def excerpt(self, span: Span) -> str:
        """The source text of a span, on one line."""
        lines = self.text.split("\n")[span.line - 1 : span.end_line]
        if not lines:
            return ""
        lines[-1] = lines[-1][: span.end_column - 1]
        lines[0] = lines[0][span.column - 1 :]
        return " ".join(" ".join(line.split()) for line in lines)


_Item = TypeVar("_Item", syntax.Pattern, syntax.Attention)


@cache
def library() -> Module:
    """The standard library of patterns."""
    return _module(patterns(), LIBRARY)


class Loader:
    """Reads files once each and remembers their text for diagnostics."""

    def __init__(self) -> None:
        self.modules: list[Module] = []
        self.sources = {LIBRARY: library().text}
        self._known: dict[Path, Module] = {}

    def library(self) -> Module:
        """The standard library of patterns, which every file sees."""
        return library()

    def load_text(self, text: str, name: str, path: Path | None = None) -> Module:
        """The module for a text; `use` looks in the folder of `path` if there is one.

        Raises:
            AttnError: the text, or a file it uses, cannot be read or parsed.
        """
        text = text.removeprefix("\ufeff")
        self.sources[name] = text
        module = _module(text, name)
        self.modules.append(module)
        if path is not None:
            self._known[path] = module
        self._follow_uses(module, path.parent if path else None)
        return module

    def load_file(self, path: Path) -> Module:
        """The module for a file."""
        return self.load_text(read_source(path), path.name, path.resolve())

    def _follow_uses(self, module: Module, folder: Path | None) -> None:
        found: list[Diagnostic] = []
        for use in (item for item in module.tree.items if isinstance(item, syntax.Use)):
            try:
                used = self._use(use, folder)
            except AttnError as error:
                found += error.diagnostics
            else:
                found += _clashes(module, used, use)
                module.uses.append(used)
        module.uses.append(library())
        if found:
            raise AttnError(found)

    def _use(self, use: syntax.Use, folder: Path | None) -> Module:
        name = Path(use.path)
        if folder is None:
            raise fail(p.UseOutside(use.path, "this text is in no folder"), use.span)
        if not use.path:
            raise fail(p.UseOutside(use.path, "no file name"), use.span)
        if name.name != use.path or name.name.startswith("."):
            raise fail(p.UseOutside(use.path, "not a file of this folder"), use.span)
        if name.suffix != ".attn":
            raise fail(p.UseOutside(use.path, "its name does not end in .attn"), use.span)
        path = _resolve(folder / name)
        if path is None or path.parent != folder:
            raise fail(p.UseOutside(use.path, "a link that leads out of this folder"), use.span)
        if path not in self._known:
            if len(self._known) >= MAX_FILES:
                raise fail(p.UseOutside(use.path, f"more than {MAX_FILES} files"), use.span)
            try:
                text = read_source(path)
            except AttnError as error:
                raise fail(_missing(error.diagnostics[0].problem, use.path, folder), use.span) from None
            # Known before its own uses are followed, so that files may use each other.
            self.load_text(text, use.path, path)
        return self._known[path]


def _module(text: str, name: str) -> Module:
    module = Module(name, text, parse(text, name))
    for item in module.tree.items:
        match item:
            case syntax.Pattern():
                _declare(module, module.patterns, item)
            case syntax.Attention():
                _declare(module, module.attentions, item)
            case syntax.Use():
                pass
    return module


def _declare(module: Module, table: dict[str, _Item], item: _Item) -> None:
    name = item.name.name
    if isinstance(item, syntax.Pattern) and meaning(name):
        module.problems.append(Diagnostic(p.Reserved(name, meaning(name)), item.name.span))
        return
    first = table.setdefault(name, item)
    if first is not item:
        note = Note("first declared here", first.name.span)
        module.problems.append(Diagnostic(p.Redeclared(name), item.name.span, (note,)))


def _clashes(module: Module, used: Module, use: syntax.Use) -> Iterator[Diagnostic]:
    """Patterns that two used files define: which one is meant?"""
    for name in (name for name in used.patterns if name not in module.patterns):
        for earlier in module.uses:
            if earlier is not used and name in earlier.patterns:
                notes = [Note("declared here", m.patterns[name].name.span) for m in (earlier, used)]
                problem = p.Redeclared(name, "both files define it", "rename one, or define it in this file")
                yield Diagnostic(problem, use.span, tuple(notes))


def _resolve(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return None


def _missing(problem: Problem, name: str, folder: Path) -> Problem:
    """The same problem in terms of what `use` says."""
    match problem:
        case p.CannotRead(reason=reason, remedy=remedy):
            close = get_close_matches(
                Path(name).stem, sorted(path.stem for path in folder.glob("*.attn")), n=1, cutoff=0.75
            )
            return p.CannotRead(name, reason, f"did you mean `{close[0]}.attn`?" if close else remedy)
        case p.FileTooLarge(limit=limit):
            return p.FileTooLarge(name, limit)
        case _:
            return problem


def read_source(path: Path) -> str:
    """The text of a spec.

    Raises:
        AttnError: the file is missing, too large, or not UTF-8.
    """
    remedy = "check the path"
    try:
        if not path.is_file():
            reason = "it is a folder" if path.is_dir() else "no such file"
            raise fail(p.CannotRead(str(path), reason, remedy))
        if path.stat().st_size > 4 * MAX_SOURCE:
            raise fail(p.FileTooLarge(str(path), MAX_SOURCE // 1024))
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise fail(p.CannotRead(str(path), "it is not UTF-8 text", "save it as UTF-8")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path is not usable"
        raise fail(p.CannotRead(str(path), reason.lower(), remedy)) from None


def single_attention(module: Module, name: str | None) -> syntax.Attention:
    """The attention of a module, by name if there are several.

    Raises:
        AttnError: there is none, or several and no name.
    """
    known = module.attentions
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    if not known:
        remedy = "add one: attention name { tokens x[n]; input q, k, v : x; return attend(q, k, v) }"
        raise fail(p.WhichAttention(module.name, "defines no attention", remedy))
    choices = ", ".join(known)
    if name is None:
        what, remedy = f"defines {len(known)} attentions", f"choose one with --attention: {choices}"
    else:
        close = get_close_matches(name, known, n=1)
        what, remedy = (
            f"defines no attention `{name}`",
            f"did you mean `{close[0]}`?" if close else f"it defines: {choices}",
        )
    raise fail(p.WhichAttention(module.name, what, remedy))
