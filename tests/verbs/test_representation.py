"""What a space shows of itself: its facts, its upper structures, and a thumbnail."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import dask
import matplotlib.image
import numpy as np
import pytest
from helpers.volumes import CountingSource, raising
from numpy.typing import NDArray

import refspace
from refspace import ReferenceSpace, StructureTree
from refspace.grid import Grid
from refspace.labels import LabelVolume, labelled
from refspace.verbs.representation import atlas_name
from refspace.verbs.thumbnail import thumbnail

RNG = np.random.default_rng(3)
VOID = {"img"}
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Page(HTMLParser):
    """Elements of a page, which are closed as they should be, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def facts(self) -> dict[str, str]:
        """Values of the list of facts, by name."""
        start = self.texts.index("in")
        pairs = self.texts[start : start + 20]
        return dict(zip(pairs[::2], pairs[1::2], strict=True))


def nested(count: int, name: str = "Part of the brain number", roots: int = 1) -> StructureTree:
    """Structures each of which has up to six children."""
    paths: dict[int, list[int]] = {}
    for i in range(1, count + 1):
        paths[i] = [*(paths[(i - roots - 1) // 6 + 1] if i > roots else []), i]
    return StructureTree(
        {"id": i, "acronym": f"P{i}", "name": f"{name} {i}", "structure_id_path": path}
        for i, path in paths.items()
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shown") / "brain.zarr"
    refspace.phantom(resolution=200).to_zarr(path, chunks=32)
    return path


@pytest.fixture
def stored(url: Path) -> ReferenceSpace:
    return refspace.open(url)


def pixels(url: str) -> NDArray[np.uint8]:
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.rint(matplotlib.image.imread(io.BytesIO(base64.b64decode(data))) * 255).astype("u1")


# ----- in one line


def test_the_line_says_which_atlas_it_is_and_where(stored: ReferenceSpace) -> None:
    assert repr(stored).endswith(f"of 200 × 200 × 200 µm, in {stored.url}>")
    provenance = {"fetched_as": "allen:ccf_2017", "version": "ccf_2017"}
    named = ReferenceSpace.from_volume(stored.structure_tree, stored.volume, provenance=provenance)
    assert repr(named).startswith("<ReferenceSpace allen:ccf_2017 of 488 structures, ap 66")
    assert "left hemisphere, ap 66" in repr(named.hemisphere("left"))


@pytest.mark.parametrize(
    ("provenance", "name"),
    [
        ({}, None),
        ({"name": 3}, None),
        ({"name": "rat", "version": 2}, "rat 2"),
        ({"name": "rat", "version": ["2"]}, "rat"),
        ({"fetched_as": "brainglobe:rat", "name": "rat"}, "brainglobe:rat"),
        ({"name": "a\nb\x1b[2J"}, r"a b\x1b[2J"),
        ({"name": "https://me:secret@host/a"}, "https://host/a"),
    ],
)
def test_the_name_is_what_provenance_says(provenance: dict[str, object], name: str | None) -> None:
    assert atlas_name(provenance) == name


def test_a_long_name_and_path_are_cut_in_the_middle(stored: ReferenceSpace) -> None:
    space = ReferenceSpace.from_volume(
        stored.structure_tree, stored.volume, provenance={"name": "n" * 9999}, url="/u" * 9999
    )
    assert len(repr(space)) < 500
    assert "…" in repr(space)


# ----- facts


def test_facts_are_those_of_the_store(stored: ReferenceSpace) -> None:
    page = Page(stored._repr_html_())
    facts = page.facts()
    assert facts["in"] == stored.url
    assert facts["voxels"] == "ap 66 × dv 40 × ml 57, uint32"
    assert facts["resolution"] == "200 × 200 × 200 µm, 13.2 × 8 × 11.4 mm"
    assert facts["orientation"] == "PIR: posterior, inferior, right"
    assert facts["frame"] == "PIR: ap 0 to 13200, dv 0 to 8000, ml 0 to 11400 µm"
    assert facts["chunks"] == "12 of 32 × 32 × 32 voxels"
    assert facts["levels"] == "200, 400, 800 µm"
    assert facts["midline"].startswith("ml 5700 µm")
    assert "template" not in facts


def test_facts_of_a_hemisphere_that_was_turned() -> None:
    grid = Grid((2, 3, 4), (10, 20, 30), (-10, 0, 5), "LSA", "RAS")
    labels = labelled(np.ones(grid.shape, "u2"), grid)
    template = labelled(np.ones(grid.shape, "f4"), grid, "template")
    space = ReferenceSpace(StructureTree([{"id": 1}]), labels, template=template)
    facts = Page(space.hemisphere("right")._repr_html_()).facts()
    assert facts["in"] == "memory"
    assert facts["orientation"] == "LSA: left, superior, anterior"
    assert facts["frame"] == "RAS: ml -10 to 10, dv 0 to 60, ap 5 to 125 µm"
    assert facts["midline"].endswith("right hemisphere alone")
    assert facts["levels"] == "10 × 20 × 30 µm"
    assert facts["template"] == "float32"


def test_a_volume_may_tell_hemispheres_apart() -> None:
    grid = Grid((2, 2, 2), (10, 10, 10))
    labels = labelled(np.ones(grid.shape, "u2"), grid)
    sides = labelled(np.array([1, 2] * 4, "u1").reshape(grid.shape), grid, "hemispheres")
    space = ReferenceSpace(StructureTree([{"id": 1}]), labels, hemispheres=sides)
    assert "a volume says which hemisphere" in Page(space._repr_html_()).facts()["midline"]


# ----- the tree


def test_volumes_are_those_of_the_label_index(stored: ReferenceSpace) -> None:
    page = Page(stored._repr_html_())
    text = " ".join("".join(page.texts).split())
    for acronym, name in (("grey", "Basic cell groups and regions"), ("CTX", "Cerebral cortex")):
        (structure,) = stored.structure_tree.resolve(acronym)
        volume = stored.total_voxel_map[structure] * 0.2**3
        assert f"{acronym} {name}{volume:.3g} mm³" in text.replace("CTXCerebral", "CTX Cerebral")


def test_without_an_index_nothing_is_counted() -> None:
    source = CountingSource(np.ones((4, 4, 4), "u4"))
    with dask.config.set(scheduler=raising):
        space = ReferenceSpace(StructureTree([{"id": 1}]), source.dask(((2, 2),) * 3), 10)
        text = "".join(Page(space._repr_html_()).texts)
    assert source.reads == []
    assert "not counted" in text
    assert "mm³" not in text
    # One that was made says it.
    assert "mm³" in space.with_index()._repr_html_()


def test_two_levels_are_open_and_others_folded() -> None:
    space = ReferenceSpace(nested(60), np.ones((1, 1, 1), "u1"), 10)
    page = Page(space._repr_html_())
    opened = ["open" in attrs for tag, attrs in page.seen if tag == "details"]
    # That of all structures, and of the root; those below are folded.
    assert opened[:2] == [True, True]
    assert not any(opened[2:])
    assert any("P2" in text for text in page.texts)
    assert len([t for t in page.texts if re.fullmatch(r"P\d+", t.strip())]) == 60


@pytest.mark.parametrize("roots", [1, pytest.param(40, marks=pytest.mark.slow), 1327])
@pytest.mark.parametrize("name", ["Part of the brain", "&<\u00e9\U0001f9e0\x1b\u202e'\"" * 8])
def test_it_stays_small(name: str, roots: int, tmp_path: Path) -> None:
    tree = nested(1327, name, roots)
    labels = RNG.integers(0, 1328, (2, 100, 110)).astype("u4")
    space = ReferenceSpace(tree, labels, 10)
    drawn = space._repr_html_()
    Page(drawn)
    assert len(drawn.encode()) < 30_000
    assert "1327 structures" in drawn
    assert re.search(r"\+\d+<|and \d+ more", drawn)


HOSTILE = "<script>alert('1')</script>\"&amp;\n\r\x1b[2J\u2028\u202e</summary>"


@pytest.mark.promise("a name holds control characters", "it is shown as text")
def test_hostile_texts_are_shown_as_text() -> None:
    tree = StructureTree(
        [
            {"id": 1, "acronym": HOSTILE, "name": "a", "structure_id_path": [1]},
            {"id": 2, "name": HOSTILE, "structure_id_path": [1, 2]},
            {"id": 3, "acronym": "'onload='x", "structure_id_path": [1, 3]},
        ]
    )
    volume = LabelVolume.from_array(np.ones((2, 2, 2), "u4"), 10)
    provenance = {"name": HOSTILE, "version": HOSTILE}
    url = f"https://me:secret@host/an atlas/{HOSTILE}?token=secret"
    space = ReferenceSpace.from_volume(tree, volume, provenance=provenance, url=url)
    drawn = space._repr_html_()
    page = Page(drawn)
    assert {tag for tag, _ in page.seen} <= {
        *("style", "div", "b", "dl", "dt", "dd", "details", "summary", "span"),
        *("ul", "li", "i", "pre", "figure", "img", "figcaption"),
    }
    assert {name for _, attrs in page.seen for name in attrs} <= {"class", "style", "open", "src"}
    assert sum("<script>alert('1')" in text for text in page.texts) >= 3
    assert "secret" not in drawn
    assert CONTROL.search(drawn) is None
    assert CONTROL.search(repr(space)) is None


def test_structures_without_names_are_shown_by_id() -> None:
    space = ReferenceSpace(StructureTree([{"id": 71}]), np.ones((1, 1, 1), "u1"), 10)
    assert "71" in Page(space._repr_html_()).texts


def test_a_name_like_the_acronym_stands_once() -> None:
    tree = StructureTree([{"id": 71, "acronym": "root", "name": "root"}])
    page = Page(ReferenceSpace(tree, np.ones((1, 1, 1), "u1"), 10)._repr_html_())
    assert page.texts.count("root") == 1


# ----- the thumbnail

ORIENTATIONS = [("PIR", "PIR"), ("LSA", "RAS"), ("SLP", "PIR")]


@pytest.mark.parametrize(("orientation", "frame"), ORIENTATIONS)
def test_the_thumbnail_is_upright_with_left_at_the_left(orientation: str, frame: str) -> None:
    brain = refspace.phantom(resolution=400)
    part = brain.crop("TH").reorient(orientation).in_frame(frame)
    picture = thumbnail(part)
    assert picture is not None
    plane = part.reorient("PIR").annotation.sel(ap=picture.position)
    image = pixels(picture.url)
    expected = part.reorient("PIR").get_slice_image("ap", picture.position).values
    np.testing.assert_array_equal(image[..., :3], expected)
    np.testing.assert_array_equal(image[..., 3], np.where(plane == 0, 0, 255))


def test_a_wide_one_is_made_smaller() -> None:
    labels = RNG.integers(1, 1000, (1, 300, 200)).astype("u4")
    picture = thumbnail(ReferenceSpace(nested(1000), labels, 10))
    assert picture is not None
    assert pixels(picture.url).shape[:2] == (38, 25)
    assert len(picture.url) < 10_000


def test_of_a_large_volume_in_memory_there_is_none() -> None:
    labels = np.broadcast_to(np.uint8(1), (1, 1, 1))
    assert thumbnail(ReferenceSpace(StructureTree([{"id": 1}]), labels, 10)) is not None
    large = refspace.phantom(resolution=25)
    with dask.config.set(scheduler=raising):
        assert thumbnail(large) is None


def test_what_was_made_of_a_store_is_not_read_for_it(stored: ReferenceSpace) -> None:
    with dask.config.set(scheduler=raising):
        for space in (stored.downsample(300), stored.crop("TH")):
            assert thumbnail(space) is None
            space._repr_html_()
    assert thumbnail(stored.hemisphere("left").reorient("RAS")) is not None


def test_on_another_machine_no_voxel_is_read(stored: ReferenceSpace) -> None:
    far = ReferenceSpace.from_volume(
        stored.structure_tree, stored.volume, url="https://host/a.zarr"
    )
    with dask.config.set(scheduler=raising):
        assert thumbnail(far) is None
        assert "<img" not in far._repr_html_()
