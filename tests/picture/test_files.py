"""Pictures as files: what they show, that they are well-formed, and what they may overwrite."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from attndsl.diagnostics import AttnError
from attndsl.language import load_text
from attndsl.picture import palette
from attndsl.picture.figure import figure
from attndsl.picture.model import make_picture
from attndsl.picture.output import check_outputs, is_ours, write_scene
from attndsl.picture.palette import FULL, HIDDEN, PARTIAL, QUERY, VISIBLE
from attndsl.picture.png import SCALE, png
from attndsl.picture.request import Request
from attndsl.picture.scene import Cells
from attndsl.picture.svg import MOST_RECTANGLES, rectangles, svg
from tests.picture.specs import program

SVG = "{http://www.w3.org/2000/svg}"


def scene_of(name, sizes, request=None, heads=1):
    return figure(make_picture(program(name), {**sizes, "heads": heads}, request))


def colour_at(image, cells, row, column):
    rows, columns = cells.index.shape
    x = cells.x + (column + 0.5) * cells.width / columns
    y = cells.y + (row + 0.5) * cells.height / rows
    return image.getpixel((round(x * SCALE), round(y * SCALE)))


def test_png_has_the_expected_colours():
    scene = scene_of("grid", {"h": 8, "w": 8}, Request(query="4,4", tile_q="4x4", tile_k="4x4"))
    image = Image.open(BytesIO(png(scene)))
    assert image.size == (round(scene.width * SCALE), round(scene.height * SCALE))
    pairs, tiles, keys = (item for item in scene.items if isinstance(item, Cells))
    assert pairs.index.shape == (64, 64)
    assert colour_at(image, pairs, 0, 0) == VISIBLE
    assert colour_at(image, pairs, 0, 63) == HIDDEN
    assert {colour_at(image, tiles, q, k) for q in range(4) for k in range(4)} <= {FULL, PARTIAL, HIDDEN}
    assert colour_at(image, keys, 4, 4) == QUERY
    assert colour_at(image, keys, 3, 3) == VISIBLE
    assert colour_at(image, keys, 0, 0) == HIDDEN


def test_png_tile_kinds():
    scene = scene_of("sliding", {"n": 16}, Request(tile_q="4", tile_k="2"))
    image = Image.open(BytesIO(png(scene)))
    _, tiles, _ = (item for item in scene.items if isinstance(item, Cells))
    found = [colour_at(image, tiles, 1, column) for column in range(8)]
    assert found == [PARTIAL, PARTIAL, PARTIAL, PARTIAL, *[HIDDEN] * 4]


@pytest.mark.parametrize(
    ("name", "sizes", "heads"),
    [
        ("sliding", {"n": 1}, 1),
        ("dense", {"n": 100}, 1),
        ("nothing", {"n": 9}, 1),
        ("grid", {"h": 5, "w": 40}, 1),
        ("video", {"t": 3, "h": 5, "w": 9}, 1),
        ("heads", {"n": 30}, 9),
        ("labels", {"n": 5000}, 1),
        ("region", {"h": 9, "w": 5}, 2),
    ],
)
def test_figures_are_well_formed(name, sizes, heads):
    scene = scene_of(name, sizes, heads=heads)
    text = svg(scene)
    assert text == svg(scene_of(name, sizes, heads=heads))
    assert len(text) < 1 << 20
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text.startswith(name)
    data = png(scene)
    assert data == png(scene)
    assert Image.open(BytesIO(data)).convert("RGB").getpixel((1, 1)) == palette.PAPER


def test_axes_of_four_dimensions_and_long_names():
    name = "very_" * 12 + "long"
    spec = load_text(
        f"attention {name} {{ tokens x[batch_of_things = 2, t = 2, h = 3, w = 4]; input q, k, v : x\n"
        " return attend(q, k, v, where = i.t == j.t) }"
    )
    scene = figure(make_picture(spec, {"heads": 1}))
    texts = [element.text for element in ET.fromstring(svg(scene)).iter(f"{SVG}text")]
    assert "batch_o…=1 t=1" in texts
    assert texts[0] == name


def test_svg_escapes_text():
    picture = make_picture(program("sliding"), {"n": 5, "heads": 1})
    name = "<b>&\"'\x01]]>"
    scene = figure(replace(picture, attention=name, parameters={"<i>": "&amp;"}))
    root = ET.fromstring(svg(scene))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "<b>&\"'\ufffd]]>" in texts
    assert any("<i> = &amp;" in text for text in texts)


def test_rectangles_cover_every_cell_once():
    index = np.random.default_rng(0).integers(0, 3, (17, 23)).astype(np.uint8)
    found = np.zeros_like(index)
    for colour, members in rectangles(index).items():
        for x, y, width, height in members:
            assert not found[y : y + height, x : x + width].any()
            found[y : y + height, x : x + width] = colour
    assert (found == index).all()


def test_large_tables_are_embedded_as_an_image():
    index = (np.random.default_rng(0).random((300, 300)) < 0.5).astype(np.uint8)
    assert sum(map(len, rectangles(index).values())) > MOST_RECTANGLES
    scene = scene_of("sliding", {"n": 4})
    cells = Cells(0, 0, 300, 300, index, (HIDDEN, VISIBLE))
    text = svg(replace(scene, items=(cells,)))
    assert b"data:image/png;base64," in text
    ET.fromstring(text)
    assert len(text) < 60_000


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.PNG"])
def test_a_picture_replaces_a_picture(tmp_path, name):
    path = tmp_path / name
    scene = scene_of("sliding", {"n": 8})
    for _ in range(2):
        assert check_outputs([str(path)], force=False) == [path]
        write_scene(scene, path)
        assert is_ours(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("present", [b"", b"precious", b"\x89PNG\r\n\x1a\n not ours", b"<?xml?><svg/>"])
@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_nothing_else_is_replaced(tmp_path, name, present):
    path = tmp_path / name
    path.write_bytes(present)
    with pytest.raises(AttnError, match="did not draw"):
        check_outputs([str(path)], force=False)
    assert path.read_bytes() == present
    (chosen,) = check_outputs([str(path)], force=True)
    write_scene(scene_of("sliding", {"n": 8}), chosen)
    assert is_ours(path)


def test_a_picture_of_another_program_is_not_ours(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    assert not is_ours(path)


@pytest.mark.parametrize(("name", "code"), [("a.pdf", "E801"), ("a", "E801"), ("folder.png", "E604")])
def test_outputs_that_cannot_be(tmp_path, name, code):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(AttnError, match=code):
        check_outputs([str(tmp_path / name)], force=True)


def test_a_folder_that_does_not_exist(tmp_path):
    path = tmp_path / "missing" / "a.svg"
    with pytest.raises(AttnError, match="E604"):
        write_scene(scene_of("sliding", {"n": 8}), path)
