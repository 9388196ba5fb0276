"""Corners of the language in which the generated module and the definition once disagreed."""

import pytest
import torch

import attndsl
from attndsl.language import load_text
from attndsl.verify import Case, Verifier

HEAD = "attention a { tokens x[n]; tokens r[3]; input q, k, v : x; "


@pytest.mark.parametrize(
    "result",
    [
        "attend(v = v, score = j * 1.0)",
        "attend(v = v, score = i - j, on = x)",
        "attend(v = v, score = j, on = r, where = j < 4)",
        "attend(v = v, score = head, on = x, normalize = linear)",
        "attend(q, k, v, where = causal, times = 1 / (1 + i - j))",
        "attend(q, k, v, where = i == j and false)",
        "attend(q, k, max(v, k, 0.5))",
        "attend(q, k, v) if q > 0 else v",
    ],
)
def test_modules_agree_with_the_definition(result):
    program = load_text(f"{HEAD} return {result} }}")
    outcome = Verifier(program).run(Case({"n": 13, "heads": 4}))
    assert outcome.passed, outcome


def test_without_queries_there_is_one_row_per_token_of_the_set_named():
    program = load_text(f"{HEAD} return attend(v = v, score = j, on = r), attend(v = v, score = j) }}")
    v = torch.randn(2, 4, 13, 5, dtype=torch.float64)
    of_set, single = attndsl.oracle(program)(q=v, k=v, v=v)
    assert of_set.shape == (2, 4, 3, 5)
    assert single.shape == (2, 4, 5)
    torch.testing.assert_close(of_set[:, :, 1], single)
    (_, lse), _ = attndsl.oracle(program).run({"q": v, "k": v, "v": v}).results
    assert lse.shape == (2, 4, 3)


def test_parameters_are_cut_to_the_tokens_at_hand():
    text = """attention a {
      tokens x[n <= 8]
      tokens c[n // 2]
      input q, k, v : x
      learn t : x; learn u : c scalar
      return attend(q + t, k, v, bias = u[min(j // 2, x.n // 2 - 1)])
    }"""
    module = attndsl.compile(load_text(text))(heads=2, dim=4)
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == {
        "t": (2, 8, 4),
        "u": (2, 4),
    }
    q = torch.randn(1, 2, 5, 4)
    state = {name: tensor.double() for name, tensor in module.state_dict().items()}
    exact = attndsl.oracle(load_text(text))(params=state, q=q.double(), k=q.double(), v=q.double())
    torch.testing.assert_close(module(q, q, q).double(), exact, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="t: made for at most 8 tokens"):
        module(*[torch.randn(1, 2, 9, 4)] * 3)
