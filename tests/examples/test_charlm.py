"""The language model of examples/charlm.py: training, codebooks in training and evaluation, saved states."""

import importlib
import re
import sys

import pytest
import torch

import attndsl
from tests.benchmarks.test_scripts import ROOT, run

HEADS, WIDTH, CODES = 4, 32, 16


@pytest.fixture(scope="module")
def charlm():
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module("charlm")
    finally:
        sys.path.remove(str(ROOT / "examples"))


@pytest.fixture(scope="module")
def quantised():
    return attndsl.compile(attndsl.load("transformer_vq", codes=CODES, block=32))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def training(charlm, quantised):
    return make(charlm, quantised)


def make(charlm, quantised, seed=0):
    return charlm.Training(lambda: quantised(heads=HEADS, dim=WIDTH), 20, seed, 20, 2)


def text(length=2000, seed=0):
    return torch.randint(20, (length,), generator=torch.Generator().manual_seed(seed))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_both_models_learn(tmp_path):
    """A model that learns nothing stays at the entropy of the characters' frequencies, or above."""
    plot, page = tmp_path / "curves.png", tmp_path / "page.md"
    printed = run("examples/charlm.py", "--quick", "--plot", str(plot), "--report", str(page))
    unigram = float(re.search(r"([\d.]+) bits each by frequency alone", printed)[1])
    assert 4 < unigram < 5
    for name in ("codebook", "dense"):
        found = re.search(rf"^{name} +([\d.]+) +[\d.]+ +\d+$", printed, re.MULTILINE)
        assert found, printed
        assert float(found[1]) < 0.95 * unigram
        assert f"| {name} | {found[1]} |" in page.read_text(encoding="utf-8")
    assert len(re.findall(r"^[123] +\d+% +[\d.]+ +64$", printed, re.MULTILINE)) == 3
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_seed_gives_the_same_training(charlm, quantised):
    runs = [make(charlm, quantised, seed) for seed in (3, 3, 4)]
    for training in runs:
        training.learn(text(), 2, lambda: None)
        training.test(text(600, seed=1))
    first, again, other = (training.curves for training in runs)
    assert first.train == again.train
    assert first.held_out == again.held_out
    assert first.train != other.train


def test_codebooks_follow_the_keys_in_training_only(training):
    def books():
        return {name: tensor for name, tensor in state(training.model).items() if ".core." in name}

    before = books()
    assert len(before) == 6  # codewords and weights in three layers
    training.test(text(600))
    assert all(torch.equal(before[name], now) for name, now in books().items())
    training.learn(text(), 1, lambda: None)
    assert not any(torch.equal(before[name], now) for name, now in books().items())
    assert all(float(weight.sum()) > 0 for name, weight in books().items() if name.endswith("weight"))


def test_saved_models_go_on_as_they_were(charlm, quantised, training, tmp_path):
    training.learn(text(), 2, lambda: None)
    torch.save(training.model.state_dict(), tmp_path / "model.pt")
    other = make(charlm, quantised, seed=1)
    other.model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert other.test(text(600)) == training.test(text(600))
    other.model.train()
    training.model.train()
    for model in (other.model, training.model):
        model(text(256).view(1, -1))
    assert all(torch.equal(a, b) for a, b in zip(state(other.model).values(), state(training.model).values()))


def test_keys_learn_through_their_codewords(training):
    training.model.train()
    rows = text(512).view(2, -1)
    training.model(rows).logsumexp(-1).sum().backward()
    for attend in training.model.attends:
        q, k, v = attend.to_qkv.weight.grad.chunk(3)
        assert min(float(grad.norm()) for grad in (q, k, v)) > 1e-6
        assert not attend.core.c_code.requires_grad
    training.optimizer.zero_grad()
    training.model(rows)
    training.model.commitment.backward()
    for attend in training.model.attends:
        q, k, v = attend.to_qkv.weight.grad.chunk(3)
        assert float(k.norm()) > 1e-6
    assert float(v.norm()) == 0  # nothing follows the last layer's values


def test_later_characters_change_nothing_before_them(training):
    training.model.eval()
    rows = text(256).view(1, -1)
    changed = torch.cat([rows[:, :200], (rows[:, 200:] + 1) % 20], 1)
    with torch.no_grad():
        one, other = training.model(rows), training.model(changed)
    torch.testing.assert_close(one[:, :200], other[:, :200])
    assert not torch.allclose(one[:, 200:], other[:, 200:])


def test_usage_counts_codewords(charlm, training):
    even, one = torch.full((HEADS, CODES), 3.0), torch.zeros(HEADS, CODES)
    one[:, 5] = 7.0
    first, second, _ = training.model.attends
    first.core.c_weight.copy_(even)
    second.core.c_weight.copy_(one)
    found = charlm.usage(training.model)
    assert (found[0].used, found[0].spread) == (1.0, pytest.approx(CODES))
    assert (found[1].used, found[1].spread) == (1 / CODES, pytest.approx(1.0))


def test_unigram_entropy(charlm):
    assert charlm.unigram_bits("abab") == 1.0
    assert charlm.unigram_bits("aabc") == 1.5


def test_tales_are_true(charlm):
    """Every number in a tale follows from the numbers before it, by an account kept here."""
    told = charlm.tales(7, 20_000)
    assert told == charlm.tales(7, 20_000)
    assert told != charlm.tales(8, 20_000)
    trades = 0
    for tale in told.splitlines():
        owned: dict[tuple[str, str], int] = {}
        pattern = (
            r"(?P<who>\w+) lives in \w+ and has (?P<n>\d+) (?P<thing>[a-z]+)"
            r"|(?P<giver>\w+) gives (?P<k>\d+) of the (?P<what>[a-z]+) to (?P<taker>\w+)"
            r"|(?P<owner>\w+) has (?P<count>no|\d+) (?P<goods>[a-z]+)"
        )
        for found in re.finditer(pattern, tale):
            if found["who"]:
                owned[found["who"], plural(found["thing"])] = int(found["n"])
            elif found["giver"]:
                what, trades = found["what"], trades + 1
                owned[found["giver"], what] -= int(found["k"])
                owned[found["taker"], what] = owned.get((found["taker"], what), 0) + int(found["k"])
            else:
                count = 0 if found["count"] == "no" else int(found["count"])
                assert owned.get((found["owner"], plural(found["goods"])), 0) == count, tale
        assert tale.count('"') % 2 == tale.count("'") % 2 == 0
    assert trades > 20


def plural(thing):
    return thing if thing.endswith("s") else f"{thing}s"


def test_too_few_steps_are_refused(charlm, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["charlm.py", "--steps", "10"])
    with pytest.raises(SystemExit):
        charlm.parse()
    assert "at least 20 steps" in capsys.readouterr().err
