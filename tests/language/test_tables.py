"""The committed tables of the parser are those of the grammar; `pytest --update-golden` rewrites them."""

import os
import subprocess
import sys
from pathlib import Path

import attndsl_grammar
from attndsl.language import tables
from attndsl.language.layout import arrange
from attndsl.language.lexer import tokenize

FILE = Path(attndsl_grammar.__file__).with_name("attn.tables.json")
EXAMPLES = sorted(Path(__file__).resolve().parents[2].joinpath("examples").glob("*.attn"))


def tree(parser, text):
    run = parser.parse_interactive()
    tokens, _ = arrange(tokenize(text, "x.attn"), "x.attn")
    for token in tokens:
        run.feed_token(token)
    return run.feed_eof(tokens[-1])


def test_the_tables_belong_to_this_grammar_and_give_the_trees_of_a_parser_built_from_it(request):
    if request.config.getoption("--update-golden"):
        command = [
            sys.executable,
            "-c",
            "from attndsl.language.tables import written; print(written(), end='')",
        ]
        FILE.write_text(
            subprocess.check_output(command, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        )
        tables.parser.cache_clear()
    assert tables.identity() in FILE.read_text(), "the grammar has changed: run pytest --update-golden"
    built, loaded = tables.build(), tables.parser()
    assert loaded.source_path == "<deserialized>"
    for path in EXAMPLES:
        assert tree(loaded, path.read_text()) == tree(built, path.read_text()), path.name


def test_tables_of_another_grammar_are_not_used(monkeypatch):
    monkeypatch.setattr(tables, "tables", lambda: '{"of": "another"}')
    tables.parser.cache_clear()
    assert tables.parser().source_path != "<deserialized>"
    tables.parser.cache_clear()
