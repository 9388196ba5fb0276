"""Receptive fields: published ones, and random specs against paths counted one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import attndsl
from attndsl.analysis.reach import layer_relation, product_of, stack
from attndsl.language import load_text
from attndsl.planning.sizes import completed

POWER = """
attention powers {
  tokens x[n]
  input q, k, v : x
  return attend(q, k, v, where = causal and power(4))
}
"""


def relation(program, **extents):
    return layer_relation(program, completed(program, {**extents, "heads": 1}), {})


def test_power_attention_reaches_every_block_distance_up_to_a_power_of_two():
    """After l layers: 0 .. 2 ** (l + 1) - 2, Chen et al., PowerAttention, 2025."""
    n, base = 4 * 64, 4
    layer, _ = relation(load_text(POWER), n=n)
    for found, reached in stack([("powers", layer)], 4):
        blocks = reached.reshape(n // base, base, n // base, base)[:, base - 1, :, 0]
        distances = {int(i - j) for i, j in np.argwhere(blocks)}
        expected = 2 ** (found.layer + 1) - 2
        assert {d for d in distances if d <= expected} == set(range(expected + 1))
        row = {int(len(blocks) - 1 - j) for j in np.flatnonzero(blocks[-1])}
        assert set(range(expected + 1)) <= row
        if found.layer > 1:
            assert expected + 1 not in row  # the first distance that needs one more layer


def test_dilated_neighbourhoods_reach_exponentially_further():
    """DiNA, Hassani and Shi, 2022: dilations 1, k, k*k, ... multiply the receptive field by k."""
    size, n = 3, 3**5
    layers = []
    for step in (1, 3, 9, 27, 81):
        text = f"attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = dilated_window({size}, {step})) }}"
        layers.append((f"step {step}", relation(load_text(text), n=n)[0]))
    for found, reached in stack(layers, 5):
        assert reached[n // 2].sum() == found.most == size**found.layer  # exactly, away from the borders


def test_neighbourhoods_grow_linearly():
    program = attndsl.load("neighborhood1d", size=5)
    found = [r for r, _ in stack([("near", relation(program, n=60)[0])], 4)]
    assert [reach.most for reach in found] == [5, 9, 13, 17]


def test_agents_connect_everything_in_one_layer():
    program = attndsl.load("agent")
    layer, assumed = relation(program, h=14, w=14)
    assert layer.all()
    assert assumed == ("depthwise",)


@given(st.integers(2, 20), st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_stack_connects_what_walks_connect(tokens, layers, seed):
    layer = np.random.default_rng(seed).random((tokens, tokens)) < 0.15
    reached = list(stack([("random", layer)], layers))[-1][1]
    expected = np.eye(tokens, dtype=bool)
    for _ in range(layers):
        step = expected.copy()
        for i in range(tokens):
            for j in range(tokens):
                if layer[i, j]:
                    step[i] |= expected[j]
        expected = step
    np.testing.assert_array_equal(reached, expected)
    np.testing.assert_array_equal(product_of(layer, np.eye(tokens, dtype=bool)), layer)
