"""Broken specs end in an AttnError that can be printed, and in nothing else."""

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attndsl.diagnostics import AttnError
from attndsl.ir.ops import OPS
from attndsl.language import load_text
from tests.language.seeds import SEEDS

ROUNDS, ROUND = 20, 1000
TOKEN = re.compile(r"\s+|\w+|[<>=!*/]{2}|.", re.DOTALL)
CHARACTERS = "abijhnsxqkv_0129.,:;=()[]{}<>!+-*/%#\"'&|^~@?\\ \n\t\r\0\x7f\u00a0\u202eλ≤−é🙂"
NAMES = (
    "i j s head heads extent x q k v n h w doc gate near causal window dilated_window min clamp first last"
)
OPERATORS = " ".join(OPS)
ARGUMENTS = "over by axis to on at of width where score times scale normalize outside decay classes"
MODIFIERS = "scalar int bool flat shared none linear sigmoid zero clamp code label hat lse"
KEYWORDS = (
    "use pattern attention tokens input learn tune loss in require return and or not if else true false"
)
SIGNS = "( ) [ ] { } = == <= < ! , ; : . + - * / // % ** #"
NUMBERS = "0 1 7 -1 2.5 1e3 0.0 9**9**9 4611686018427387904 99999999999999999999 1e999 __class__"
PHRASES = (
    'use "other.attn"|use "../x.attn"|h: |where = |attend(q, k, v)|i // j|label[i]|x.h|i.0|\n|over = x|by = i // 2'
    "|q.width|codebook(k, 4)|sum(v, over = width)|gather(q, x, i)|project(q, 2)|learn t : [4, n] scalar|z.lse|(q, k)"
)
WORDS = [
    *f"{NAMES} {OPERATORS} {ARGUMENTS} {MODIFIERS} {KEYWORDS} {SIGNS} {NUMBERS}".split(" "),
    *PHRASES.split("|"),
]


def mutated(dice):
    """A seed with one to four changes."""
    text = dice.choice(SEEDS)
    for _ in range(dice.randint(1, 4)):
        text = dice.choice(MUTATIONS)(dice, text)
    return text


def flip(dice, text):
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.choice(["", dice.choice(CHARACTERS)]) + text[at + dice.randint(0, 1) :]


def change_token(dice, text):
    tokens = TOKEN.findall(text)
    at = dice.randrange(len(tokens) or 1)
    change = dice.randint(0, 3)
    tokens[at : at + 1] = [
        [],
        tokens[at : at + 1] * 2,
        [dice.choice(WORDS)],
        [*tokens[at : at + 1], " ", dice.choice(WORDS), " "],
    ][change]
    return "".join(tokens)


def swap_tokens(dice, text):
    tokens = TOKEN.findall(text) or [" "]
    a, b = dice.randrange(len(tokens)), dice.randrange(len(tokens))
    tokens[a], tokens[b] = tokens[b], tokens[a]
    return "".join(tokens)


def change_lines(dice, text):
    lines = text.split("\n")
    a, b = dice.randrange(len(lines)), dice.randrange(len(lines))
    change = dice.randint(0, 3)
    if change == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif change == 1:
        lines.insert(a, lines[b])
    elif change == 2:
        del lines[a]
    else:
        lines.insert(a, dice.choice(dice.choice(SEEDS).split("\n")))
    return "\n".join(lines)


def splice(dice, text):
    other = dice.choice(SEEDS)
    start = dice.randrange(len(other))
    at = dice.randrange(len(text) + 1)
    return text[:at] + other[start : start + dice.randint(1, 40)] + text[at:]


MUTATIONS = (flip, flip, change_token, change_token, change_token, swap_tokens, change_lines, splice)


def check(text):
    """Loads a text, in less than a second; returns whether it was refused.

    What was slow is tried again: the collector of garbage may have come round.
    """
    started = time.process_time()
    refused = load(text)
    if time.process_time() - started >= 1:
        started = time.process_time()
        load(text)
        assert time.process_time() - started < 1, text
    return refused


def load(text):
    """Loads a text; returns whether it was refused, with a proper error."""
    refusal: AttnError | None = None
    try:
        load_text(text)
    except AttnError as error:
        refusal = error
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{text}") from error
    if refusal is not None:
        assert str(refusal).startswith("error[E"), text
        assert all(diagnostic.to_dict()["message"] for diagnostic in refusal.diagnostics)
    return refusal is not None


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_seeds_are_valid(seed):
    assert not check(seed)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_mutated_specs(round_number):
    dice = random.Random(round_number)
    refused = sum(check(mutated(dice)) for _ in range(ROUND))
    assert ROUND // 2 < refused < ROUND


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=200))
def test_any_text(text):
    check(text)


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.sampled_from([*WORDS, *CHARACTERS]), max_size=40))
def test_any_words(words):
    check(f"attention a {{ tokens x[n]; input q, k, v : x\n{' '.join(words)}\n return attend(q, k, v) }}")
