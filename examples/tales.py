"""Tales for a small language model: made up from a seed, so there is as much text as one likes and no author.

Every tale invents its people and places, then comes back to them: who owns how many of what after some
trades, who lives where, who was told what by whom (quotes within quotes). Much of a tale is therefore known
from its beginning, and a model gets far only if it looks back. Nothing but the names and numbers is random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

CONSONANTS, VOWELS = "bdfghklmnprstvz", "aeiou"
ENDINGS = "ford", "ham", "wick", "ton", "by"
GOODS = "apples", "coins", "books", "goats", "lamps", "ropes", "bells", "cakes"
MARKS = '"', "'"
MOST = 9
"""The most that somebody owns at first."""


@dataclass
class Person:
    """Somebody in a tale: invented name, home, and belongings."""

    name: str
    town: str
    goods: dict[str, int] = field(default_factory=dict)

    def owns(self, thing: str) -> str:
        """How many of a thing, in words: `no apples`, `1 apple`, `3 apples`."""
        count = self.goods.get(thing, 0)
        return f"{count or 'no'} {thing.removesuffix('s') if count == 1 else thing}"


class Tale:
    """One tale of a few people, told sentence by sentence."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.things = random.sample(GOODS, 2)
        towns = [self.invented(1) + random.choice(ENDINGS) for _ in range(2)]
        self.people = [Person(self.invented(2), random.choice(towns)) for _ in range(3)]

    def invented(self, syllables: int) -> str:
        """A new name."""
        pairs = (self.random.choice(CONSONANTS) + self.random.choice(VOWELS) for _ in range(syllables))
        return ("".join(pairs) + self.random.choice(CONSONANTS)).capitalize()

    def introduction(self, person: Person) -> str:
        """Home and belongings of somebody new."""
        thing = self.random.choice(self.things)
        person.goods[thing] = self.random.randint(2, MOST)
        return f"{person.name} lives in {person.town} and has {person.owns(thing)}."

    def trade(self) -> str:
        """Goods change hands; the new numbers follow from the old ones."""
        giver, taker = self.random.sample(self.people, 2)
        owned = [thing for thing, count in giver.goods.items() if count]
        if not owned:
            return self.question()
        thing = self.random.choice(owned)
        count = self.random.randint(1, giver.goods[thing])
        giver.goods[thing] -= count
        taker.goods[thing] = taker.goods.get(thing, 0) + count
        return (
            f"{giver.name} gives {count} of the {thing} to {taker.name}. "
            f"Now {giver.name} has {giver.owns(thing)} and {taker.name} has {taker.owns(thing)}."
        )

    def fact(self) -> str:
        """Something true at this point, without a full stop."""
        person = self.random.choice(self.people)
        if person.goods and self.random.random() < 0.5:
            return f"{person.name} has {person.owns(self.random.choice(sorted(person.goods)))}"
        return f"{person.name} lives in {person.town}"

    def hearsay(self) -> str:
        """A fact, passed on by one or more people: quotes within quotes."""
        said = f"{self.fact()}."
        for level in reversed(range(self.random.randint(1, 3))):
            said = f"{self.random.choice(self.people).name} says: {MARKS[level % 2]}{said}{MARKS[level % 2]}"
        return said

    def question(self) -> str:
        """A question and its answer."""
        person = self.random.choice(self.people)
        if person.goods and self.random.random() < 0.5:
            thing = self.random.choice(sorted(person.goods))
            return f"How many {thing} has {person.name}? {person.name} has {person.owns(thing)}."
        return f"Where does {person.name} live? In {person.town}."

    def tell(self, length: int) -> str:
        """The whole tale, a paragraph."""
        opening = [self.introduction(person) for person in self.people]
        rest = [self.random.choice((self.trade, self.hearsay, self.question))() for _ in range(length)]
        return " ".join([*opening, *rest]) + "\n"


def tales(seed: int, size: int) -> str:
    """At least `size` characters of tales; the same seed gives the same text on every machine."""
    random, told, length = Random(seed), list[str](), 0
    while length < size:
        told.append(Tale(random).tell(random.randint(5, 9)))
        length += len(told[-1])
    return "".join(told)


if __name__ == "__main__":
    print(tales(0, 2000), end="")
