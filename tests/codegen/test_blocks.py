"""Tiles from an origin in front of the first token, and biases that tiles have in common, against the oracle."""

import pytest
import torch

from attndsl.generated import import_source
from attndsl.language import load_text
from attndsl.verify import Case, Verifier
from attndsl_codegen import generate
from attndsl_codegen.kernels.softmax import of_one_tile
from attndsl_codegen.kernels.tiles import Bricks

GRID = """attention a {{
  tokens x[h, w]
  input q, k, v : x
  {declared}
  return attend(q, k, v, where = {where}{rest})
}}"""
TABLE = "learn table : [13, 13] scalar"
LOOKED_UP = ", bias = {} table[i.h - j.h + 6, i.w - j.w + 6]{}"
SHIFTED = "h: block(7, 3) and w: block(7, 2)"
BIASES = {
    "none": ("", ""),
    "a table": (TABLE, LOOKED_UP.format("", "")),
    "scaled": (TABLE, LOOKED_UP.format("0.5 *", " - 0.1 * abs(i.h - j.h)")),
    "not linear": (TABLE, LOOKED_UP.format("", " * table[0, i.w - j.w + 6]")),
    "of the place too": (TABLE, LOOKED_UP.format("", " + 0.01 * i.h")),
    "a score": ("", ", score = 3 * tanh(s / 3)"),
}


@pytest.mark.parametrize("bias", BIASES.values(), ids=list(BIASES))
@pytest.mark.parametrize("sizes", [(15, 29), (7, 8), (3, 40)])
def test_shifted_blocks_agree_with_the_definition(bias, sizes):
    program = load_text(GRID.format(where=SHIFTED, declared=bias[0], rest=bias[1]))
    verifier = Verifier(program)
    for case in (
        Case({"h": sizes[0], "w": sizes[1], "heads": 4}, kv_heads=2, batch=2),
        Case({"h": sizes[0], "w": sizes[1], "heads": 1}),
    ):
        outcome = verifier.run(case)
        assert outcome.passed, outcome


UNLIKE = {
    "a factor that is infinite where pairs are hidden": (
        "tokens x[n]\n input q, k, v : x",
        "j < i, bias = log(i - j) * table[i - j]",
        {"n": 60},
    ),
    "axes in another order": (
        "tokens x[h, w]\n tokens y[w = w, h = h]\n input q : x\n input k, v : y",
        "i.h + i.w < j.h + j.w + 9, bias = table[i.h - j.h + 40]",
        {"h": 13, "w": 17},
    ),
}


@pytest.mark.parametrize(("declared", "where", "sizes"), UNLIKE.values(), ids=list(UNLIKE))
def test_biases_that_are_not_alike_in_all_tiles_agree_with_the_definition(declared, where, sizes):
    text = (
        f"attention a {{ {declared}\n learn table : [99] scalar\n return attend(q, k, v, where = {where}) }}"
    )
    program = load_text(text)
    assert not program.attends[0].op.bias_by_distance
    outcome = Verifier(program).run(Case({**sizes, "heads": 2}))
    assert outcome.passed, outcome


def test_blocks_of_a_sequence_decode():
    program = load_text(
        "attention a { tokens x[n]; input q, k, v : x; return attend(q, k, v, where = causal and block(12, 5)) }"
    )
    module = import_source(generate(program), "blocks_of_a_sequence")
    q, k, v = (torch.randn(2, 2, 53, 16) for _ in range(3))
    whole = module.a(q, k, v)
    for first, last in ((0, 1), (4, 6), (11, 30), (52, 53)):
        part = module.a(q[:, :, first:last], k[:, :, :last], v[:, :, :last], offset=first)
        torch.testing.assert_close(part, whole[:, :, first:last])


@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize(("extents", "tile", "origin"), [((10,), (4,), (3,)), ((5, 9), (3, 4), (0, 2))])
def test_every_token_has_one_slot_wherever_tiles_start(extents, tile, origin, clipped):
    bricks = Bricks(extents, tile, origin=origin, clipped=clipped)
    coords, exists = bricks.coordinates(torch.arange(bricks.count))
    assert bricks.tokens(coords)[exists].sort().values.tolist() == list(range(torch.Size(extents).numel()))
    places = torch.stack(torch.unravel_index(torch.arange(bricks.count), bricks.grid), -1)
    assert torch.equal(bricks.empty_slots(places, places), ~bricks.whole(torch.arange(bricks.count)))
    for axis, side in enumerate(bricks.box(places, places)):
        inside = torch.where(exists, coords[axis], -1)
        assert torch.equal(side.hi, inside.amax(-1))
        assert torch.equal(side.lo, torch.where(exists, coords[axis], 99).amin(-1))


def test_tiles_that_are_moved_together_have_one_bias():
    key = torch.tensor([[3, 4, 5], [13, 14, 15]]).unsqueeze(-2)
    query = torch.tensor([[4, 5], [14, 15]]).unsqueeze(-1)
    (i,), (j,) = of_one_tile([query], [key])
    assert (i.shape, j.shape) == ((1, 2, 1), (1, 1, 3))
    (i,), _ = of_one_tile([query], [key + torch.tensor([0, 1]).view(2, 1, 1)])
    assert i.shape == (2, 2, 1)


def test_a_score_that_is_looked_up_is_not_computed_in_place():
    """Scores are: at 64 tokens the whole field is one tile's, and no copy of it was made."""
    program = load_text("""attention a {
      tokens x[n]
      tokens pair[n, m = n]
      input q, k, v : x
      input b : pair scalar
      return attend(q, k, v, score = b[i, j])
    }""")
    module = import_source(generate(program), "score_looked_up")
    q, k, v = (torch.randn(1, 1, 64, 8) for _ in range(3))
    b = torch.randn(1, 1, 64, 64)
    kept = b.clone()
    torch.testing.assert_close(module.a(q, k, v, b), b.softmax(-1) @ v)
    assert torch.equal(b, kept)
