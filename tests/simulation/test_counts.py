"""Counts of random specs against brute force: pairs, visited, full and partial tiles of all heads."""

from hypothesis import given, note
from hypothesis import strategies as st

from attndsl.analysis.layout import tile_count
from attndsl.ir.types import HEADS, KV_HEADS
from attndsl.simulation.counts import count_tiles
from tests.analysis.test_schedules import Brute, drawn_layout
from tests.strategies import specs, thorough


@given(st.data())
@thorough(40)
def test_counts_are_those_of_brute_force(data):
    spec = data.draw(specs(most=24))
    note(spec.text)
    op = spec.program.attends[0].op
    sizes = {**spec.sizes, KV_HEADS.name: spec.sizes[HEADS.name]}
    layouts = [drawn_layout(data.draw, t.extents(sizes)) for t in (op.query_tokens, op.key_tokens)]
    fields = {name: values[:1] for name, values in spec.fields.items()}
    heads = sizes[HEADS.name]
    found = count_tiles(op, sizes, *layouts, heads, fields)
    masks = [spec.mask(0, head) for head in range(heads)]
    maps = [Brute(found, mask).tile_map() for mask in masks]
    assert found.pairs == sum(int(mask.sum()) for mask in masks)
    assert found.full == sum(int((kinds == 2).sum()) for kinds in maps)
    assert found.partial == sum(int((kinds == 1).sum()) for kinds in maps)
    assert found.total == heads * tile_count(layouts[0]) * tile_count(layouts[1])
    assert found.heads == heads
    worst = [max((kinds > 0).sum(1)) * len(kinds) for kinds in maps]
    assert found.worst == sum(worst)
