"""Which argument of a call belongs to which parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from attndsl.diagnostics import Note, fail
from attndsl.language import problems as p
from attndsl.language import syntax
from attndsl.language.evaluator import each
from attndsl.language.vocabulary import suggest


@dataclass(frozen=True)
class Signature:
    """What can be called, and with what.

    Attributes:
        callee: how messages speak of it.
        positional: parameters that may be given by position, in order.
        named: parameters that may be given by name.
        remedy: what to do about too many arguments.
    """

    callee: str
    positional: Sequence[str]
    named: Sequence[str]
    remedy: str

    def match(
        self, given: Sequence[syntax.Argument], is_known: Callable[[str], bool]
    ) -> dict[str, syntax.Argument]:
        """The arguments by parameter.

        Args:
            is_known: whether a name means something where the call stands.

        Raises:
            AttnError: too many, unknown or repeated arguments.
        """
        found: dict[str, syntax.Argument] = {}
        positions = count()

        def place(argument: syntax.Argument) -> None:
            self._misspelt_name(argument, is_known)
            name = argument.name
            if name is None:
                position = next(positions)
                if position > len(self.positional):
                    return  # one is enough to say that there are too many
                if position == len(self.positional):
                    self._too_many(given, argument)
                name = self.positional[position]
            elif name not in self.named:
                remedy = suggest(name, self.named)
                raise fail(p.UnknownArgument(self.callee, name, remedy), argument.span)
            if name in found:
                note = Note("given before here", found[name].span)
                raise fail(p.RepeatedArgument(name), argument.span, note)
            found[name] = argument

        each(place, given)
        return found

    def _misspelt_name(self, argument: syntax.Argument, is_known: Callable[[str], bool]) -> None:
        """`where == causal` and `where: causal` are meant as named arguments."""
        match argument:
            case syntax.Argument(
                name=None,
                value=syntax.Comparison(operands=(syntax.Name(name=name), *_), operators=("==", *_))
                | syntax.Lift(axis=syntax.Name(name=name)),
            ) if name in self.named and not is_known(name):
                sign = "`:`" if isinstance(argument.value, syntax.Lift) else "`==`"
                remedy = f"to name an argument write: {name} = ..."
                raise fail(p.Misplaced(sign, f"behind the parameter `{name}`", remedy), argument.span)

    def _too_many(self, given: Sequence[syntax.Argument], argument: syntax.Argument) -> None:
        positional = sum(other.name is None for other in given)
        expected = counted(len(self.positional), "positional argument")
        raise fail(p.TooManyArguments(self.callee, expected, positional, self.remedy), argument.span)


def counted(number: int, noun: str) -> str:
    """E.g. `2 arguments`, `no argument`."""
    return f"{number or 'no'} {noun}{'' if number in (0, 1) else 's'}"
