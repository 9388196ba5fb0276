"""Bad specs and exactly what is printed about them; `pytest --update-golden` rewrites the .err files."""

from pathlib import Path
from string import Formatter

import pytest

from attndsl.diagnostics import AttnError
from attndsl.ir.problem import Problem
from attndsl.language import load_file

FOLDER = Path(__file__).parent
SPECS = sorted(path for path in FOLDER.glob("*.attn") if not path.name.startswith("_"))

OF_SPECS = {
    code: problem
    for code, problem in Problem.registry.items()
    if (
        problem.__module__.startswith("attndsl.language.problems")
        or code in ("E203", "E305", "E306", "E313", "E315", "E505", "E506")
    )
    and problem.severity == "error"
}
NOT_FROM_A_SPEC = {
    "E502": "a file of 64 KiB: tests/language/test_files.py",
}


def error_of(path):
    with pytest.raises(AttnError) as caught:
        load_file(path)
    return caught.value


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_error(path, request):
    text = str(error_of(path)) + "\n"
    golden = path.with_suffix(".err")
    if request.config.getoption("--update-golden"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_golden_has_its_spec():
    assert {path.stem for path in FOLDER.glob("*.err")} == {path.stem for path in SPECS}


def test_every_problem_of_specs_is_shown():
    seen = {diagnostic.problem.code for path in SPECS for diagnostic in error_of(path).diagnostics}
    assert seen == OF_SPECS.keys() - NOT_FROM_A_SPEC.keys()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_places_are_in_the_files_of_the_user(path):
    error = error_of(path)
    for diagnostic in error.diagnostics:
        if diagnostic.span is not None:
            lines = (FOLDER / diagnostic.span.file).read_text(encoding="utf-8").split("\n")
            assert 1 <= diagnostic.span.line <= len(lines)
            assert 1 <= diagnostic.span.column <= len(lines[diagnostic.span.line - 1]) + 1


@pytest.mark.parametrize("problem", OF_SPECS.values(), ids=lambda problem: problem.__name__)
def test_words_use_the_data_of_the_problem(problem):
    names = {
        name
        for text in (problem.title, problem.label, problem.help)
        for _, name, _, _ in Formatter().parse(text)
    }
    assert names - {None} <= set(problem.__dataclass_fields__)
    assert len(problem.__doc__) > 40, "the docstring is what `attndsl explain` prints"
