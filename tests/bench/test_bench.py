"""The benchmark command: it checks first, its peers compute the same mask, its report is JSON."""

import json
import subprocess
import sys

import pytest
import torch

from attndsl.analysis.attention import dense_mask
from attndsl.analysis.layout import Brick
from attndsl.bench.measure import Setting, dense_shape, measure
from attndsl.bench.peers import flex_peers, tile_order
from attndsl.bench.timing import Times, interleaved, ratio
from attndsl.language import load_text

GRID = "attention a { tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = h: window(5) and w: window(3)) }"
LINE = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal and sliding(9)) }"
LABELS = "attention a { tokens x[n]; input q, k, v : x; input d : x int; return attend(q, k, v, where = document(d)) }"


def test_times_and_ratios():
    times = interleaved({"slow": lambda: sum(range(20_000)), "fast": lambda: None}, 5)
    assert times["slow"].median > times["fast"].median
    assert ratio(times["slow"], times["fast"]).median > 1
    assert Times((1.0, 2.0, 3.0)).quartiles == (1.5, 2.5)
    assert Times((1.0,)).quartiles == (1.0, 1.0)


@pytest.mark.parametrize(("text", "sizes"), [(GRID, {"h": 16, "w": 8}), (LINE, {"n": 200})])
def test_modifiers_are_the_mask(text, sizes):
    program = load_text(text)
    op = program.attends[0].op
    expected = torch.as_tensor(dense_mask(op, {**sizes, "heads": 1})[0, 0])
    peers = flex_peers(program, {**sizes, "heads": 1}, 16, {})
    assert not isinstance(peers, str)
    assert len(peers) == (3 if "h" in sizes else 2)
    for peer in peers:
        n = len(expected)
        order = torch.arange(n) if peer.order is None else peer.order
        found = peer.block_mask.mask_mod(0, 0, torch.arange(n)[:, None], torch.arange(n))
        assert torch.equal(found, expected[order][:, order])


def test_labels_are_captured():
    program = load_text(LABELS)
    labels = torch.tensor([[0, 0, 1, 1, 2] * 30])
    peers = flex_peers(program, {"n": 150, "heads": 1}, 16, {"d": labels})
    assert not isinstance(peers, str)
    found = peers[0].block_mask.mask_mod(0, 0, torch.arange(150)[:, None], torch.arange(150))
    assert torch.equal(found, labels[0][:, None] == labels[0])


def test_blocks_hold_all_visible_pairs():
    program = load_text(LINE)
    peer = flex_peers(program, {"n": 500, "heads": 1}, 16, {})[1]
    visited = peer.block_mask.to_dense()[0, 0]
    mask = torch.as_tensor(dense_mask(program.attends[0].op, {"n": 500, "heads": 1})[0, 0])
    padded = torch.nn.functional.pad(mask, (0, 12, 0, 12)).view(8, 64, 8, 64).any(3).any(1)
    assert torch.equal(visited.bool(), padded)


def test_tile_order_goes_tile_by_tile():
    assert tile_order(Brick((2, 4), (2, 2))).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


def test_what_flex_attention_cannot_say():
    two = "attention a { tokens x[n]; input q, k, v : x; return attend(q, attend(k, k, v), v) }"
    assert "more than one" in flex_peers(load_text(two), {"n": 64, "heads": 1}, 16, {})
    heads = "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = i - j <= head) }"
    assert "head" in flex_peers(load_text(heads), {"n": 64, "heads": 2}, 16, {})


def test_dense_attention_has_the_tokens_of_the_vectors():
    blocks = "tokens block[n // 8, m = n // 8]; input keep : block bool"
    text = f"attention a {{ tokens x[n]; {blocks}; input q, k, v : x; return attend(q, k, v, where = keep[i // 8, j // 8]) }}"
    setting = Setting({"n": 96, "heads": 2}, batch=3, dim=16)  # 144 blocks, 96 tokens
    assert dense_shape(load_text(text), setting) == (3, 2, 96, 16)


def test_command():
    command = [sys.executable, "-m", "attndsl", "bench", "sliding", "--shape", "n=300", "--heads", "2"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--no-flex", "--json"], capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout)
    assert report["check"]["passed"]
    assert set(report["times"]) >= {"forward", "dense SDPA forward", "forward + backward"}
    assert report["ratios"]["dense SDPA forward"]["median"] > 0


def test_forward_alone():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal) }"
    )
    found = measure(program, Setting({"n": 96, "heads": 2}, dim=16, rounds=1, flex=False, backward=False))
    assert set(found.times) == {"forward", "dense SDPA forward"}
    assert set(found.ratios) == {"dense SDPA forward"}
