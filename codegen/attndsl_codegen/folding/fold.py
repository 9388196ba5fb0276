"""Folds the facts of a program into the definitions that it links, until nothing changes any more."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import libcst as cst

from attndsl_codegen.folding.arithmetic import Arithmetic
from attndsl_codegen.folding.attributes import Attributes
from attndsl_codegen.folding.calls import all_uses, parsed, uses
from attndsl_codegen.folding.conditions import Conditions
from attndsl_codegen.folding.docstrings import Docstrings
from attndsl_codegen.folding.empties import Empties
from attndsl_codegen.folding.forwarding import Forwarding, trivial
from attndsl_codegen.folding.known import Facts, Values, is_plain, spelled
from attndsl_codegen.folding.layout import laid_out
from attndsl_codegen.folding.literals import Literals, StarredTargets
from attndsl_codegen.folding.locals import Locals, Unnamed, WrittenOut
from attndsl_codegen.folding.members import Members, settings
from attndsl_codegen.folding.parameters import Dropped, Parameter, droppable, parameters
from attndsl_codegen.folding.tidy import Tidy
from attndsl_codegen.folding.walk import Chain, Rule, rewrite
from attndsl_codegen.linker import Definition, mentioned


def fold(
    linked: list[Definition], own: dict[str, str], facts: Mapping[str, Values]
) -> tuple[list[Definition], dict[str, str]]:
    """Definitions and own texts with the facts folded in; arguments as of `Folding`."""
    folding = Folding({d.name: d.text for d in linked}, dict(own), facts)
    folding.also = {d.name: d.mentions for d in linked if not d.text}
    folding.run()
    return [_folded(d, folding.texts[d.name]) for d in linked if d.name in folding.texts], {
        name: laid_out(text, "") for name, text in folding.own.items()
    }


def _folded(definition: Definition, text: str) -> Definition:
    """The definition with its new text."""
    if text == definition.text:
        return definition
    return replace(definition, text=laid_out(text, definition.text), mentions=frozenset(mentioned(text)))


LOCALS = Chain((Locals(), Attributes(), Tidy()))
ROUNDS = 12
"""More have never been needed; folding is correct after any number of them."""


@lru_cache(2048)
def parse(text: str) -> cst.Module:
    """A text as LibCST reads it."""
    return cst.parse_module(text)


@dataclass
class Folding:
    """Definitions on their way.

    Attributes:
        texts: the definitions of kernels by name.
        own: what is written for the program alone, by name; only its calls and its classes change.
        facts: possible values of expressions of the kernels.
    """

    texts: dict[str, str]
    own: dict[str, str]
    facts: Mapping[str, Values]
    known: dict[str, dict[str, Values]] = field(default_factory=dict)
    trees: dict[str, cst.Module] = field(default_factory=dict)
    also: dict[str, frozenset[str]] = field(default_factory=dict)

    def run(self) -> None:
        """Folds in place."""
        self.named = frozenset(
            name
            for name, values in self.facts.items()
            if name.isidentifier() and len(values) == 1 and is_plain(values[0])
        )
        for name in self.own:
            self._edit(name, Unnamed())
        self.keys = tuple(key.removesuffix("None") for key in self.facts)
        changed = {name for name, text in self.texts.items() if self._concerns(text)}
        for _ in range(ROUNDS):
            for name in changed & self.texts.keys():
                self._simplify(name)
            changed = self._parameters() | self._forwarded() | self._members()
            self._link()
            if not changed:
                break

    def _concerns(self, text: str) -> bool:
        """Whether a definition may mention a fact."""
        return any(key in text for key in self.keys)

    def _text(self, name: str) -> str:
        return self.texts[name] if name in self.texts else self.own[name]

    def _tree(self, name: str) -> cst.Module:
        if name not in self.trees:
            self.trees[name] = parse(self._text(name))
        return self.trees[name]

    def _keep(self, name: str, new: cst.Module) -> None:
        of = self.texts if name in self.texts else self.own
        self.trees[name], of[name] = new, new.code

    def _edit(self, name: str, *rules: Rule) -> bool:
        """Applies rules to a definition; whether it changed."""
        old = self._tree(name)
        new = rewrite(old, Chain(rules))
        if new is not old:
            self._keep(name, new)
        return new is not old

    def _simplify(self, name: str) -> None:
        facts = Facts({**self.facts, **self.known.get(name, {})})
        chain = Chain(
            (
                Literals(facts, self.named),
                StarredTargets(self.named),
                Empties(),
                Arithmetic(),
                Conditions(facts),
            )
        )
        old = self._tree(name)
        new = rewrite(old, chain)
        while (simpler := rewrite(new, LOCALS)) is not new:
            new = rewrite(simpler, chain)
        if new is not old:
            self._keep(name, new)

    def _parameters(self) -> set[str]:
        """Drops parameters; the definitions that changed."""
        total = all_uses([*self.texts.values(), *self.own.values()])
        found = parameters(self.texts, total)
        dropped: dict[str, dict[str, int | None]] = {}
        changed: set[str] = set()
        for parameter in found:
            if parameter.values is not None and parameter.read and not parameter.is_constant:
                values = {parameter.name: parameter.values}
                if self.known.get(parameter.owner, {}).get(parameter.name) != parameter.values:
                    self.known.setdefault(parameter.owner, {}).update(values)
                    changed.add(parameter.owner)
            if (parameter.is_constant or not parameter.read) and droppable(
                parameter, total.calls[parameter.owner]
            ):
                dropped.setdefault(parameter.owner, {})[parameter.name] = parameter.at
                if parameter.is_constant and parameter.read:
                    self._write_out(parameter)
                changed.add(parameter.owner)
        for name, text in self.texts.items():
            named = {p: at for at, p in enumerate(_parameter_names(text)) if p in self.named}
            if named:
                dropped.setdefault(name, {}).update(named)
        return changed | self._drop(dropped)

    def _write_out(self, parameter: Parameter) -> None:
        assert parameter.values is not None
        self._edit(parameter.owner, WrittenOut({parameter.name: spelled(parameter.values[0])}))

    def _drop(self, dropped: dict[str, dict[str, int | None]]) -> set[str]:
        """Edits definitions and calls; the definitions that changed."""
        if not dropped:
            return set()
        rule = Dropped(dropped)
        changed: set[str] = set()
        for name in [*self.texts, *self.own]:
            text = self._text(name)
            if not rule.touches(name, text):
                continue
            rules: list[Rule] = [rule]
            if name in dropped:
                rules.append(Docstrings(frozenset(dropped[name])))
            if self._edit(name, *rules):
                changed.add(name)
        return changed

    def _forwarded(self) -> set[str]:
        total = all_uses([*self.texts.values(), *self.own.values()])
        functions = trivial(self.texts, total)
        rule = Forwarding(functions)
        return {n for n in [*self.texts, *self.own] if rule.touches(self._text(n)) and self._edit(n, rule)}

    def _members(self) -> set[str]:
        """Drops members of classes; the definitions that changed."""
        read = frozenset(all_uses([*self.texts.values(), *self.own.values()]).members)
        changed = {
            name
            for name in [*self.texts, *self.own]
            if "class " in (text := self._text(name))
            and self._edit(name, Members(read, settings(text), methods=name in self.texts))
        }
        return changed & self.texts.keys()

    def _link(self) -> None:
        """Drops definitions that nothing mentions."""
        stack = list(itertools.chain.from_iterable(_mentions(text) for text in self.own.values()))
        wanted: set[str] = set()
        while stack:
            name = stack.pop()
            if name in self.texts and name not in wanted:
                wanted.add(name)
                stack.extend(_mentions(self.texts[name]) | self.also.get(name, frozenset()))
        self.texts = {name: text for name, text in self.texts.items() if name in wanted}


def _mentions(text: str) -> set[str]:
    found = uses(text)
    return found.others | found.calls.keys()


def _parameter_names(text: str) -> list[str]:
    import ast

    match parsed(text).body:
        case [ast.FunctionDef(args=arguments)]:
            return [a.arg for a in arguments.args]
    return []
