"""Selections in generated code: choices among heads, channels and tokens compile; choices among pairs say so."""

import pytest
import torch

import attndsl
from attndsl.diagnostics import AttnError
from attndsl.exact import oracle
from attndsl.language import load_text
from attndsl.verify import Case, Verifier

HEADS = """
attention moh(count = 2) {
  tokens x[n]
  input q, k, v : x
  input router : x scalar
  r = softmax(router, over = heads)
  keep = top(r, count, over = heads)
  gate = count * r / sum(r if keep else 0, over = heads) if keep else 0
  return attend(q, k, v) * gate
}
"""
TOKENS = """
attention few(count = 5) {
  tokens x[h, w]
  input q, k, v : x
  input f, g : x scalar
  keep = top(f, count, where = i.h % 2 == 0, always = i.w < 2)
  more = mass(exp(minmax(g, over = w)), 0.3, over = w, always = head < 2)
  wide = top(q, 3, over = width)
  return attend(q if wide else 0, k, v, where = keep[j] or more[j] or i.h == j.h)
}
"""
SORTED = """
attention blocks(b = 4) {
  tokens x[n]
  input q, k, v : x
  input hq, hk : x scalar
  rq = rank(hq)
  rk = rank(hk)
  return attend(q, k, v, where = rq[i] // b == rk[j] // b)
}
"""
PRODUCTS = """
attention products {
  tokens x[n]
  tokens c[n // 2 + 1]
  input q, k, v, u : x
  m = mean(u, by = i // 2, c)
  near = attend(q, k, v, where = causal, bias = dot(u[i], k[j]) / 8 + dot(q[max(i - 1, 0)], m[j // 2]))
  return near, attend(v = v, score = exp(dot(q[i], u[j]) / 8), normalize = linear, on = x)
}
"""
PAIRS = """attention chosen(w = 4) {
  tokens x[n]
  tokens p[4]
  input q, k, v : x
  input f : x scalar
  keep = top(f[j], w, over = j, where = causal)
  m = weights(gather(q, p, i), k)
  often = sum(m, by = j)
  return attend(q, k, v, where = keep, bias = often[j])
}
"""


@pytest.mark.parametrize(
    "text", [HEADS, TOKENS, SORTED, PRODUCTS], ids=["heads", "tokens", "sorted", "products"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generated_code_agrees_with_the_definition(text, dtype):
    """Choices in two steps: each within tolerance of the best, and the rest exact given the choice."""
    program = load_text(text)
    sizes = {"h": 5, "w": 7} if "h" in program.symbols else {"n": 23}
    outcome = Verifier(program).run(Case({**sizes, "heads": 4}, dtype=dtype))
    assert outcome.passed, outcome


def test_a_wrong_choice_is_found_out():
    """The regret of a choice that is not the best is the distance to it; of too many entries, infinite."""
    program = load_text(HEADS)
    tensors = {name: torch.randn(1, 4, 3, 2) for name in "qkv"}
    router = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1).expand(1, 4, 3)
    definition = oracle(program)
    best = definition.run({**tensors, "router": router}).values["keep"]
    regret = [
        definition.run({**tensors, "router": router}, choices={"keep": choice}).regrets["keep"]
        for choice in (best, best.roll(-1, 1), torch.ones_like(best))
    ]
    assert regret[0] == 0
    assert 0.1 < regret[1] < 1
    assert regret[2] == float("inf")


def test_a_wrong_rank_and_a_wrong_share_are_found_out():
    program = load_text(SORTED)
    tensors = {name: torch.randn(1, 2, 6, 2) for name in "qkv"} | {
        n: torch.randn(1, 2, 6) for n in ("hq", "hk")
    }
    rank = oracle(program).run(tensors).values["rq"]
    for choice, wrong in ((rank, False), (5 - rank, True), (rank * 0, True)):
        regrets = oracle(program).run(tensors, choices={"rq": choice}).regrets
        assert (regrets["rq"] > 0.1) == wrong
    program = load_text(TOKENS)
    names = {name: torch.randn(1, 4, 4, 6, 2) for name in "qkv"} | {n: torch.randn(1, 4, 4, 6) for n in "fg"}
    more = oracle(program).run(names).values["more"]
    for choice, wrong in ((more, False), (more | True, True), (more & False, True)):
        assert (oracle(program).run(names, choices={"more": choice}).regrets["more"] > 0.1) == wrong


def test_choices_among_pairs_are_refused():
    program = load_text(PAIRS, "pairs.attn")
    with pytest.raises(AttnError) as caught:
        attndsl.source(program)
    assert [d.problem.code for d in caught.value.diagnostics] == ["E702", "E702"]
    assert (
        str(caught.value)
        == """\
error[E702]: selections run in the exact definition only in this version
 --> pairs.attn:6:10
  |
6 |   keep = top(f[j], w, over = j, where = causal)
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a value for every query of x and key of x
  = help: run it with attndsl.oracle(program)(...) at small sizes

error[E702]: selections run in the exact definition only in this version
 --> pairs.attn:7:7
  |
7 |   m = weights(gather(q, p, i), k)
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^ a value for every query of p and key of x
  = help: run it with attndsl.oracle(program)(...) at small sizes"""
    )
