"""Files and what they define: `use`, the standard library, and which names a file sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attndsl.diagnostics import AttnError, Diagnostic, Note, fail
from attndsl.ir.problem import Span
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.limits import MAX_FILES, MAX_SOURCE
from attndsl.language.parse import parse
from attndsl_grammar import patterns

LIBRARY = "patterns.attn"


@dataclass(eq=False)
class Module:
    """A parsed file: its patterns and attentions, and the modules whose patterns it sees."""

    name: str
    text: str
    tree: syntax.File
    patterns: dict[str, syntax.Pattern]
    attentions: dict[str, syntax.Attention]
    uses: list[Module] = field(default_factory=list)

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
        lines = self.text.splitlines()[span.line - 1 : span.end_line]
        if not lines:
            return ""
        lines[-1] = lines[-1][: span.end_column - 1]
        lines[0] = lines[0][span.column - 1 :]
        return " ".join(" ".join(line.split()) for line in lines)


class Loader:
    """Reads files once each and remembers their text for diagnostics."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self._modules: dict[Path, Module] = {}
        self._library: Module | None = None

    def library(self) -> Module:
        """The standard library of patterns."""
        if self._library is None:
            self._library = self._module(patterns(), LIBRARY, library=None)
        return self._library

    def load_text(self, text: str, name: str, folder: Path | None = None) -> Module:
        """The module for a text; `use` looks in `folder` if there is one.

        Raises:
            AttnError: the text, or a file it uses, cannot be read or parsed.
        """
        module = self._module(text, name, self.library())
        for use in (item for item in module.tree.items if isinstance(item, syntax.Use)):
            module.uses.insert(-1, self._use(use, folder))
        return module

    def load_file(self, path: Path, name: str | None = None) -> Module:
        """The module for a file."""
        text = read_source(path)
        return self.load_text(text, name or path.name, path.resolve().parent)

    def _module(self, text: str, name: str, library: Module | None) -> Module:
        self.sources[name] = text
        tree = parse(text, name)
        module = Module(name, text, tree, {}, {}, [library] if library else [])
        clashes: list[Diagnostic] = []
        for item in tree.items:
            match item:
                case syntax.Pattern():
                    _declare(module.patterns, item, clashes)
                case syntax.Attention():
                    _declare(module.attentions, item, clashes)
                case syntax.Use():
                    pass
        if clashes:
            raise AttnError(clashes, self.sources)
        return module

    def _use(self, use: syntax.Use, folder: Path | None) -> Module:
        if use.path == LIBRARY:
            return self.library()
        name = Path(use.path)
        if folder is None or name.name != use.path or name.suffix != ".attn" or name.name.startswith("."):
            raise AttnError([Diagnostic(p.UseOutside(use.path), use.span)], self.sources)
        path = (folder / name).resolve()
        if path.parent != folder:
            raise AttnError([Diagnostic(p.UseOutside(use.path), use.span)], self.sources)
        if path not in self._modules:
            if len(self._modules) >= MAX_FILES:
                raise AttnError([Diagnostic(p.UseOutside(use.path), use.span)], self.sources)
            try:
                text = read_source(path)
            except AttnError as error:
                raise AttnError([Diagnostic(error.diagnostics[0].problem, use.span)], self.sources) from None
            # Entered before its own uses are followed, so that files may use each other.
            self._modules[path] = self._module(text, use.path, self.library())
            module = self._modules[path]
            for inner in (item for item in module.tree.items if isinstance(item, syntax.Use)):
                module.uses.insert(-1, self._use(inner, folder))
        return self._modules[path]


def _declare(
    table: dict[str, syntax.Pattern] | dict[str, syntax.Attention],
    item: syntax.Pattern | syntax.Attention,
    clashes: list[Diagnostic],
) -> None:
    name = item.name.name
    if name in table:
        note = Note("first declared here", table[name].name.span)
        clashes.append(Diagnostic(p.Redeclared(name), item.name.span, (note,)))
    else:
        table[name] = item  # type: ignore[assignment]


def read_source(path: Path) -> str:
    """The text of a spec.

    Raises:
        AttnError: the file is missing, too large, or not UTF-8.
    """
    remedy = "check the path; `attndsl list` names the installed examples"
    try:
        if not path.is_file():
            raise fail(p.CannotRead(str(path), "no such file", remedy))
        if path.stat().st_size > 4 * MAX_SOURCE:
            raise fail(p.FileTooLarge(MAX_SOURCE // 1024))
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise fail(p.CannotRead(str(path), "it is not UTF-8 text", "save it as UTF-8")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path is not usable"
        raise fail(p.CannotRead(str(path), reason.lower(), remedy)) from None


def single_attention(module: Module, name: str | None, known: Mapping[str, object]) -> syntax.Attention:
    """The attention of a module, by name if there are several.

    Raises:
        AttnError: there is none, or several and no name.
    """
    names = ", ".join(known)
    if name is not None and name in module.attentions:
        return module.attentions[name]
    if name is None and len(module.attentions) == 1:
        return next(iter(module.attentions.values()))
    if not module.attentions:
        remedy = "add one: attention name { tokens x[n]; input q, k, v : x; return attend(q, k, v) }"
        raise fail(p.WhichAttention(module.name, 0, "", remedy))
    asked = f", none called {name}" if name else ""
    raise fail(p.WhichAttention(module.name, len(known), asked, f"choose one with --attention: {names}"))
