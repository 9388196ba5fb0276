"""The reference is true: its examples load, fail as marked, and compute what the definition says."""

import re
from pathlib import Path

import pytest
import torch

import attndsl.files
import attndsl.picture.problems
import attndsl.planning.problems
import attndsl.simulation.problems  # noqa: F401
from attndsl.diagnostics import AttnError
from attndsl.ir.functions import USER_FUNCTIONS
from attndsl.ir.ops import OPS
from attndsl.ir.problem import Problem
from attndsl.language import load_text
from attndsl.language.declarations import LEARNED, MODIFIERS
from attndsl.language.modules import library
from attndsl.language.vocabulary import RESERVED
from attndsl.planning.plan import sizes_near
from attndsl.verify import Case, Verifier

PAGE = (Path(__file__).parents[2] / "grammar" / "LANGUAGE.md").read_text(encoding="utf-8")
BLOCKS = [
    (marks.split(), text)
    for marks, text in re.findall(r"^```attn([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
]
VALID = [text for marks, text in BLOCKS if "error" not in marks]
CHECKED = [text for marks, text in BLOCKS if marks == ["check"]]
WRONG = [(marks[1], text) for marks, text in BLOCKS if marks[:1] == ["error"]]
ODD = {1: 13, 2: 6, 3: 5}


def name_of(text: str) -> str:
    found = re.search(r"attention (\w+)", text)
    assert found is not None
    return found[1]


def test_every_block_is_marked_in_a_known_way():
    assert all(
        not marks or marks == ["check"] or (marks[0] == "error" and len(marks) == 2) for marks, _ in BLOCKS
    )
    assert PAGE.count("```attn") == len(BLOCKS)
    assert len(CHECKED) >= 12
    assert len(WRONG) >= 9


@pytest.mark.parametrize("text", VALID, ids=name_of)
def test_examples_load(text):
    assert load_text(text).warnings == ()


@pytest.mark.parametrize(("code", "text"), WRONG, ids=[f"{code}-{name_of(text)}" for code, text in WRONG])
def test_wrong_examples_fail_as_the_page_says(code, text):
    with pytest.raises(AttnError) as caught:
        load_text(text)
    assert [diagnostic.problem.code for diagnostic in caught.value.diagnostics] == [code]


@pytest.mark.parametrize("text", CHECKED, ids=name_of)
def test_examples_compute_what_the_definition_says(text):
    program = load_text(text)
    sizes = sizes_near(program, ODD, spread=2, heads=4)
    kv_heads = 2 if program.grouped else None
    outcome = Verifier(program).run(Case({**sizes, "heads": 4}, kv_heads=kv_heads, dtype=torch.float32))
    assert outcome.passed, outcome


def test_every_operator_has_a_row_and_an_example():
    examples = "\n".join(VALID)
    for keyword in OPS:
        assert re.search(rf"`[^`]*\b{keyword}\(|`{keyword}`", PAGE), keyword
        assert re.search(rf"\b{keyword}\(", examples), keyword


def test_every_argument_of_an_operator_is_mentioned():
    for keyword, op in OPS.items():
        for parameter in op.parameters:
            if not parameter.positional and not parameter.variadic:
                assert re.search(rf"\b{parameter.name} =", PAGE), (keyword, parameter.name)
            for word in parameter.words:
                assert f"`{word}`" in PAGE, word


def test_functions_patterns_modifiers_and_reserved_names_are_listed():
    for name in (*USER_FUNCTIONS, *RESERVED, *MODIFIERS, *LEARNED):
        assert re.search(rf"`[^`\n]*\b{name}\b", PAGE), name
    for name in library().patterns:
        assert f"| `{name}" in PAGE, name


def test_every_code_is_in_the_table_and_no_other():
    table = PAGE.split("## Error codes")[1]
    rows = [
        line.split("|")[1] for line in table.splitlines() if line.startswith("| E") or line.startswith("| W")
    ]
    assert sorted(code for row in rows for code in row.split()) == sorted(Problem.registry)


def test_links_lead_to_headings():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
