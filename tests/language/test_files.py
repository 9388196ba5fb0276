"""`use`, and files that cannot or must not be read."""

import os

import pytest

from attndsl.diagnostics import AttnError
from attndsl.language import load_file, load_text
from attndsl.language.limits import MAX_FILES, MAX_SOURCE
from tests.language.masks import expression

ATTENTION = "attention a {{ tokens x[n]; input q, k, v : x; return attend(q, k, v, where = {}) }}"


@pytest.fixture
def folder(tmp_path):
    """A folder with a spec beside one that it must not reach."""
    (tmp_path / "secret.attn").write_text("pattern secret = i == j")
    inside = tmp_path / "specs"
    inside.mkdir()
    return inside


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.attn").write_text(text)
    return folder / "main.attn"


def refused(path):
    with pytest.raises(AttnError) as caught:
        load_file(path)
    return str(caught.value)


def test_use_imports_the_patterns_of_another_file(folder):
    main = write(
        folder,
        main=f'use "masks.attn"\n{ATTENTION.format("near(2) and causal")}',
        masks="pattern near(r) = inner(r)\npattern inner(r) = abs(i - j) <= r\npattern causal = j < i",
    )
    program = load_file(main)
    assert expression(program) == "abs(i.n - j.n) <= 2 and j.n < i.n"
    assert set(program.sources) == {"main.attn", "masks.attn", "library/patterns.attn"}
    assert program.spec.startswith("# uses patterns of masks.attn\n")


def test_own_patterns_come_before_used_ones(folder):
    main = write(
        folder,
        main=f'use "masks.attn"\npattern near = i == j\n{ATTENTION.format("near and far")}',
        masks="pattern near = i < j\npattern far = not near",
    )
    assert expression(load_file(main)) == "i.n == j.n and j.n <= i.n"


def test_used_files_do_not_pass_on_what_they_use(folder):
    write(folder, masks='use "more.attn"\npattern near = far', more="pattern far = i < j")
    assert (
        expression(load_file(write(folder, main=f'use "masks.attn"\n{ATTENTION.format("near")}')))
        == "i.n < j.n"
    )
    assert "unknown name `far`" in refused(write(folder, main=f'use "masks.attn"\n{ATTENTION.format("far")}'))


def test_files_may_use_each_other_and_themselves(folder):
    write(folder, masks='use "main.attn"\nuse "masks.attn"\npattern near = own')
    main = write(
        folder, main=f'use "masks.attn"\nuse "main.attn"\npattern own = i < j\n{ATTENTION.format("near")}'
    )
    assert expression(load_file(main)) == "i.n < j.n"


def test_a_file_may_be_called_like_the_library(folder):
    path = folder / "patterns.attn"
    path.write_text(f"pattern causal = i == j\n{ATTENTION.format('causal and sliding(3)')}")
    assert expression(load_file(path)) == "i.n == j.n and abs(i.n - j.n) <= 3"
    main = write(folder, main=f'use "patterns.attn"\n{ATTENTION.format("causal")}')
    assert expression(load_file(main)) == "i.n == j.n"


def test_attentions_of_used_files_are_not_ours(folder):
    write(folder, masks=ATTENTION.format("causal"))
    assert "main.attn defines no attention" in refused(write(folder, main='use "masks.attn"'))


@pytest.mark.parametrize(
    "path",
    [
        "../secret.attn",
        "./masks.attn",
        "/etc/passwd",
        "specs/masks.attn",
        "..",
        ".",
        "masks",
        "",
        " masks.attn ",
    ],
)
def test_use_stays_in_the_folder(folder, path):
    write(folder, masks="pattern near = i == j")
    text = refused(write(folder, main=f'use "{path}"\n{ATTENTION.format("causal")}'))
    assert text.startswith(("error[E602]", "error[E601]"))
    assert "secret" not in text.replace(path, "")


def test_links_that_leave_the_folder_are_refused(folder):
    (folder / "link.attn").symlink_to(folder.parent / "secret.attn")
    text = refused(write(folder, main=f'use "link.attn"\n{ATTENTION.format("secret")}'))
    assert "E602" in text
    assert "a link that leads out of this folder" in text


def test_links_inside_the_folder_are_fine(folder):
    write(folder, masks="pattern near = i == j")
    (folder / "link.attn").symlink_to("masks.attn")
    main = write(folder, main=f'use "link.attn"\n{ATTENTION.format("near")}')
    assert expression(load_file(main)) == "i.n == j.n"


def test_loops_of_links_are_refused(folder):
    (folder / "one.attn").symlink_to("two.attn")
    (folder / "two.attn").symlink_to("one.attn")
    text = refused(write(folder, main=f'use "one.attn"\n{ATTENTION.format("causal")}'))
    assert "E60" in text
    assert refused(folder / "one.attn").startswith("error[E601]")


def test_what_is_no_text_file(folder):
    (folder / "folder.attn").mkdir()
    assert "it is a folder" in refused(folder / "folder.attn")
    assert "no such file" in refused(folder / "nowhere.attn")
    (folder / "latin.attn").write_bytes("# caf\u00e9".encode("latin-1"))
    assert "it is not UTF-8 text" in refused(folder / "latin.attn")
    os.mkfifo(folder / "pipe.attn")
    assert "no such file" in refused(folder / "pipe.attn")
    assert refused(folder / ("long" * 100 + ".attn")).startswith("error[E601]")
    text = refused(write(folder, main=f'use "folder.attn"\nuse "latin.attn"\n{ATTENTION.format("causal")}'))
    assert "cannot read folder.attn: it is a folder" in text
    assert "cannot read latin.attn: it is not UTF-8 text" in text


def test_files_that_are_too_large(folder):
    main = write(folder, main="#" * (MAX_SOURCE + 1))
    assert refused(main).startswith("error[E502]: main.attn is larger than 64 KiB")
    write(folder, masks="#" * (5 * MAX_SOURCE))
    text = refused(write(folder, main=f'use "masks.attn"\n{ATTENTION.format("causal")}'))
    assert text.startswith("error[E502]: masks.attn is larger than 64 KiB\n --> main.attn:1:5")


def test_too_many_files(folder):
    for number in range(MAX_FILES + 2):
        (folder / f"m{number}.attn").write_text(f'use "m{number + 1}.attn"\npattern p{number} = true')
    assert f"more than {MAX_FILES} files" in refused(
        write(folder, main=f'use "m0.attn"\n{ATTENTION.format("p0")}')
    )


def test_texts_use_nothing():
    with pytest.raises(AttnError, match="this text is in no folder"):
        load_text(f'use "masks.attn"\n{ATTENTION.format("causal")}')
