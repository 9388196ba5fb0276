"""Every example's mask is what its source says, at small sizes with borders and remainders."""

import numpy as np
import pytest

import attndsl
from attndsl.analysis.predicate import make_predicate
from attndsl.examples import example_files
from tests.examples.cases import CASES, FIXED, Case, defined_row
from tests.examples.definitions import DEFINITIONS, At
from tests.examples.every_formula import FORMULAS


def test_every_example_has_a_definition_and_cases() -> None:
    """The keys of one query where a mask is all there is to it, else a formula; some have both."""
    names = set(example_files())
    assert names == set(DEFINITIONS) | set(FORMULAS)
    assert set(DEFINITIONS) == {case.name for case in CASES}
    for name in names - set(FORMULAS):
        program = attndsl.load(name)
        assert [value.name for value in program.computed] == list(program.results)
        assert not program.learned


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mask(case: Case) -> None:
    expected, found = case.expected(), case.mask()
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


@pytest.mark.parametrize("name", FIXED)
def test_rows_at_the_published_size(name: str) -> None:
    """Thirty queries, the corners among them, against every key."""
    program = attndsl.load(name)
    op = program.attends[-1].op
    extents = op.key_tokens.extents({})
    predicate = make_predicate(op.where, op.query_tokens, op.key_tokens, {})
    rng = np.random.default_rng(0)
    corners = [(0,) * len(extents), tuple(extent - 1 for extent in extents)]
    queries = np.array([*corners, *zip(*(rng.integers(0, extent, 28) for extent in extents))])
    keys = np.stack(np.unravel_index(np.arange(np.prod(extents)), extents), axis=-1)
    at = At(extents, extents)
    for query in queries:
        found = np.flatnonzero(predicate.points(query[None], keys)[0])
        expected = defined_row(name, tuple(query.tolist()), at, program.parameters)
        np.testing.assert_array_equal(found, np.sort(expected))
        assert len(found) == np.prod(program.parameters["size"])
